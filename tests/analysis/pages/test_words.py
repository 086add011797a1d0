"""Numbers as a reader reads them."""

import pytest

from analysis.fitting.result import Estimate
from analysis.pages import words


@pytest.mark.parametrize(
    ("value", "digits", "read"),
    [
        (15264.3, 3, "15\u202f300"), (1234.4, 3, "1\u202f230"), (1234.4, 4, "1\u202f234"), (999_499, 3, "999\u202f000"),
        (-15264.3, 3, "-15\u202f300"), (1000, 3, "1\u202f000"), (999.9, 3, "1\u202f000"), (999.4, 3, "999"),
        (123, 2, "120"), (99.6, 2, "100"), (40489, 6, "40\u202f489"), (40489.04, 6, "40\u202f489"),
        (0.00012345, 3, "0.000123"), (1.5, 3, "1.5"), (0, 3, "0"), (1e-7, 3, "1e-07"),
        (1e6, 3, "1.000e+06"), (999_999, 3, "1.000e+06"), (15_264_321, 3, "1.526e+07"),
        (None, 3, "–"), (float("nan"), 3, "–"), (float("inf"), 3, "–"),
    ],
)  # fmt: skip
def test_a_number_keeps_its_significant_digits_in_whole_groups(value, digits, read):
    assert words.number(value, digits) == read


def test_an_open_end_is_no_limit_and_two_are_no_interval():
    assert words.limits(1.0, 15264.3) == "1 to 15\u202f300"
    assert words.limits(None, 2.0) == "no limit to 2" and words.limits(0, None) == "0 to no limit"
    assert words.limits(None, None) == "no interval" == words.interval(Estimate(3.0))
    assert words.interval(Estimate(3.0, 0.1, 2.0, 4.0)) == "2 to 4"


def test_one_of_a_thing_is_not_its_plural():
    assert words.counted(1, "run") == "1 run" and words.counted(0, "run") == "0 runs"
    assert words.counted(5000, "copy", "copies") == "5\u202f000 copies" and words.counted(1, "copy", "x") == "1 copy"


@pytest.mark.parametrize(
    ("share", "read"),
    [(0.0034, "0.34 %"), (0, "0 %"), (0.015, "1.5 %"), (0.5, "50 %"), (1, "100 %"), (float("nan"), "–")],
)
def test_shares_are_read_in_per_cent(share, read):
    assert words.percent(share) == read
