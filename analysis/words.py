"""Numbers as a reader reads them, in what a command prints and on the page alike: whole ones in groups of three."""

import numpy as np

GROUPED = 1e3, 1e9  # from here to below there, numbers stand as whole groups: 15 300, not 1.53e+04
GAP = "\u202f"  # a narrow space that does not break


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits: 15264.3 -> 15 300; from a thousand million on 1.526e+10."""
    if value is None or not np.isfinite(value):
        return "–"
    rounded = float(f"{value:.{digits}g}")
    if min(GROUPED[0], 10**digits) <= abs(rounded) < GROUPED[1]:
        return whole(rounded)
    return f"{rounded:.{digits}g}" if abs(rounded) < GROUPED[1] else f"{value:.{digits}e}"


def whole(value: float) -> str:
    """40489 -> 40 489."""
    return f"{value:,.0f}".replace(",", GAP) if np.isfinite(value) else "–"


def count_label(value: float, digits: int = 3) -> str:
    """A short number for a figure, where room is scarce: 12 -> 12, 40489 -> 40.5 k, 1423729 -> 1.42 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:g}"


def amount(value: float | None) -> str:
    """Three significant digits: 0.1536 -> 0.154, 84540 -> 84 500; None, an open end of an interval: no limit."""
    return "no limit" if value is None else number(value)


def safe_whole(limit: float, *, at_most: bool) -> str:
    """The last whole number on the safe side of a limit > 0, in three digits: 6.96 -> 6, 125328 -> 125 000 at most."""
    step = 10 ** max(np.floor(np.log10(limit)) - 2, 0)
    return whole(step * (np.floor(limit / step) if at_most else np.ceil(limit / step)))


def percent(share: float) -> str:
    """0.0034 -> 0.34 %."""
    if not np.isfinite(share):
        return "–"
    size = 100 * share
    return f"{size:.0f} %" if size >= 10 or size == 0 else f"{size:.1f} %" if size >= 1 else f"{size:.2g} %"


def several(count: float, one: str, many: str = "") -> str:
    """1 run, 8 runs, 4 424 rows; many: a plural that is not formed with s."""
    return f"{whole(count)} {one if count == 1 else many or f'{one}s'}"


def p_value(p: float) -> str:
    """p = 0.012; below what any reader tells apart: p < 0.0001."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
