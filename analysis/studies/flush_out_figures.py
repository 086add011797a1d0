"""Study 4 in one picture: where each change takes the reference, beside the cells and the boundary of study 1."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.boundary.front import front
from analysis.boundary_points import boundary_points
from analysis.plots import GREY, ReportFigure
from analysis.studies.over_runs import mean_of_runs, share_of_runs
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

SIZE = (7.4, 4.4)
COLORS = ("#0072B2", "#D55E00", "#007A5A", "#A6417A", "#5B4E9E", "#8A6100")
MARKERS = "osD^vP"
PANELS = (("holdout_loss", "hold-out loss (log scale)"), ("kid", "KID"))


def moves(found: Sequence[tuple[str, "DataFrame"]], study: Tables) -> ReportFigure:
    """`found`: name and evaluations (a row a run) of the reference, then of each change; `study`: whose boundary."""
    import pandas

    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    last = last_evaluations(study.evals)
    rows: list[dict[str, Any]] = []
    for axes, (column, label) in zip(panels, PANELS, strict=True):
        points = boundary_points(study, last, column, of_samples=True)
        if points is None:
            raise ValueError(f"no boundary of {column} in the tables beside")
        _beneath(axes, points.points.value)
        for place, (name, evals) in enumerate(found):
            x, y = mean_of_runs(evals[column]), share_of_runs(evals["n_memorized"], evals["n_generated"])
            sign = _sign(place)
            axes.hlines(y[0], x.lo, x.hi, sign["color"], linewidth=0.7, alpha=0.5, zorder=1)
            axes.vlines(x.value, *y[1:], sign["color"], linewidth=0.7, alpha=0.5, zorder=1)
            axes.plot([x.value], y[:1], markeredgecolor="white", markeredgewidth=0.5, label=name, **sign)
            told = dict(zip(("memorized", "memorized_lo", "memorized_hi"), y, strict=True))
            found_x = {"value": x.value, "value_lo": x.lo, "value_hi": x.hi}
            rows.append({"change": name, "column": column, "runs": len(evals)} | found_x | told)
        axes.set(xlabel=label, ylim=(-0.03, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_xscale("log")
    panels[0].set_xticks([0.4, 0.6, 1, 2], ["0.4", "0.6", "1", "2"])
    panels[0].set_xticks([], minor=True)
    panels[0].set_ylabel("copies among samples")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    caption = (
        f"Where each single change takes the reference cell (star), means of {len(found[0][1])} runs with 95 % "
        f"intervals (of copies the wider of over runs and over samples); grey: the cells of study 1 at their end, and "
        f"the step line of those that no other dominates. Lower is better on both axes."
    )
    reference, best = rows[0], min(rows[: len(found)], key=lambda row: row["memorized"])
    alt = (
        f"{len(found) - 1} changes of a cell with {100 * reference['memorized']:.0f} % copies; the fewest copies, "
        f"{100 * best['memorized']:.1f} %, with {best['change']}."
    )
    return ReportFigure("moves", "interventions", figure, caption, alt, data=pandas.DataFrame(rows))


def _sign(place: int) -> dict[str, Any]:
    """Colour and marker of a change, no pair twice; the reference, of place 0, is a star on top."""
    if not place:
        return {"color": "black", "marker": "*", "markersize": 13, "zorder": 4, "linestyle": "none"}
    turn = place + place // len(COLORS)
    return {
        "color": COLORS[place % len(COLORS)],
        "marker": MARKERS[turn % len(MARKERS)],
        "markersize": 7,
        "linestyle": "none",
    }


def _beneath(axes: Axes, value: np.ndarray) -> None:
    """The cells [n 2] in grey, and the step line of their boundary."""
    axes.plot(*value.T, ".", color="#BBBBBB", markersize=4, zorder=0)
    best = value[front(value)]
    best = best[np.argsort(best[:, 0])]
    axes.step(*best.T, where="post", color=GREY, linewidth=1, zorder=0)
