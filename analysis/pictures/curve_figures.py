"""The report's curves at the last evaluation: recovery, efficiency and memorized share against size and duplication."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.pictures import held_out_marks
from analysis.pictures.points import Points, rate_points, said_runs, said_setting, said_share, with_runs
from analysis.pictures.scales import study_scale
from analysis.plots import Ordered, ReportFigure, plot_rates
from analysis.summary import (
    StudyFit,
    last_evaluations,
    main_setting,
    null_rate,
    pooled_rates,
    setting_words,
    with_exposures,
)
from analysis.table import Tables
from analysis.words import number, several, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

COMPARED = ("design", "n_unique", "images_seen")  # the same for all cells of one figure
Fits = dict[str, StudyFit]
Figures = list[ReportFigure] | str  # the figures, or in words why there is none


def recovery(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Basin recovery of the strata against params and against copies (n_extracted of a stratum is no rate to plot)."""
    rows = last_evaluations(tables.strata)
    rows = rows[rows["n_basin_recovered"].notna() & (rows["n_basin"] > 0)]
    if rows.empty:
        return "No figure of recovery by stratum: no run has basin chains by stratum."
    rows, setting = main_setting(rows, counts=("n_basin_recovered", "n_basin"))
    rows = _counts(rows, "n_basin_recovered", "n_basin")
    found = fits.get("recovery")
    by = ("params", "copies")
    rates = pooled_rates(rows, by, "n_basin_recovered", "n_basin", overdispersion=overdispersion(found), level=level)
    rates = with_runs(rates, rows, by)
    null = null_rate(tables, "n_null_basin_recovered", "n_null_basin")
    count = rows["run_id"].nunique()
    said = f"n = {said_runs(count)}{setting}; faint dots are single runs; points of one place stand side by side."
    drawn = " Lines: the fitted logistic law." if found and found.result.best is not None else ""
    captions = {
        "params": "Share of noised training images that the sampler brings back, against model size, by copies.",
        "copies": "The same share against the number of copies, by model size.",
    }
    copies = study_scale(tables, "copies")
    out = []
    for x, line, xlabel in (("params", copies, "parameters"), ("copies", params, "copies of the image")):
        if rows[x].nunique() < 2:
            continue
        fitted, held = curve(found, rows, x, line.name), held_out_marks.held_out(found, rows, x, line.name)
        figure = plot_rates(
            rates, x, line, xlabel=xlabel, ylabel=f"recovered share ({100 * level:g} % interval)", runs=rows, null=null,
            curve=fitted, legend=[held_out_marks.LEGEND] if held else [],
        )  # fmt: skip
        at = rate_points(
            figure.axes[0], rates, x, line, runs=rows, null=null, curve=fitted, level=level,
            said=lambda row: f"{said_setting(row, by)}: {said_share(row, 'recovered', 'chains')}",
        )  # fmt: skip
        at = _held_out(figure, at, held, rates, x, line)
        alt = f"Recovered share against {xlabel}, {several(rows[line.name].nunique(), 'line')}; {trend(rates, x)}."
        without = held_out_marks.sentence(found, held, "strata of runs", level)
        caption = f"{captions[x]}{drawn}{without} {said}"
        out.append(_figure(f"recovery_by_{x}", figure, caption, alt, at))
    return out or "No curve of recovery: neither parameters nor copies vary."


def efficiency(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """E_r = n_hits N / (B r n_images): 1 for the ideal copier whatever the budget (measures.md 2.4)."""
    rows = last_evaluations(tables.strata)
    needed = ["params", "n_hits", "n_generated", "n_images", "n_train"]
    rows = rows[rows[needed].notna().all(axis=1) & (rows["n_images"] > 0) & (rows["n_generated"] > 0)]
    if rows.empty or rows["copies"].nunique() < 2:
        return "No figure of emission efficiency: it takes hits at two numbers of copies by models of known size."
    rows, setting = main_setting(rows, counts=("n_hits", "n_generated"))
    rows = rows.assign(share=rows["n_images"] * rows["copies"] / rows["n_train"])
    by = ("params", "copies")
    rates = with_runs(pooled_rates(rows, by, "n_hits", "n_generated", level=level), rows, by)
    copier = rows.groupby([*by])["share"].mean().to_numpy()
    rates = rates.assign(**{name: rates[name].to_numpy() / copier for name in ("rate", "lo", "hi")})
    figure = plot_rates(
        rates, "copies", params, xlabel="copies of the image", null=1.0,
        ylabel=f"emission efficiency ({100 * level:g} % interval)", null_label="copier",
    )  # fmt: skip
    at = rate_points(figure.axes[0], rates, "copies", params, null=1.0, reference="copier", said=_said_efficiency)
    caption = (
        f"Emission efficiency: how often a stratum's images are generated, over what a perfect copier does (dotted, "
        f"1). A rising "
        f"line: more than in proportion to the copies. n = {said_runs(rows['run_id'].nunique())}{setting}; binomial "
        f"intervals."
    )
    alt = "Emission efficiency against copies, a line for each model size, beside the perfect copier's constant 1."
    return [_figure("efficiency_by_copies", figure, caption, alt, at)]


def _said_efficiency(row: Any) -> str:
    share = f"emission efficiency {row.rate:.3g} ({row.lo:.3g} to {row.hi:.3g})"
    counts = f"{several(row.hits, 'hit')} of {whole(row.trials)} samples"
    return f"{said_setting(row, ('params', 'copies'))}: {share}, {counts}, {said_runs(len(row.runs))}"


def memorized(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """n_memorized / n_generated of the cells against params, lines by the largest number of copies."""
    rows = counted(tables)
    if rows.empty:
        return "No figure of memorized samples: no run counts them."
    rows, setting = main_setting(rows, COMPARED)
    if rows["params"].nunique() < 2:
        return f"No figure of memorized samples against parameters: all runs{setting} have one size."
    found = fits.get("memorized")
    c, line = overdispersion(found), "copies" if (rows["copies"] > 0).all() else "params"
    by = tuple(dict.fromkeys(("params", line)))
    rates = pooled_rates(rows, by, "n_memorized", "n_generated", overdispersion=c, level=level)
    rates, lines = with_runs(rates, rows, by), study_scale(tables, line)
    null = null_rate(tables, "n_null_memorized", "n_generated")
    fitted = curve(found, rows, "params", line)
    fixed = [v for v in found.result.law.variables if v not in by] if found and fitted else []
    held = held_out_marks.held_out(found, rows, "params", line)
    figure = plot_rates(
        rates, "params", lines, xlabel="parameters", curve=fitted, runs=rows, null=null,
        ylabel=f"memorized share of samples ({100 * level:g} % interval)",
        legend=[held_out_marks.LEGEND] if held else [],
    )  # fmt: skip
    at = rate_points(
        figure.axes[0], rates, "params", lines, runs=rows, curve=fitted, null=null, level=level,
        said=lambda row: f"{said_setting(row, by)}: {said_share(row, 'memorized', 'samples')}",
    )  # fmt: skip
    at = _held_out(figure, at, held, rates, "params", lines)
    caption = (
        f"Share of generated samples that are copies (gap ratio below 1/3) against model size, by the largest "
        f"number of copies. "
        f"Dotted: the same test against held-out images. n = {said_runs(rows['run_id'].nunique())}{setting}."
        + (f" The fitted curve holds {', '.join(fixed)} at each line's median." if fixed else "")
        + held_out_marks.sentence(found, held, "runs", level)
    )
    alt = f"Memorized share against parameters; {trend(rates, 'params')}."
    return [_figure("memorized_by_params", figure, caption, alt, at)]


def duplication(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """n_memorized / n_generated of the cells against duplication_rate at one n_unique and design, lines by params."""
    rows = of_designs(counted(tables))
    rates = rows.groupby(list(COMPARED), dropna=False)["duplication_rate"].transform("nunique")
    if not (rates > 1).any():
        most = f"at most {number(rates.max())}" if len(rows) else "none"
        return (
            f"No figure against duplication_rate: it takes two or more values at one number of unique images and one "
            f"design, the runs have {most}."
        )
    rows, setting = main_setting(rows[rates > 1], COMPARED)
    setting = setting or f" of the setting {setting_words(COMPARED, rows.iloc[0][list(COMPARED)].tolist())}"
    c = overdispersion(fits.get("memorized"))
    by = ("params", "duplication_rate")
    rates = pooled_rates(rows, by, "n_memorized", "n_generated", overdispersion=c, level=level)
    rates, null = with_runs(rates, rows, by), null_rate(tables, "n_null_memorized", "n_generated")
    figure = plot_rates(
        rates, "duplication_rate", params, xlabel="duplication rate (1 - unique / all training images)", runs=rows,
        log_x=False, ylabel=f"memorized share of samples ({100 * level:g} % interval)", null=null,
    )  # fmt: skip
    at = rate_points(
        figure.axes[0], rates, "duplication_rate", params, runs=rows, null=null, level=level, log_x=False,
        said=lambda row: f"{said_setting(row, by)}: {said_share(row, 'memorized', 'samples')}",
    )  # fmt: skip
    caption = (
        f"Share of generated samples that are copies against the duplication rate of the training set, by model size; "
        f"at 0 the runs without duplication. Dotted: the null. n = {said_runs(rows['run_id'].nunique())}{setting}; "
        f"faint dots are single runs."
    )
    alt = f"Memorized share against duplication rate; {trend(rates, 'duplication_rate')}."
    return [_figure("memorized_by_duplication", figure, caption, alt, at)]


def _held_out(
    figure: "Figure", at: Points, held: held_out_marks.HeldOut | None, rates: "DataFrame", x: str, line: Ordered
) -> Points:
    if held is None:
        return at
    held_out_marks.draw(figure.axes[0], held, rates, x, line)
    return held_out_marks.with_held_out(at, figure.axes[0], held, rates, x, line)


def _figure(name: str, figure: "Figure", caption: str, alt: str, at: Points) -> ReportFigure:
    return ReportFigure(name, "curves", figure, caption + at.note, alt, data=at.data, marks=at.marks)


def of_designs(rows: "DataFrame") -> "DataFrame":
    """Rows with a duplication rate; those of rate 0 stand in every design of their n_unique, whose zero they are."""
    import pandas

    known = rows[rows["duplication_rate"].notna()]
    plain = known[known["duplication_rate"] == 0]
    copied = known[known["duplication_rate"] > 0]
    designs = copied[["n_unique", "design"]].drop_duplicates()
    zeros = plain.drop(columns="design").merge(designs, on="n_unique", how="left")
    zeros["design"] = zeros["design"].where(zeros["design"].notna(), "none")
    return pandas.concat([copied, zeros[known.columns]], ignore_index=True)


def _counts(rows: "DataFrame", hits: str, trials: str) -> "DataFrame":
    """`rows` with hits, trials and rate."""
    return rows.assign(hits=rows[hits], trials=rows[trials], rate=rows[hits] / rows[trials])


def counted(tables: Tables) -> "DataFrame":
    """Last evaluations that counted memorized samples, with their rate and exposures."""
    rows = with_exposures(last_evaluations(tables.evals), tables.strata)
    rows = rows[rows["n_memorized"].notna() & (rows["n_generated"] > 0)]
    return _counts(rows, "n_memorized", "n_generated")


def curve(
    found: StudyFit | None, rows: "DataFrame", x: str, line: str
) -> Callable[[np.ndarray, float], np.ndarray] | None:
    """The fitted law along x for one value of `line`, other variables at that line's median; None without a fit."""
    if found is None or found.result.best is None or x not in found.result.law.variables:
        return None

    def along(grid: np.ndarray, value: float) -> np.ndarray:
        own = rows[rows[line] == value]
        at = {name: np.full(grid.shape, own[name].median()) for name in found.result.law.variables}
        if line in at:
            at[line] = np.full(grid.shape, value)
        return found.result.predict({**at, x: grid})

    return along


def overdispersion(found: StudyFit | None) -> float:
    """Of the fitted counts; 0 without a fit, or where it has none."""
    return (found.result.overdispersion or 0.0) if found else 0.0


def trend(rates: "DataFrame", x: str) -> str:
    """From where to where the pooled rate goes along x, for a reader who cannot see it."""
    ends = rates.groupby(x)[["hits", "trials"]].sum()
    share = 100 * ends["hits"] / ends["trials"]
    return f"pooled from {share.iloc[0]:.1f} % at {share.index[0]:g} to {share.iloc[-1]:.1f} % at {share.index[-1]:g}"
