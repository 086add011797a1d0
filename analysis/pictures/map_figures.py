"""The report's maps: memorization over size x copies and size x duplication, with the fitted phase boundary."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.pictures.curve_figures import Figures, Fits, counted, of_designs, overdispersion
from analysis.pictures.phase_lines import Box, PhaseLine, phase_line
from analysis.pictures.points import said_runs
from analysis.pictures.rate_map_plot import LINES, RateMap, plot_rate_maps, rate_words, room_for
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.summary import StudyFit, last_evaluations, main_setting, pooled_rates, setting_words
from analysis.table import Tables
from analysis.words import number

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
BEYOND = 0.3  # of the tiles' span in logarithms: how far a boundary is looked for where the cells do not hold it
MOST_DRAWS = 200  # of the resampled laws
MOST_PANELS = 4
HELD = ["design", "images_seen"]  # of all panels; n_unique is that of each


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
    counts = "n_basin_recovered", "n_basin"
    parts, setting = _parts(rows, "copies", counts)
    lacking = _lacking(parts[0], "copies")
    if lacking:
        return f"No map of recovery over size and copies: {lacking}."
    said = (
        "copies of the image",
        "of the chains come back",
        "recovered share of chains started at noised training images",
    )
    return _map("map_recovery", parts, "copies", counts, fits.get("recovery"), said, setting, level, {})


def _memorized_map(tables: Tables, fits: Fits, level: float) -> ReportFigure | str:
    rows = of_designs(counted(tables))
    rows = rows[rows["duplication_rate"] < 1]
    # 1/(1 - rate), the mean number of copies, has a place on a log axis where the rate 0 has none.
    rows = rows.assign(mean_copies=1 / (1 - rows["duplication_rate"]))
    counts = "n_memorized", "n_generated"
    parts, setting = _parts(rows, "mean_copies", counts)
    lacking = _lacking(parts[0], "mean_copies", "duplication rates")
    if lacking:
        return f"No map of memorized samples over size and duplication: {lacking}."
    said = (
        "duplication rate",
        "of the samples are copies",
        "memorized share of generated samples (gap ratio below 1/3)",
    )
    ticks = {float(v): f"{1 - 1 / v:.2g}" for part in parts for v in part["mean_copies"].unique()}
    return _map("map_memorized", parts, "mean_copies", counts, fits.get("memorized"), said, setting, level, ticks)


def _parts(rows: "DataFrame", y: str, counts: tuple[str, str]) -> tuple[list["DataFrame"], str]:
    """The rows of each panel, and in words of which setting: the others differ from the main one in n_unique only.

    One panel where no other number of unique images, or more than MOST_PANELS, fill a map of their own.
    """
    if rows.empty:
        return [rows], ""
    keys = [*HELD, "n_unique"]
    if rows.groupby([*keys, y], dropna=False)["n_train"].nunique(dropna=False).max() > 1:  # it does not follow from y
        keys.append("n_train")
    main, setting = main_setting(rows, keys, counts)
    same = rows.groupby(HELD, dropna=False).ngroup()
    beside = rows[same == same[main.index[0]]]
    parts = [part for _, part in beside.groupby("n_unique") if not _lacking(part, y)]
    if "n_train" in keys or not 2 <= len(parts) <= MOST_PANELS:
        return [main], setting
    held = setting_words(HELD, [main[name].iloc[0] for name in HELD])
    sizes = [number(part["n_unique"].iloc[0], 6) for part in parts]
    several = rows.groupby(keys, dropna=False).ngroups
    return parts, f" of {held}, n_unique {', '.join(sizes[:-1])} and {sizes[-1]} ({len(parts)} of {several} settings)"


def _lacking(rows: "DataFrame", y: str, words: str = "") -> str:
    counts = {"sizes": rows["params"].nunique(), words or y: rows[y].nunique()}
    few = [f"{count} {name}" for name, count in counts.items() if count < 2]
    return f"it takes two or more of each, one setting has {' and '.join(few)}" if few else ""


def _map(
    name: str, parts: Sequence["DataFrame"], y: str, counts: tuple[str, str], found: StudyFit | None,
    said: tuple[str, str, str], setting: str, level: float, ticks: Mapping[float, str],
) -> ReportFigure:  # fmt: skip
    import pandas

    of_y, of_rate, what = said
    panels = [_panel(part, y, counts, found, level, titled=len(parts) > 1) for part in parts]
    figure = plot_rate_maps(panels, xlabel="parameters", ylabel=of_y, ylabels=ticks or None)
    cells = pandas.concat([
        panel.cells.assign(n_unique=part["n_unique"].iloc[0]) for panel, part in zip(panels, parts, strict=True)
    ], ignore_index=True)  # fmt: skip
    label = {value: ticks.get(value, number(value)) for value in cells["y"].unique()}
    marks = [Mark(axes, cell.x, cell.y, _said(cell, of_rate, f"{of_y} {label[cell.y]}"), cell.runs)
             for axes, panel in zip(figure.axes, panels, strict=False)
             for cell in panel.cells.itertuples()]  # fmt: skip
    n, runs = cells["n_runs"], sum(part["run_id"].nunique() for part in parts)
    per = f"n = {n.min()} a tile" if n.nunique() == 1 else f"n = {n.min()} to {n.max()} a tile"
    caption = (
        f"{what.capitalize()}, in percent, over model size and {of_y}{_panel_words(parts)}. "
        f"{_line_words([line for panel in panels for line in panel.lines], level)} White: no run. "
        f"n = {said_runs(runs)}{setting}, {per}."
    )
    low, high = cells.loc[cells["rate"].idxmin()], cells.loc[cells["rate"].idxmax()]
    ends = [
        f"{rate_words(cell.rate)} % at {number(cell.x, 6)} parameters, {label[cell.y]}"
        + (f", {number(cell.n_unique, 6)} unique images" if len(parts) > 1 else "")
        for cell in (low, high)
    ]
    alt = f"Map of the {what} over model size and {of_y}: from {ends[0]}, to {ends[1]}."
    data = cells.drop(columns="runs").rename(columns={"x": "params", "y": y}).assign(runs=cells["runs"].map(" ".join))
    return ReportFigure(name, "maps", figure, caption, alt, wide=len(parts) > 1, data=data, marks=marks)


def _panel(
    part: "DataFrame", y: str, counts: tuple[str, str], found: StudyFit | None, level: float, *, titled: bool
) -> RateMap:
    by = ["params", y]
    cells = pooled_rates(part, by, *counts, overdispersion=overdispersion(found), level=level)
    runs = part.groupby(by)["run_id"].agg(lambda ids: tuple(sorted(map(str, set(ids)))))
    cells = cells.merge(runs.rename("runs").reset_index(), on=by).rename(columns={"params": "x", y: "y"})
    lines, room = _boundaries(part, y, found, level)
    return RateMap(cells, lines, room, f"{number(part['n_unique'].iloc[0], 6)} unique images" if titled else "")


def _panel_words(parts: Sequence["DataFrame"]) -> str:
    return ", a panel for each number of unique images" if len(parts) > 1 else ""


def _said(cell: Any, of_rate: str, at: str) -> str:
    ends = f"({rate_words(cell.lo)} to {rate_words(cell.hi)} %)"
    counted = f"{rate_words(cell.rate)} % {ends} {of_rate}: {cell.hits:.0f} of {cell.trials:.0f}"
    return f"{counted}; {number(cell.x, 6)} parameters, {at}; n = {said_runs(cell.n_runs)}"


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
    rates = dict.fromkeys(line.rate for line in lines)
    shown = {line.rate for line in lines if line.pieces}
    drawn = [LINES[rate][1] for rate in rates if rate in shown]
    absent = [LINES[rate][1] for rate in rates if rate not in shown]
    said = f"Lines: where the fitted law has {' and '.join(drawn)}" if drawn else ""
    if drawn and any(line.ends for line in lines):
        said += f" (dotted: {100 * level:g} % of laws fitted to resampled runs)"
    dashed = any(piece.extrapolated for line in lines for piece in line.pieces)
    said += ", dashed beyond the cells." if dashed else "." if drawn else ""
    return f"{said} Where the law has {' and '.join(absent)} lies beyond this map.".strip() if absent else said
