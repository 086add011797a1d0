"""What the page's tables say besides numbers: intervals whose end may be open."""

from analysis.fitting.result import Estimate
from analysis.words import number as number
from analysis.words import percent as percent
from analysis.words import safe_whole as safe_whole
from analysis.words import several as several
from analysis.words import whole as whole


def limits(lo: float | None, hi: float | None, digits: int = 3) -> str:
    """The ends of an interval; None is no limit on that side, and on both no interval."""
    if lo is None and hi is None:
        return "no interval"
    return " to ".join("no limit" if end is None else number(end, digits) for end in (lo, hi))


def interval(estimate: Estimate, digits: int = 3) -> str:
    """`limits` of an estimate."""
    return limits(estimate.lo, estimate.hi, digits)
