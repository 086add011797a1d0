"""Numbers in sentences, by hand."""

import pytest

from analysis.words import amount, p_value, percent, several


@pytest.mark.parametrize(("value", "said"), [
    (None, "no limit"), (0.15364, "0.154"), (133.2, "133"), (999.7, "1 k"), (84540.0, "84.5 k"), (999_999, "1 M"),
    (1.88e5, "188 k"), (0, "0"),
])  # fmt: skip
def test_an_amount_has_three_digits_and_no_exponent(value, said):
    assert amount(value) == said


def test_one_thing_is_no_things():
    assert [several(n, "run") for n in (0, 1, 2, 12500)] == ["0 runs", "1 run", "2 runs", "12.5 k runs"]
    assert several(2, "setting and seed", "settings and seeds") == "2 settings and seeds"


@pytest.mark.parametrize(
    ("p", "said"), [(0.0123, "p = 0.012"), (1e-4, "p = 0.0001"), (9.9e-5, "p < 0.0001"), (1.1e-58, "p < 0.0001")]
)
def test_a_p_value_beyond_reading_is_below(p, said):
    assert p_value(p) == said


@pytest.mark.parametrize(("share", "said"), [(0, "0 %"), (0.0034, "0.34 %"), (0.012, "1.2 %"), (0.123, "12 %")])
def test_a_share_is_in_percent(share, said):
    assert percent(share) == said
