"""The report's Pareto boundaries: memorization against hold-out loss and KID, at each reading point of the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from scipy.special import ndtri

from analysis.boundary.boundary import Boundary, boundary_of
from analysis.boundary.cell_means import Cells
from analysis.boundary.place import Placed, placed
from analysis.boundary.reading_points import at_holdout_minimum, at_images_seen
from analysis.boundary.redraw import Rows
from analysis.boundary_points import SHORT, BoundaryPoints, boundary_points
from analysis.pictures.boundary_plot import Arrow, Bars, plot_boundary
from analysis.pictures.curve_figures import Figures, Fits
from analysis.pictures.points import said_runs
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.rates import wilson
from analysis.summary import last_evaluations
from analysis.table import Tables
from analysis.words import amount, number, several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
DRAWS = 500
MOST_ARROWS = 3
MOST = 0.9  # of the runs
NAMES = {  # figure -> quality, in their order on the page
    "boundary_holdout_minimum": "holdout_loss", "boundary_holdout_common": "holdout_loss",
    "boundary_holdout_last": "holdout_loss", "boundary_kid_last": "kid",
}  # fmt: skip


def boundaries(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Against hold-out loss at each run's minimum, at a common images_seen and at the end; against KID at the end."""
    end = "at the last evaluation", last_evaluations(tables.evals)
    read = {"boundary_holdout_last": end, "boundary_kid_last": end}
    if (tables.evals["holdout_loss"].notna() & (tables.evals["images_seen"] > 0)).any():
        lowest = at_holdout_minimum(tables.evals)
        falling = int((~lowest["holdout_min_inside"]).sum())
        said = f" ({falling} of {said_runs(len(lowest))} still falling at the end)" if falling else ""
        read["boundary_holdout_minimum"] = f"at each run's lowest hold-out loss{said}", lowest
    common = _common(tables.evals)
    if common is not None:
        read["boundary_holdout_common"] = f"after {amount(common[0])} images seen", common[1]
    out = []
    for name, column in NAMES.items():
        if name not in read:
            continue
        when, rows = read[name]
        study = boundary_points(tables, rows, column)
        if study is not None:
            out.append(boundary_figure(name, column, when, study, params, level))
    return out or "No Pareto boundary: it takes two runs with a count of memorization and hold-out loss or KID."


def _common(evals: "DataFrame") -> tuple[float, "DataFrame"] | None:
    """The largest images_seen at which MOST of the runs were evaluated; None where it is the end of as many."""
    trained = evals[evals["images_seen"] > 0]
    have = trained.groupby("images_seen")["run_id"].nunique()
    ends = trained.groupby("run_id")["images_seen"].max()
    shared = have.index[have >= MOST * len(ends)]
    if not len(shared) or (ends == shared.max()).mean() >= MOST:
        return None
    return float(shared.max()), at_images_seen(evals, float(shared.max()))


@dataclass(frozen=True)
class Guest:
    """A model from elsewhere: where it stands, the smallest change that takes it to the boundary, and in words."""

    x: float
    y: float
    bars: Bars
    way: Arrow | None  # None: nothing dominates it
    said: str
    link: str  # on the page


def boundary_figure(
    name: str, column: str, when: str, study: BoundaryPoints, params: Ordered, level: float,
    guests: Sequence[Guest] = (),
) -> ReportFigure:  # fmt: skip
    """The boundary of `study` with its knee and the ways to it; guests: models from elsewhere, crosses in it."""
    found = boundary_of(study.points, draws=DRAWS, level=level)
    points = _drawn(study, found, level)
    arrows, ways = _ways_out(study, points, SHORT[column], level)
    if guests:
        arrows, ways = [guest.way for guest in guests if guest.way is not None], {}
    xlabel = "hold-out loss (lower is better)" if column == "holdout_loss" else f"KID (features: {study.features})"
    figure = plot_boundary(
        points, params, knee=found.knee, arrows=arrows, xlabel=xlabel, ylabel=study.what,
        placed=[guest.bars for guest in guests],
    )  # fmt: skip
    cells = isinstance(study.points, Cells)
    kind = "cells (means of their runs)" if cells else "runs"
    one = "cell (mean of its runs)" if cells else "run"
    on_front = points[points["on_front"]]
    stay = int((on_front["membership"] >= 0.9).sum())
    bars = "runs' scatter or measurement" if cells else "measurement"
    said = _guest_words(guests) if guests else _ways_words(arrows)
    exact = f" {said_runs(study.n_exact)} without an error of {SHORT[column]}, taken as exact." if study.n_exact else ""
    caption = (
        f"{study.what.capitalize()} against {SHORT[column]} {when}; lower is better in both. Step line: the "
        f"{len(on_front)} of {len(points)} {kind} that no other dominates, {stay} of which stay so in 90 % of {DRAWS} "
        f"draws. Ring and depth of colour: the probability to be on the boundary; bars ({100 * level:g} %, {bars}) "
        f"only "
        f"where it is 5 % or more. {_knee_words(found, points, SHORT[column])}{said}{exact} "
        f"{study.left_out}{' ' if study.left_out else ''}n = {study.n_runs} runs."
    )
    alt = (
        f"{study.what.capitalize()} against {SHORT[column]} for {several(len(points), one, kind)}; not dominated: "
        f"{len(on_front)}. "
        f"{_knee_words(found, points, SHORT[column])}"
    )
    marks = [_mark(figure.axes[0], row, column, ways.get(row.Index, ""), row.Index == found.knee)
             for row in points.itertuples()]  # fmt: skip
    marks += [Mark(figure.axes[0], guest.x, guest.y, guest.said, link=guest.link) for guest in guests]
    data = points.rename(columns={"x": column, "y": "rate"}).assign(runs=points["runs"].map(" ".join))
    return ReportFigure(name, "boundary", figure, caption, alt, data=data, marks=marks)


def _drawn(study: BoundaryPoints, found: Boundary, level: float) -> "DataFrame":
    z, points = ndtri((1 + level) / 2), study.of_point
    value = study.points.value
    rate = wilson(points["hits"], points["trials"], level)
    membership = np.full(len(value), np.nan) if found.membership is None else found.membership
    # A rate's bar is never narrower than its counts allow, nor outside [0, 1].
    half = z * points["y_se"].to_numpy(float)
    knees = np.zeros(len(value)) if found.knees is None else found.knees
    return points.drop(columns=["x_se", "y_se"]).assign(
        x=value[:, 0], x_lo=value[:, 0] - z * points["x_se"], x_hi=value[:, 0] + z * points["x_se"], y=value[:, 1],
        y_lo=np.clip(np.minimum(rate.lo, value[:, 1] - half), 0, 1),
        y_hi=np.clip(np.maximum(rate.hi, value[:, 1] + half), 0, 1),
        membership=membership, on_front=np.isin(np.arange(len(value)), found.front), knee=knees,
    )  # fmt: skip


def _ways_out(
    study: BoundaryPoints, points: "DataFrame", quality: str, level: float
) -> tuple[list[Arrow], Mapping[int, str]]:
    """For the points that memorize most among those surely dominated: the smallest change that is enough."""
    lost = points[~points["on_front"] & ~(points["membership"] >= 0.05)].sort_values(
        "y", ascending=False, kind="stable"
    )
    arrows, words = [], {}
    for row in lost.head(MOST_ARROWS).index:
        (there,) = placed_alone(study.points.value, study.of_point, row, level)
        move = there.moves[0]
        at = points.loc[row]
        to = (move.to, at["y"]) if move.column == "x" else (at["x"], move.to)
        arrows.append(Arrow(at["x"], at["y"], *to))
        words[row] = (
            f"; on the boundary if its {quality if move.column == 'x' else 'rate'} fell by {move.by:.3g} "
            f"({move.lo:.3g} to {move.hi:.3g})"
        )
    return arrows, words


def _guest_words(guests: Sequence[Guest]) -> str:
    told = "; ".join(guest.said for guest in guests[:MOST_ARROWS])
    more = f" and {len(guests) - MOST_ARROWS} more" if len(guests) > MOST_ARROWS else ""
    return f" Crosses: {told}{more}. Losses and KID compare on the same data and features only."


def placed_alone(value: Array, of_point: "DataFrame", row: int, level: float) -> list[Placed]:
    """Point `row` of value [n 2] against the boundary of all others."""
    se = of_point[["x_se", "y_se"]].to_numpy(float)
    others = np.arange(len(value)) != row
    return placed(Rows(value[others], se[others]), Rows(value[[row]], se[[row]]), ("x", "y"), draws=DRAWS, level=level)


def _knee_words(found: Boundary, points: "DataFrame", quality: str) -> str:
    if found.knee is None:
        return "The boundary has no knee."
    at = points.iloc[found.knee]
    sure = f" (in {100 * found.knee_membership:.0f} % of draws)" if found.knee_membership is not None else ""
    return (
        f"Knee{sure}: {number(at['params'], 6)} parameters, {quality} {at['x']:.3g}, {100 * at['y']:.3g} %, "
        f"run {at['runs'][0]}{' and others' if len(at['runs']) > 1 else ''}."
    )


def _ways_words(arrows: Sequence[Arrow]) -> str:
    if not arrows:
        return ""
    which = (
        f"the dominated {'point that memorizes' if len(arrows) == 1 else f'{len(arrows)} points that memorize'} most"
    )
    return f" Arrow: the smallest change that would take {which} to the boundary."


def _mark(axes: Axes, row: Any, column: str, way: str, knee: bool) -> Mark:
    sure = "" if np.isnan(row.membership) else f", on the boundary with probability {row.membership:.2f}"
    said = (
        f"{SHORT[column]} {row.x:.4g} ({row.x_lo:.4g} to {row.x_hi:.4g}), rate {100 * row.y:.3g} % "
        f"({100 * row.y_lo:.3g} to {100 * row.y_hi:.3g} %){sure}{', the knee' if knee else ''}; "
        f"{number(row.params, 6)} parameters; n = {said_runs(len(row.runs))}{way}"
    )
    return Mark(axes, row.x, row.y, said, row.runs)
