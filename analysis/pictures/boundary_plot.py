"""Memorization against a quality column: how likely each point is on the Pareto boundary, its knee, the ways to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis.plots import BLACK, GREEN, ORANGE, Ordered

if TYPE_CHECKING:
    from pandas import DataFrame

SIZE = (5.0, 4.2)
RINGS = (0.1, 0.5, 0.9)  # of the legend
UNLIKELY = 0.05  # below it a point has no ring and no bars: it stands back
PALEST = 0.3
FEW = 60  # points: more are drawn smaller
PLACED: dict[str, Any] = {
    "marker": "P",
    "markersize": 10,
    "color": BLACK,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}
POINTING = {"arrowstyle": "->", "color": BLACK, "linewidth": 1.1, "shrinkA": 3, "shrinkB": 0}


@dataclass(frozen=True)
class Arrow:
    """The smallest change of one column that takes the point at (x, y) to where no other dominates it."""

    x: float
    y: float
    to_x: float
    to_y: float


class Bars(NamedTuple):
    """A model that is not of the study, with its intervals; NaN ends of x: its error is not known, no bar."""

    x: float
    x_lo: float
    x_hi: float
    y: float
    y_lo: float
    y_hi: float


def ring_width(membership: float) -> float:
    """Width in points of the ring around a row that is on the boundary with this probability."""
    return 0.3 + 2.2 * membership


def plot_boundary(
    points: "DataFrame", line: Ordered, *, knee: int | None, arrows: Sequence[Arrow], xlabel: str, ylabel: str,
    placed: Sequence[Bars] = (),
) -> Figure:  # fmt: skip
    """Lower is better in both. points: x, x_lo, x_hi, y, y_lo, y_hi, membership (NaN: not known), on_front, line.name.

    Rings: the thicker, the likelier a point is on the boundary. knee: the row of `points` that is it. placed: models
    that are not of the study.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    known = points["membership"].notna().any()
    sure = points["membership"].where(points["membership"].notna(), points["on_front"].astype(float))
    for value, part in points.assign(_sure=sure).groupby(line.name):
        _points(axes, part, line, value, len(points) <= FEW)
    for one in placed:  # before the boundary, which reaches as far as they do
        arms = np.nan_to_num([[one.x - one.x_lo], [one.x_hi - one.x]]), [[one.y - one.y_lo], [one.y_hi - one.y]]
        axes.errorbar(one.x, one.y, xerr=arms[0], yerr=arms[1], ecolor=BLACK, elinewidth=0.9, linestyle="none",
                      zorder=6, **PLACED)  # fmt: skip
    front = points[points["on_front"]].sort_values("x")
    axes.step([*front["x"], axes.get_xlim()[1]], [*front["y"], front["y"].iloc[-1]], where="post", color=GREEN,
              linewidth=1.2, zorder=1)  # fmt: skip
    for arrow in arrows:
        axes.annotate("", (arrow.to_x, arrow.to_y), (arrow.x, arrow.y), zorder=4, arrowprops=POINTING)
    handles = [Line2D([], [], color=GREEN, linewidth=1.2, label="boundary")]
    if known:
        handles += [_ring(share, f"on it: {100 * share:.0f} %") for share in RINGS]
    if knee is not None:
        at = points.iloc[knee]
        beside = axes.transData + ScaledTranslation(9 / 72, 9 / 72, figure.dpi_scale_trans)  # not over the point
        axes.plot(at["x"], at["y"], "*", markersize=11, color=ORANGE, markeredgecolor=BLACK, markeredgewidth=0.7,
                  zorder=5, transform=beside)  # fmt: skip
        handles.append(Line2D([], [], color=ORANGE, marker="*", markersize=11, linestyle="none", markeredgecolor=BLACK,
                              markeredgewidth=0.6, label="knee"))  # fmt: skip
    if placed:
        handles.append(Line2D([], [], linestyle="none", label="placed model", **PLACED))
    if arrows:
        handles.append(Line2D([], [], color=BLACK, marker=r"$\rightarrow$", markersize=11, linestyle="none",
                              label="way out"))  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _legends(figure, axes, handles, line)
    return figure


def _points(axes: Axes, part: "DataFrame", line: Ordered, value: float, few: bool) -> None:
    color, marker = line.color(value), line.marker(value)
    size = 30 if few else 11
    near = part[part["_sure"] >= UNLIKELY]
    arms = [
        np.nan_to_num(np.maximum([near[name] - near[f"{name}_lo"], near[f"{name}_hi"] - near[name]], 0))
        for name in ("x", "y")
    ]
    axes.errorbar(near["x"], near["y"], xerr=arms[0], yerr=arms[1], fmt="none", ecolor=color, elinewidth=0.7, zorder=2)
    shade = [(*color[:3], PALEST + (1 - PALEST) * sure) for sure in part["_sure"]]
    axes.scatter(part["x"], part["y"], marker=marker, s=size, c=shade, edgecolors=[color], linewidths=0.7, zorder=3,
                 label=line.label(value))  # fmt: skip
    axes.scatter(near["x"], near["y"], marker="o", s=4 * size, facecolors="none", edgecolors=GREEN, zorder=3,
                 linewidths=[ring_width(sure) for sure in near["_sure"]])  # fmt: skip


def _ring(share: float, label: str) -> Line2D:
    return Line2D([], [], marker="o", markersize=9, fillstyle="none", color=GREEN, linestyle="none",
                  markeredgewidth=ring_width(share), label=label)  # fmt: skip


def _legends(figure: Figure, axes: Axes, handles: Sequence[Line2D], line: Ordered) -> None:
    """Sizes beside the axes, what the signs mean below."""
    shown = [Line2D([], [], color=line.color(v), marker=line.marker(v), linestyle="none", markersize=5,
                    label=line.label(v)) for v in line.values]  # fmt: skip
    axes.legend(handles=shown, title={"params": "parameters"}.get(line.name, line.name), fontsize=7.5,
                title_fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
