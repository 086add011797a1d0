"""Loss along size, data or time, a panel a curve: where it peaks, and where theory puts the peak."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.plots import GREY, LOSSES, PURPLE, ticks_apart
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

ACROSS = 2
SHOWN = {"train_loss": "train loss", "holdout_loss": "hold-out loss"}


@dataclass(frozen=True)
class DescentPanel:
    """losses: columns loss (of SHOWN), x, mean, se (NaN: one run), n; peak: (x, lo, hi), None where none is told."""

    title: str
    xlabel: str
    losses: "DataFrame"
    peak: tuple[float, float, float] | None
    threshold: float | None


def plot_descents(panels: Sequence[DescentPanel]) -> Figure:
    """Mean losses with standard errors of the replicates; the peak with its interval; dotted: the predicted peak."""
    columns = min(ACROSS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.0 if columns == 1 else 3.2 * columns + 0.3, 2.75 * rows + 0.4), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(every, panels, strict=False):  # the last place may stay empty
        _panel(axes, panel)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    figure.supylabel("weighted mean squared error", fontsize=9.5)
    figure.legend(handles=_signs(panels), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _panel(axes: Axes, panel: DescentPanel) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for name in SHOWN:
        part = panel.losses[panel.losses["loss"] == name].sort_values("x")
        color, style, marker = LOSSES[name]
        axes.errorbar(part["x"], part["mean"], yerr=part["se"].fillna(0), color=color, linestyle=style, marker=marker,
                      markersize=3.5, linewidth=1.2, elinewidth=0.9, capsize=2)  # fmt: skip
    axes.set_xscale("log")
    if panel.threshold is not None:
        axes.axvline(panel.threshold, color=GREY, linestyle=":", linewidth=1.3, zorder=1)
    if panel.peak is not None:
        _peak(axes, panel, panel.peak)
    axes.set_title(panel.title, fontsize=8, loc="left")
    axes.set_xlabel(panel.xlabel, fontsize=8.5)
    axes.tick_params(labelsize=8)
    shown = ticks_apart(panel.losses["x"], 0.16)
    axes.set_xticks(shown, [count_label(tick) for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())


def _peak(axes: Axes, panel: DescentPanel, peak: tuple[float, float, float]) -> None:
    """A triangle over the highest point near the peak, and the peak's interval as a bar at its height."""
    x, lo, hi = peak
    curve = panel.losses[panel.losses["loss"] == "holdout_loss"].sort_values("x")
    low, high = axes.get_ylim()
    height = float(np.interp(np.log(x), np.log(curve["x"]), curve["mean"])) + 0.09 * (high - low)
    axes.errorbar(x, height, xerr=[[max(x - lo, 0)], [max(hi - x, 0)]], fmt="v", color=PURPLE, markersize=6,
                  elinewidth=1.4, capsize=3, zorder=4)  # fmt: skip
    axes.set_ylim(low, max(high, height + 0.06 * (high - low)))


def _signs(panels: Sequence[DescentPanel]) -> list[Line2D]:
    drawn = set().union(*(panel.losses["loss"] for panel in panels))
    handles = [
        Line2D([], [], color=color, linestyle=style, marker=marker, markersize=4, label=SHOWN[name])  # type: ignore[arg-type]  # a style of LOSSES
        for name, (color, style, marker) in LOSSES.items()
        if name in SHOWN and name in drawn
    ]
    if any(panel.peak for panel in panels):
        handles.append(Line2D([], [], color=PURPLE, marker="v", linewidth=1.4, label="peak, interval"))
    if any(panel.threshold is not None for panel in panels):
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="predicted n·m·d"))
    return handles
