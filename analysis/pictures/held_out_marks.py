"""Held-out sizes upon a curve: what the law fitted without a size says of it, beside what was measured there."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.pictures.points import Points, marks_of, said_runs, said_setting
from analysis.plots import GREY, Ordered
from analysis.summary import StudyFit

if TYPE_CHECKING:
    from pandas import DataFrame

MARKER = "x"  # of no line: plots.MARKERS has none like it
LEGEND = Line2D([], [], color=GREY, marker=MARKER, linestyle="none", markersize=5, label="held out, predicted")


class HeldOut(NamedTuple):
    """Of the rows in a figure: the settings predicted, and how many of their measured rates the intervals hold."""

    settings: "DataFrame"  # x, line, predicted, lo, hi (of one new run), runs: one row a setting of the law
    sizes: int
    inside: int
    rows: int
    extrapolated: bool


def held_out(found: StudyFit | None, rows: "DataFrame", x: str, line: str) -> HeldOut | None:
    """rows: run_id, params, rate and the law's variables; None where none of them was held out."""
    if found is None or found.held_out is None:
        return None
    keys = [name for name in ("run_id", "copies") if name in found.held_out.columns]
    known = rows.merge(found.held_out, on=keys, how="inner")
    if known.empty:
        return None
    inside = (known["lo"] <= known["rate"]) & (known["rate"] <= known["hi"])
    by = list(dict.fromkeys((x, line, *found.result.law.variables)))
    # Runs of one setting have one prediction; their ends differ by the numbers of trials and by the draws.
    settings = known.groupby(by, as_index=False).agg(
        predicted=("predicted", "mean"), lo=("lo", "mean"), hi=("hi", "mean"),
        runs=("run_id", lambda ids: tuple(sorted(map(str, set(ids))))),
    )  # fmt: skip
    return HeldOut(
        settings, known["params"].nunique(), int(inside.sum()), len(known), bool(known["extrapolated"].any())
    )


def draw(axes: Axes, held: HeldOut, rates: "DataFrame", x: str, line: Ordered) -> None:
    """Crosses with their intervals beside the pooled rates of `plots.plot_rates`."""
    for value, part in held.settings.groupby(line.name):
        arms = [part["predicted"] - part["lo"], part["hi"] - part["predicted"]]
        axes.errorbar(
            part[x] * _beside(rates, x, line.name, value), part["predicted"], yerr=np.maximum(arms, 0), fmt=MARKER,
            markersize=5, markeredgewidth=1.2, elinewidth=0.7, color=line.color(value), zorder=2,
        )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, 1.05 * float(held.settings["hi"].max())))


def _beside(rates: "DataFrame", x: str, line: str, value: float) -> float:
    """The factor to the place of a cross: right of all pooled rates of its x, in their order."""
    places, lines = np.unique(np.log(rates[x].to_numpy(float))), sorted(rates[line].unique())
    gap = np.diff(places).min() if len(places) > 1 else 1.0
    if x == line or len(lines) < 2:
        return float(np.exp(0.1 * gap))
    return float(np.exp(gap * (0.17 + 0.13 * lines.index(value) / (len(lines) - 1))))


def with_held_out(at: Points, axes: Axes, held: HeldOut, rates: "DataFrame", x: str, line: Ordered) -> Points:
    """The points of the figure and the held-out settings."""
    import pandas

    own = held.settings.rename(columns={"predicted": "rate"}).assign(drawn="held_out")
    own["n_runs"] = own["runs"].map(len)
    places = own[x] * [_beside(rates, x, line.name, value) for value in own[line.name]]
    names = tuple(dict.fromkeys((x, line.name)))
    marks = marks_of(
        axes, own, places, own["rate"],
        lambda row: f"predicted without this size: {said_setting(row, names)}: {100 * row.rate:.3g} % "
        f"({100 * row.lo:.3g} to {100 * row.hi:.3g} % for a new run), {said_runs(row.n_runs)} held out",
    )  # fmt: skip
    own["runs"] = own["runs"].map(" ".join)
    return Points(pandas.concat([at.data, own], ignore_index=True), [*at.marks, *marks], at.note)


def sentence(found: StudyFit | None, held: HeldOut | None, unit: str, level: float) -> str:
    """For the caption; `unit`: what a row of the fit is. Empty where no law of the size is drawn."""
    if found is None or found.result.best is None or "params" not in found.result.law.variables:
        return ""
    if held is None:
        return " No size is held out: it takes three or more, and a law that can be fitted to the others."
    beyond = ", the smallest and the largest by extrapolation" if held.extrapolated else ""
    return (
        f" Crosses: each of {held.sizes} sizes predicted by the law fitted without it{beyond}, with the "
        f"{100 * level:g} % interval of one new run; it holds {held.inside} of {held.rows} {unit} "
        f"({100 * held.inside / held.rows:.0f} %)."
    )
