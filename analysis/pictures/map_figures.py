"""The report's maps: memorization over size x copies and size x duplication, with the fitted phase boundary."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.pictures.curve_figures import Figures, Fits, counted, overdispersion
from analysis.pictures.phase_lines import Box, PhaseLine, phase_line
from analysis.pictures.points import said_runs
from analysis.pictures.rate_map_plot import LINES, plot_rate_map, rate_words, room_for
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.summary import StudyFit, last_evaluations, main_setting, pooled_rates
from analysis.table import Tables
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
BEYOND = 0.3  # of the tiles' span in logarithms: how far a boundary is looked for where the cells do not hold it
MOST_DRAWS = 200  # of the resampled laws


def maps(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Recovery of the strata over params x copies; memorized samples of the cells over params x duplication_rate."""
    out, lacking = [], []
    for build in (_recovery_map, _memorized_map):
        found = build(tables, fits, level)
        out += [found] if isinstance(found, ReportFigure) else []
        lacking += [found] if isinstance(found, str) else []
    return out or " ".join(lacking)


def _recovery_map(tables: Tables, fits: Fits, level: float) -> ReportFigure | str:
    rows = last_evaluations(tables.strata)
    rows = rows[rows["n_basin_recovered"].notna() & (rows["n_basin"] > 0) & (rows["copies"] > 0)]
    rows, setting = _one_setting(rows, "copies", ("design", "n_unique", "images_seen"), ("n_train",))
    lacking = _lacking(rows, "copies")
    if lacking:
        return f"No map of recovery over size and copies: {lacking}."
    said = (
        "copies of the image",
        "of the chains come back",
        "recovered share of chains started at noised training images",
    )
    return _map("map_recovery", rows, "copies", ("n_basin_recovered", "n_basin"), fits.get("recovery"), said, setting,
                level, {})  # fmt: skip


def _memorized_map(tables: Tables, fits: Fits, level: float) -> ReportFigure | str:
    rows = counted(tables)
    rows = rows[rows["duplication_rate"].notna() & (rows["duplication_rate"] < 1)]
    # 1/(1 - rate), the mean number of copies, has a place on a log axis where the rate 0 has none.
    rows = rows.assign(mean_copies=1 / (1 - rows["duplication_rate"]))
    rows, setting = _one_setting(rows, "mean_copies", ("design", "images_seen"), ("n_unique", "n_train"))
    lacking = _lacking(rows, "mean_copies", "duplication rates")
    if lacking:
        return f"No map of memorized samples over size and duplication: {lacking}."
    said = (
        "duplication rate",
        "of the samples are copies",
        "memorized share of generated samples (gap ratio below 1/3)",
    )
    ticks = {float(v): f"{1 - 1 / v:.2g}" for v in rows["mean_copies"].unique()}
    return _map("map_memorized", rows, "mean_copies", ("n_memorized", "n_generated"), fits.get("memorized"), said,
                setting, level, ticks)  # fmt: skip


def _one_setting(rows: "DataFrame", y: str, held: Sequence[str], follow: Sequence[str]) -> tuple["DataFrame", str]:
    """The rows of the commonest setting of `held`, and of those of `follow` that do not simply follow y."""
    if rows.empty:
        return rows, ""
    own = [k for k in follow if rows.groupby([*held, y], dropna=False)[k].nunique(dropna=False).max() > 1]
    return main_setting(rows, (*held, *own))


def _lacking(rows: "DataFrame", y: str, words: str = "") -> str:
    counts = {"sizes": rows["params"].nunique(), words or y: rows[y].nunique()}
    few = [f"{count} {name}" for name, count in counts.items() if count < 2]
    return f"it takes two or more of each, one setting has {' and '.join(few)}" if few else ""


def _map(
    name: str, rows: "DataFrame", y: str, counts: tuple[str, str], found: StudyFit | None, said: tuple[str, str, str],
    setting: str, level: float, ticks: Mapping[float, str],
) -> ReportFigure:  # fmt: skip
    of_y, of_rate, what = said
    by = ["params", y]
    cells = pooled_rates(rows, by, *counts, overdispersion=overdispersion(found), level=level)
    runs = rows.groupby(by)["run_id"].agg(lambda ids: tuple(sorted(map(str, set(ids)))))
    cells = cells.merge(runs.rename("runs").reset_index(), on=by).rename(columns={"params": "x", y: "y"})
    lines, room = _boundaries(rows, y, found, level)
    figure = plot_rate_map(cells, lines, xlabel="parameters", ylabel=of_y, ylabels=ticks or None, room=room)
    label = {value: ticks.get(value, count_label(value)) for value in cells["y"].unique()}
    marks = [Mark(figure.axes[0], cell.x, cell.y, _said(cell, of_rate, f"{of_y} {label[cell.y]}"), cell.runs)
             for cell in cells.itertuples()]  # fmt: skip
    n = cells["n_runs"]
    per = f"n = {n.min()} a tile" if n.nunique() == 1 else f"n = {n.min()} to {n.max()} a tile"
    caption = (
        f"{what.capitalize()}, in percent, over model size and {of_y}. {_line_words(lines, level)} White: no run. "
        f"n = {said_runs(rows['run_id'].nunique())}{setting}, {per}."
    )
    low, high = cells.loc[cells["rate"].idxmin()], cells.loc[cells["rate"].idxmax()]
    alt = (
        f"Map of the {what} over model size and {of_y}: from {rate_words(low.rate)} % at {count_label(low.x)} "
        f"parameters, "
        f"{label[low.y]}, to {rate_words(high.rate)} % at {count_label(high.x)} parameters, {label[high.y]}."
    )
    data = cells.drop(columns="runs").rename(columns={"x": "params", "y": y}).assign(runs=cells["runs"].map(" ".join))
    return ReportFigure(name, "maps", figure, caption, alt, data=data, marks=marks)


def _said(cell: Any, of_rate: str, at: str) -> str:
    ends = f"({rate_words(cell.lo)} to {rate_words(cell.hi)} %)"
    counted = f"{rate_words(cell.rate)} % {ends} {of_rate}: {cell.hits:.0f} of {cell.trials:.0f}"
    return f"{counted}; {count_label(cell.x)} parameters, {at}; n = {said_runs(cell.n_runs)}"


def _boundaries(rows: "DataFrame", y: str, found: StudyFit | None, level: float) -> tuple[list[PhaseLine], Box]:
    """The lines of LINES, and the axes' ends: the tiles', moved out where a line stands beside them only."""
    spans = [rows[name].to_numpy(float) for name in ("params", y)]
    tiles = room_for(spans[0]), room_for(spans[1])
    if found is None or found.result.best is None or "params" not in found.result.law.variables:
        return [], tiles
    law, resampled = _surface(rows, y, found)
    around = room_for(spans[0], BEYOND), room_for(spans[1], BEYOND)
    lines = [phase_line(rate, law, tuple(spans), around, draws=resampled, level=level) for rate in LINES]
    return lines, _room(lines, tiles)


def _room(lines: Sequence[PhaseLine], tiles: Box) -> Box:
    """The ends of the tiles, moved out as far as it takes to show each line at its nearest."""
    ends = np.log(tiles)  # [x, y][lower, upper]
    for line in lines:
        if not line.pieces:
            continue
        points = np.log(np.concatenate([piece.points for piece in line.pieces]))
        outside = np.maximum(np.log(tiles)[:, 0] - points, points - np.log(tiles)[:, 1]).clip(0)
        nearest = points[np.argmin((outside / np.ptp(np.log(tiles), axis=1)).sum(axis=1))]
        if outside.sum(axis=1).min() > 0:
            more = 0.06 * np.ptp(np.log(tiles), axis=1)
            ends = np.stack([np.minimum(ends[:, 0], np.where(nearest < np.log(tiles)[:, 0], nearest - more, np.inf)),
                             np.maximum(ends[:, 1], np.where(nearest > np.log(tiles)[:, 1], nearest + more, -np.inf))],
                            axis=1)  # fmt: skip
    (x0, x1), (y0, y1) = np.exp(ends)
    return (float(x0), float(x1)), (float(y0), float(y1))


def _surface(rows: "DataFrame", y: str, found: StudyFit) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """The law over (params, y), and of its resampled versions; other variables are interpolated along y in logs."""
    result = found.result
    along = rows[rows[y] > 0].groupby(y)[list(result.law.variables)].median()

    def at(x: Array, values: Array) -> dict[str, Array]:
        known = {name: np.exp(np.interp(np.log(values), np.log(along.index), np.log(along[name]))) for name in along}
        return {**known, "params": x} | ({y: values} if y in known else {})

    if result.draws is None:
        return lambda x, values: result.predict(at(x, values)), None
    drawn = result.problem.natural(result.draws[:MOST_DRAWS])
    return (lambda x, values: result.predict(at(x, values))), lambda x, values: result.law.predict(at(x, values), drawn)


def _line_words(lines: Sequence[PhaseLine], level: float) -> str:
    if not lines:
        return "No law could be fitted, so no boundary is drawn."
    drawn = [LINES[line.rate][1] for line in lines if line.pieces]
    absent = [LINES[line.rate][1] for line in lines if not line.pieces]
    said = f"Lines: where the fitted law has {' and '.join(drawn)}" if drawn else ""
    if drawn and any(line.ends for line in lines):
        said += f" (dotted: {100 * level:g} % of laws fitted to resampled runs)"
    dashed = any(piece.extrapolated for line in lines for piece in line.pieces)
    said += ", dashed beyond the cells." if dashed else "." if drawn else ""
    return f"{said} Where the law has {' and '.join(absent)} lies beyond this map.".strip() if absent else said
