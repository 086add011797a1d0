"""Memorization and hold-out loss while training goes on, and below them when each run begins to do either."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import GREY, LOSSES, PURPLE
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
# onset -> colour, marker, name of its row, row.
ONSETS = {"tau_gen": (LOSSES["holdout_loss"][0], "s", "generalizes", 1.0), "tau_mem": (PURPLE, "D", "memorizes", 0.0)}
APART = 0.5  # of a row: the runs of one cell beside each other


def plot_training(
    curves: Sequence["DataFrame"], onsets: Sequence["DataFrame"], titles: Sequence[str], eps: float
) -> Figure:
    """A column a cell: memorized share, hold-out loss, and the onsets of its runs with their intervals.

    curves: columns what (share or loss), images_seen, mean, lo, hi. onsets: columns onset, at (NaN: not bracketed),
    lo, hi (0 and infinity: open, drawn as an arrow to that side).
    """
    figure = Figure(figsize=(max(5.0, 2.1 * len(curves) + 0.5), 5.0), layout="constrained")
    panels = figure.subplots(3, len(curves), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 3, 1.5])
    for (share, loss, strip), curve, found, title in zip(panels.T, curves, onsets, titles, strict=True):
        for axes in (share, loss, strip):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(True, axis="x" if axes is strip else "both", color="#e4e4e4", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(labelsize=8)
        _curve(share, curve[curve["what"] == "share"], PURPLE, "D", "-")
        color, style, marker = LOSSES["holdout_loss"]
        _curve(loss, curve[curve["what"] == "loss"], color, marker, style)
        share.axhline(eps, color=GREY, linewidth=1, linestyle=":", zorder=1)
        share.set_title(title, fontsize=8.5)
        share.set_xscale("log")
        _strip(strip, found, share.get_xlim())
    panels[0, 0].set_ylabel("memorized share\nof samples", fontsize=8.5)
    panels[1, 0].set_ylabel("hold-out loss", fontsize=8.5)
    panels[2, 0].set_yticks([one[3] for one in ONSETS.values()], [one[2] for one in ONSETS.values()])
    panels[2, 0].set_ylim(-0.6, 1.6)
    figure.supxlabel("images seen (log scale)", fontsize=9.5)
    eps_line = Line2D([], [], color=GREY, linestyle=":", linewidth=1, label=f"{100 * eps:g} % memorized")
    arrow = Line2D([], [], color=GREY, marker=">", linestyle="-", markersize=5, label="not before / not after")
    figure.legend(handles=[eps_line, arrow], loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure


def _curve(axes: Axes, part: "DataFrame", color: str, marker: str, style: str) -> None:
    part = part.sort_values("images_seen")
    axes.plot(
        part["images_seen"], part["mean"], color=color, marker=marker, markersize=3.5, linestyle=style, linewidth=1.2
    )
    axes.fill_between(part["images_seen"], part["lo"], part["hi"], color=color, alpha=0.2, linewidth=0)


def _strip(axes: Axes, found: "DataFrame", limits: tuple[float, float]) -> None:
    """The onsets, the runs of one kind above each other; what is open to a side ends in an arrow at the axes' end."""
    for onset, part in found.groupby("onset"):
        color, marker, *_ = ONSETS[onset]
        for y, one in zip(places(len(part), onset), part.itertuples(), strict=True):
            lo, hi = max(one.lo, limits[0]), min(one.hi, limits[1])
            axes.plot([lo, hi], [y, y], color=color, linewidth=1.3, solid_capstyle="butt")
            if np.isfinite(one.at):
                axes.plot(one.at, y, marker=marker, color=color, markersize=4.5, markeredgecolor="white",
                          markeredgewidth=0.4)  # fmt: skip
            if not np.isfinite(one.hi):
                axes.plot(hi, y, marker=">", color=color, markersize=5, clip_on=False)
            if one.lo <= 0:
                axes.plot(lo, y, marker="<", color=color, markersize=5, clip_on=False)
    axes.set_xlim(limits)


def places(count: int, onset: str) -> Array:
    """Heights [count] of the runs in an onset's row of the strip."""
    return ONSETS[onset][3] + APART * (np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(count))


def title_of(params: float, n_unique: float, copies: float) -> str:
    """40.5 k parameters / 512 unique, up to ×128."""
    copies_words = f", up to ×{copies:g}" if copies > 1 else ""
    return f"{count_label(params)} parameters\n{count_label(n_unique)} unique{copies_words}"
