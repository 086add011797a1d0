"""The drawn points of a figure: the runs behind each, the line said of it, and the table that becomes its csv."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from analysis.plots import Mark, Ordered, curve_grid, sideways
from analysis.rates import wilson
from analysis.words import number, several, whole

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_MARKS = 1500  # of a figure: more are neither told apart by a finger nor light on a page
NULL = "null_rate"  # a csv's "null" is read as a missing value
SAID = {
    "params": "{} parameters",
    "copies": "copies {}",
    "n_unique": "{} unique images",
    "duplication_rate": "duplication rate {}",
    "images_seen": "{} images seen",
}


class Points(NamedTuple):
    """What a ReportFigure holds beside its picture."""

    data: "DataFrame"
    marks: list[Mark]
    note: str  # for the caption: which marks were left out, or nothing


def points(parts: Sequence["DataFrame"], marks: Sequence[Mark]) -> Points:
    """The parts (each with a column `drawn`: what its rows are in the picture) as one table, and the thinned marks."""
    import pandas

    parts = [part.dropna(axis=1, how="all") for part in parts if len(part)]  # else empty columns lose their type
    data = pandas.concat(parts, ignore_index=True)
    data.insert(0, "drawn", data.pop("drawn"))
    if "runs" in data:
        data["runs"] = [" ".join(runs) if isinstance(runs, tuple) else runs for runs in data["runs"]]
    kept = thinned(marks)
    note = "" if len(kept) == len(marks) else f" {len(kept)} of the {len(marks)} points, evenly chosen, lead to runs."
    return Points(data, kept, note)


def thinned(marks: Sequence[Mark], most: int = MOST_MARKS) -> list[Mark]:
    """At most `most` marks, evenly chosen in their order, both ends among them."""
    if len(marks) <= most:
        return list(marks)
    return [marks[k] for k in np.linspace(0, len(marks) - 1, most).round().astype(int)]


def with_runs(groups: "DataFrame", rows: "DataFrame", by: Sequence[str]) -> "DataFrame":
    """`groups` (one row a group of `by`) with `runs`: the ids of the runs of `rows` in the group, in order."""
    found = rows.groupby(list(by), as_index=False)["run_id"].agg(lambda ids: tuple(sorted(map(str, set(ids)))))
    return groups.merge(found.rename(columns={"run_id": "runs"}), on=list(by), how="left")


def marks_of(axes: Axes, part: "DataFrame", x: "Series", y: "Series", said: Callable[[Any], str]) -> list[Mark]:
    """A mark for each row of `part` at (x, y), with the row's words and its `runs`."""
    rows = zip(part.itertuples(index=False), x, y, strict=True)
    return [Mark(axes, float(at), float(height), said(row), row.runs) for row, at, height in rows]


def said_setting(row: Any, names: Sequence[str]) -> str:
    """40 489 parameters, copies 8."""
    values = {name: number(getattr(row, name), 3 if name == "duplication_rate" else 6) for name in names}
    return ", ".join(SAID.get(name, name + " {}").format(value) for name, value in values.items())


def said_share(row: Any, what: str, unit: str) -> str:
    """recovered 12.3 % (10.1 to 14.9 %), 123 of 1 000 chains, 2 runs."""
    share = f"{what} {100 * row.rate:.3g} % ({100 * row.lo:.3g} to {100 * row.hi:.3g} %)"
    return f"{share}, {whole(row.hits)} of {whole(row.trials)} {unit}, {said_runs(len(row.runs))}"


def said_runs(count: int) -> str:
    """`1 run`, `8 runs`."""
    return several(count, "run")


def rate_points(
    axes: Axes,
    rates: "DataFrame",
    x: str,
    line: Ordered,
    *,
    said: Callable[[Any], str],
    runs: "DataFrame | None" = None,
    curve: Callable[[np.ndarray, float], np.ndarray] | None = None,
    null: float | None = None,
    reference: str = NULL,
    level: float = 0.95,
    log_x: bool = True,
) -> Points:
    """The points of `plots.plot_rates`: pooled rates, single runs, fitted curve and null, as drawn.

    rates: columns x, line.name, hits, trials, rate, lo, hi, runs; runs: x, line.name, run_id, hits, trials, rate.
    """
    import pandas

    shift = sideways(rates, x, line.name) if log_x else {}
    aside = rates[line.name].map(shift).fillna(1.0)
    parts = [rates.assign(drawn="pooled")]
    marks = marks_of(axes, rates, rates[x] * aside, rates["rate"], said)
    if runs is not None:
        found = wilson(runs["hits"], runs["trials"], level)
        own = runs[list(dict.fromkeys((x, line.name, "hits", "trials", "rate")))]
        own = own.assign(drawn="run", n_runs=1, lo=found.lo, hi=found.hi, runs=[(str(run),) for run in runs["run_id"]])
        parts.append(own)
        marks += marks_of(axes, own, own[x] * own[line.name].map(shift).fillna(1.0), own["rate"], said)
    grid = curve_grid(rates[x]) if log_x else None
    if curve is not None and grid is not None:
        for value in sorted(rates[line.name].unique()):
            part = {line.name: value, x: grid, "rate": curve(grid, value)}
            parts.append(pandas.DataFrame(part).assign(drawn="fit"))
    if null is not None:
        parts.append(pandas.DataFrame({"drawn": [reference], "rate": [null]}))
    return points(parts, marks)
