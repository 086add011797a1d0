"""The width rule in two panels: hold-out loss over the peak rate of each width, and the best rate over the width."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.plots import BLACK, MARKERS, VERMILION

if TYPE_CHECKING:
    from pandas import DataFrame


class Optimum(Protocol):
    """The best peak rate of a width, and whether it lies at the edge of the grid."""

    @property
    def width(self) -> int:
        """Channels of the first level."""

    @property
    def lr(self) -> float:
        """The rate of lowest hold-out loss."""

    @property
    def holdout_loss(self) -> float:
        """At it, mean over seeds."""

    @property
    def at_edge(self) -> bool:
        """Is it the smallest or largest rate tried? Then it is no optimum."""


def plot_learning_rate(
    evals: "DataFrame", optima: Sequence[Optimum], rule: Callable[[float], float], said: str
) -> Figure:
    """evals: a row a run with width, seed, lr, holdout_loss; rule: width -> rate; said: the rule in words."""
    figure = Figure(figsize=(9.2, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    widths = sorted({best.width for best in optima})
    scale = LogNorm(widths[0], widths[-1] * 1.6)  # the pale end stays unused
    for width, marker in zip(widths, MARKERS, strict=False):
        color = colormaps["cividis"](scale(width))
        part = evals[evals["width"] == width]
        lowest = min(best.holdout_loss for best in optima if best.width == width)
        for _, run in part.sort_values("lr").groupby("seed"):
            left.plot(run["lr"], run["holdout_loss"] / lowest, color=color, marker=marker, markersize=4, linewidth=0.9)
        left.plot([], [], color=color, marker=marker, markersize=4, label=f"{width}")
        left.axvline(rule(width), color=color, linewidth=0.8, linestyle=":")
        for best in (best for best in optima if best.width == width):
            fill = "none" if best.at_edge else color
            right.plot(width, best.lr, marker=marker, color=color, markerfacecolor=fill, linestyle="none")
    left.set(xscale="log", xlabel="peak learning rate (log scale)", ylabel="hold-out loss over the lowest of the width")
    top = evals["holdout_loss"] / evals["width"].map({b.width: b.holdout_loss for b in optima})
    left.set_ylim(0.99, min(float(top.max()) * 1.02, 1.5))
    left.legend(title="width (dotted: its rate by the rule)", loc="upper center", fontsize=8, title_fontsize=8)
    at = np.geomspace(widths[0], widths[-1], 50)
    right.plot(at, [rule(width) for width in at], color=VERMILION, linewidth=1.3, label=said)
    right.plot([], [], color=BLACK, marker="o", markerfacecolor="none", linestyle="none", label="at an end of the grid")
    right.set(xscale="log", yscale="log", xlabel="width (log scale)", ylabel="best peak rate (log scale)")
    right.set_xticks(widths, [str(width) for width in widths])
    rates = sorted(evals["lr"].unique())
    right.set_yticks(rates, [f"{rate:g}" for rate in rates])
    right.set_ylim(min(best.lr for best in optima) / 1.3, max(best.lr for best in optima) * 1.6)
    right.minorticks_off()
    right.legend(loc="lower left", fontsize=8)
    return figure
