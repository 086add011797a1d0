"""Numbers in sentences, in plain letters: what a command prints and the page shows alike."""

import numpy as np


def count_label(value: float) -> str:
    """12 -> 12, 40489 -> 40.5 k, 1423729 -> 1.42 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def amount(value: float | None) -> str:
    """Three significant digits: 0.1536 -> 0.154, 84540 -> 84.5 k; None, an open end of an interval: no limit."""
    return "no limit" if value is None else count_label(float(f"{value:.3g}"))


def percent(share: float) -> str:
    """0.0034 -> 0.34 %."""
    if not np.isfinite(share):
        return "–"
    size = 100 * share
    return f"{size:.0f} %" if size >= 10 or size == 0 else f"{size:.1f} %" if size >= 1 else f"{size:.2g} %"


def several(count: float, one: str, many: str = "") -> str:
    """1 run, 8 runs, 12.5 k rows; many: a plural that is not formed with s."""
    return f"{amount(count)} {one if count == 1 else many or f'{one}s'}"


def p_value(p: float) -> str:
    """p = 0.012; below what any reader tells apart: p < 0.0001."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
