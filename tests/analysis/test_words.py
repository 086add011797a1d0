"""Numbers in sentences, by hand."""

import pytest

from analysis.words import amount, number, p_value, percent, safe_whole, several


@pytest.mark.parametrize(
    ("value", "digits", "read"),
    [
        (15264.3, 3, "15\u202f300"), (1234.4, 3, "1\u202f230"), (1234.4, 4, "1\u202f234"), (999_499, 3, "999\u202f000"),
        (-15264.3, 3, "-15\u202f300"), (1000, 3, "1\u202f000"), (999.9, 3, "1\u202f000"), (999.4, 3, "999"),
        (123, 2, "120"), (99.6, 2, "100"), (40489, 6, "40\u202f489"), (40489.04, 6, "40\u202f489"),
        (0.00012345, 3, "0.000123"), (1.5, 3, "1.5"), (0, 3, "0"), (1e-7, 3, "1e-07"),
        (999_999, 3, "1\u202f000\u202f000"), (15_264_321, 3, "15\u202f300\u202f000"), (1e9, 3, "1.000e+09"),
        (1.5264e10, 3, "1.526e+10"),
        (None, 3, "–"), (float("nan"), 3, "–"), (float("inf"), 3, "–"),
    ],
)  # fmt: skip
def test_a_number_keeps_its_significant_digits_in_whole_groups(value, digits, read):
    assert number(value, digits) == read


@pytest.mark.parametrize(
    ("limit", "at_most", "at_least"),
    [(6.96, "6", "7"), (4, "4", "4"), (0.9, "0", "1"), (125_328, "125\u202f000", "126\u202f000")],
)
def test_of_a_limit_the_safe_whole_number_is_told(limit, at_most, at_least):
    assert (safe_whole(limit, at_most=True), safe_whole(limit, at_most=False)) == (at_most, at_least)


@pytest.mark.parametrize(("value", "said"), [
    (None, "no limit"), (0.15364, "0.154"), (133.2, "133"), (999.7, "1\u202f000"), (84540.0, "84\u202f500"),
    (999_999, "1\u202f000\u202f000"), (1.88e5, "188\u202f000"), (0, "0"),
])  # fmt: skip
def test_an_amount_has_three_digits_and_no_exponent(value, said):
    assert amount(value) == said


def test_one_thing_is_no_things():
    assert [several(n, "run") for n in (0, 1, 2, 12500)] == ["0 runs", "1 run", "2 runs", "12\u202f500 runs"]
    assert several(2, "setting and seed", "settings and seeds") == "2 settings and seeds"
    assert several(4424, "row") == "4\u202f424 rows"  # a count is whole, whatever its digits


@pytest.mark.parametrize(
    ("p", "said"), [(0.0123, "p = 0.012"), (1e-4, "p = 0.0001"), (9.9e-5, "p < 0.0001"), (1.1e-58, "p < 0.0001")]
)
def test_a_p_value_beyond_reading_is_below(p, said):
    assert p_value(p) == said


@pytest.mark.parametrize(("share", "said"), [(0, "0 %"), (0.0034, "0.34 %"), (0.012, "1.2 %"), (0.123, "12 %")])
def test_a_share_is_in_percent(share, said):
    assert percent(share) == said
