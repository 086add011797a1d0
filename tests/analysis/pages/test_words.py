"""Numbers as a reader reads them."""

from analysis.fitting.result import Estimate
from analysis.pages import words


def test_an_open_end_is_no_limit_and_two_are_no_interval():
    assert words.limits(1.0, 15264.3) == "1 to 15\u202f300"
    assert words.limits(None, 2.0) == "no limit to 2" and words.limits(0, None) == "0 to no limit"
    assert words.limits(None, None) == "no interval" == words.interval(Estimate(3.0))
    assert words.interval(Estimate(3.0, 0.1, 2.0, 4.0)) == "2 to 4"
