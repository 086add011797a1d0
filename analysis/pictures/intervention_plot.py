"""Changes in rank: what each removes of memorization, what it costs in quality, and the one over the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import BLACK, BLUE, GREY, PURPLE, VERMILION

if TYPE_CHECKING:
    from pandas import DataFrame

# column -> label, colour, marker; each with _lo and _hi (NaN: no interval, drawn open).
PANELS = {
    "benefit": ("memorization removed\n(logit of the share)", PURPLE, "D"),
    "cost_holdout_loss": ("hold-out loss lost", VERMILION, "s"),
    "cost_kid": ("KID lost", BLUE, "^"),
    "loss_per_logit": ("hold-out loss lost\nper logit removed", BLACK, "o"),
}


def plot_ranked(rows: "DataFrame", labels: Sequence[str]) -> Figure:
    """A row a change, the first in rank at the top; columns as PANELS, those that nobody measured left out."""
    shown = [name for name in PANELS if rows[name].notna().any()]
    figure = Figure(figsize=(1.55 * len(shown) + 2.4, 0.42 * len(rows) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    heights = np.arange(len(rows))[::-1]
    for axes, name in zip(panels, shown, strict=True):
        label, color, marker = PANELS[name]
        _clean(axes)
        axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
        for y, (value, lo, hi) in zip(heights, rows[[name, f"{name}_lo", f"{name}_hi"]].to_numpy(float), strict=True):
            told = np.isfinite([lo, hi]).all()
            if told:
                axes.plot([lo, hi], [y, y], color=color, linewidth=1.3, solid_capstyle="butt")
            axes.plot(value, y, marker=marker, color=color, markersize=5.5, fillstyle="full" if told else "none")
        axes.set_xlabel(label, fontsize=8)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(heights, labels, fontsize=8)
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    return figure


def plot_moves(rows: "DataFrame", numbers: Sequence[str]) -> Figure:
    """Arrows from the base at (0, 0) to each change: hold-out loss lost, memorization removed, intervals."""
    figure = Figure(figsize=(5.0, 3.9), layout="constrained")
    axes = figure.subplots()
    _clean(axes)
    axes.axhline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
    axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
    for row, number in zip(rows.itertuples(), numbers, strict=True):
        x, y = row.cost_holdout_loss, row.benefit
        axes.plot([row.cost_holdout_loss_lo, row.cost_holdout_loss_hi], [y, y], color=VERMILION, linewidth=1)
        axes.plot([x, x], [row.benefit_lo, row.benefit_hi], color=PURPLE, linewidth=1)
        axes.annotate(
            "", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "color": BLACK, "linewidth": 1.2, "shrinkB": 2}
        )
        axes.plot(x, y, "o", color=BLACK, markersize=3.5, zorder=3)
        axes.annotate(number, (x, y), (6, 5), textcoords="offset points", fontsize=8.5, fontweight="bold", zorder=4)
    axes.plot(0, 0, "o", color="white", markeredgecolor=BLACK, markersize=7, zorder=4)
    axes.annotate("base", (0, 0), (6, -12), textcoords="offset points", fontsize=8.5)
    axes.set(xlabel="hold-out loss lost (changed minus base)", ylabel="memorization removed (logit)")
    axes.margins(0.12)
    handles = [Line2D([], [], color=PURPLE, label="interval: memorization"),
               Line2D([], [], color=VERMILION, label="interval: loss")]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
