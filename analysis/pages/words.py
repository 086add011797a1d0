"""Numbers as a reader reads them: shares in per cent, whole numbers in groups, intervals whose end may be open."""

import numpy as np

from analysis.fitting.result import Estimate
from analysis.words import percent as percent

GROUPED = 1_000, 1_000_000  # from here to below there, numbers stand as whole groups: 15 300, not 1.53e+04


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits: 15264.3 -> 15 300; from a million on 1.526e+07."""
    if value is None or not np.isfinite(value):
        return "–"
    rounded = float(f"{value:.{digits}g}")
    if min(GROUPED[0], 10**digits) <= abs(rounded) < GROUPED[1]:
        return whole(rounded)
    return f"{rounded:.{digits}g}" if abs(rounded) < GROUPED[1] else f"{value:.{digits}e}"


def whole(value: float) -> str:
    """40489 -> 40 489, with a narrow space that does not break."""
    return f"{value:,.0f}".replace(",", "\u202f") if np.isfinite(value) else "–"


def counted(count: float, one: str, several: str = "") -> str:
    """1 run, 8 runs; several: a plural that is not formed with s."""
    return f"{whole(count)} {one if count == 1 else several or f'{one}s'}"


def limits(lo: float | None, hi: float | None, digits: int = 3) -> str:
    """The ends of an interval; None is no limit on that side, and on both no interval."""
    if lo is None and hi is None:
        return "no interval"
    return " to ".join("no limit" if end is None else number(end, digits) for end in (lo, hi))


def interval(estimate: Estimate, digits: int = 3) -> str:
    return limits(estimate.lo, estimate.hi, digits)
