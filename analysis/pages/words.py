"""Numbers as a reader reads them: shares in per cent, whole numbers in groups, intervals whose end may be open."""

import numpy as np

from analysis.fitting.result import Estimate


def percent(share: float) -> str:
    """0.0034 -> 0.34 %."""
    if not np.isfinite(share):
        return "–"
    size = 100 * share
    return f"{size:.0f} %" if size >= 10 or size == 0 else f"{size:.1f} %" if size >= 1 else f"{size:.2g} %"


def number(value: float | None, digits: int = 3) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1e6 else f"{value:.{digits}e}"


def whole(value: float) -> str:
    return (
        "–" if not np.isfinite(value) else f"{value:,.0f}".replace(",", "\u202f")
    )  # a narrow space that does not break


def interval(estimate: Estimate, digits: int = 3) -> str:
    return f"{number(estimate.lo, digits) if estimate.lo is not None else 'no limit'} to " + (
        number(estimate.hi, digits) if estimate.hi is not None else "no limit"
    )
