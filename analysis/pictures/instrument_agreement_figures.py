"""The report's figures of agreement: do the instruments rank the cells alike, and does each pass its null?"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analysis.agreement import OF_CELLS, cell_agreement
from analysis.pictures.agreement_figures import WORDS
from analysis.pictures.curve_figures import Figures, Fits
from analysis.pictures.instrument_agreement_plot import plot_beside_null, plot_rank_agreement
from analysis.pictures.points import said_runs
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.rates import wilson
from analysis.replicates import design_cells
from analysis.summary import last_evaluations
from analysis.table import Tables
from analysis.words import number

if TYPE_CHECKING:
    from pandas import DataFrame

FEWEST_CELLS = 4  # fewer have no rank correlation worth a tile
MOST_CELLS = 12  # of one instrument in the figure beside the null
SPREAD = 0.7  # of an instrument's row
READ = ["instrument", "cell_id", "params", "hits", "trials", "null", "ceiling", "runs", "y"]


class Counted(NamedTuple):
    """Columns of a rate by instrument: what is counted of how many, the null's counts, and the ideal denoiser's."""

    hits: str
    trials: str
    null: str
    null_trials: str
    ideal: str | None = None


COUNTED = (
    Counted("n_memorized", "n_generated", "n_null_memorized", "n_generated"),
    Counted("n_calibrated", "n_generated", "n_null_calibrated", "n_generated"),
    Counted("n_basin_recovered", "n_basin", "n_null_basin_recovered", "n_null_basin", "n_ideal_basin_recovered"),
    Counted("n_prompt_recovered", "n_prompts", "n_null_prompt_recovered", "n_null_prompts"),
    Counted("n_keys_recovered", "n_keys", "n_null_keys_recovered", "n_null_keys", "n_ideal_keys_recovered"),
    Counted("n_cyclic_extracted", "n_unique", "n_null_cyclic_extracted", "n_holdout"),
)


def agreement(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Spearman's rho of each pair of instruments over cells; each instrument's rates beside its null and ceiling."""
    out, lacking = [], []
    for found in (_rank_agreement(tables.evals, level), _beside_null(tables.evals, params, level)):
        out += [found] if isinstance(found, ReportFigure) else []
        lacking += [found] if isinstance(found, str) else []
    return out or " ".join(lacking)


def _rank_agreement(evals: "DataFrame", level: float) -> ReportFigure | str:
    found = cell_agreement(evals, level)
    known = found[found["value"].notna() & (found["n"] >= FEWEST_CELLS)]
    if known.empty:
        return (
            f"No figure of the instruments' agreement: it takes two instruments that differ between {FEWEST_CELLS} or "
            f"more cells."
        )
    names = [name for name in OF_CELLS if name in {*known["first"], *known["second"]}]
    figure = plot_rank_agreement(known, names, WORDS)
    at = {name: k for k, name in enumerate(names)}
    runs = tuple(sorted(map(str, last_evaluations(evals)["run_id"])))
    marks = [
        Mark(figure.axes[0], min(at[row.first], at[row.second]), max(at[row.first], at[row.second]),
             f"{WORDS.get(row.first, row.first)} and {WORDS.get(row.second, row.second)}: rho {row.value:.2f}"
             f"{f' ({row.lo:.2f} to {row.hi:.2f})' if np.isfinite(row.lo) else ', no interval'}; n = {row.n:.0f} cells",
             runs)
        for row in known.itertuples()
    ]  # fmt: skip
    n = f"{known['n'].min():.0f}" if known["n"].nunique() == 1 else f"{known['n'].min():.0f} to {known['n'].max():.0f}"
    noise = 1 / np.sqrt(known["n"].min() - 1)
    caption = (
        f"Rank correlation (Spearman) of each pair of instruments over cells at the last evaluation, runs averaged; "
        f"each is "
        f"turned so that more is more memorized. Bold: the {100 * level:g} % interval excludes 0; without any relation "
        f"values scatter by ± {noise:.2f}. Size and copies drive all instruments: agreement over cells is no agreement "
        f"about images. n = {n} cells, {said_runs(len(runs))}."
    )
    least = known.loc[known["value"].idxmin()]
    alt = (
        f"Rank correlations of {len(names)} instruments over cells, from {least['value']:.2f} "
        f"({WORDS.get(least['first'], least['first'])} and {WORDS.get(least['second'], least['second'])}) to "
        f"{known['value'].max():.2f}."
    )
    data = known.drop(columns=["over", "stratum"])
    return ReportFigure("agreement_cells", "agreement", figure, caption, alt, data=data, marks=marks)


def _beside_null(evals: "DataFrame", params: Ordered, level: float) -> ReportFigure | str:
    last = last_evaluations(evals)
    last = last.assign(cell_id=design_cells(last))
    readings = beside_null(last, level)
    if readings.empty:
        return "No figure of instruments beside their nulls: none counts successes."
    names = list(dict.fromkeys(readings["instrument"]))
    figure = plot_beside_null(readings, params, names, WORDS)
    marks = [
        Mark(figure.axes[0], row.rate, row.y,
             f"{WORDS.get(row.instrument, row.instrument)} {100 * row.rate:.3g} % ({100 * row.lo:.3g} to "
             f"{100 * row.hi:.3g} "
             f"%) of {row.trials:.0f}, null {_percent(row.null)}, ceiling {_percent(row.ceiling)}; "
             f"{number(row.params, 6)} parameters, cell {row.cell_id}; n = {said_runs(len(row.runs))}", row.runs)
        for row in readings.itertuples()
    ]  # fmt: skip
    several, shown = last["cell_id"].nunique(), readings["cell_id"].nunique()
    thinned = f" Shown: {shown} of {several} cells, evenly over the memorized." if shown < several else ""
    caption = (
        f"Every instrument that counts, a dot a cell at its last evaluation (counts of its runs added; Wilson's "
        f"{100 * level:g} % of counts), beside its null on held-out images and, where it has one, the ideal denoiser's "
        f"ceiling. At its null an instrument shows no memorization.{thinned} n = {said_runs(last['run_id'].nunique())}."
    )
    known = readings[readings["null"].notna()]
    above = known[known["lo"] > known["null"]].groupby("instrument").size()
    alt = "Instruments beside their nulls; cells above the null: " + ", ".join(
        f"{WORDS.get(name, name)} {above.get(name, 0)} of {(known['instrument'] == name).sum()}" for name in names
    )
    data = readings.drop(columns="y").assign(runs=readings["runs"].map(" ".join))
    return ReportFigure("agreement_beside_null", "agreement", figure, caption, f"{alt}.", data=data, marks=marks)


def beside_null(last: "DataFrame", level: float) -> "DataFrame":
    """A row an instrument and cell: instrument, cell_id, params, hits, trials, rate, lo, hi, null, ceiling, runs, y.

    At most MOST_CELLS cells, evenly over the memorized share where it was counted.
    """
    import pandas

    cells = _chosen(last)
    rows = []
    measured = [one for one in COUNTED if (last[one.hits].notna() & (last[one.trials] > 0)).any()]
    for k, one in enumerate(measured):
        heights = k + SPREAD * (np.linspace(-0.5, 0.5, len(cells)) if len(cells) > 1 else np.zeros(1))
        for y, cell in zip(heights, cells, strict=True):
            part = last[(last["cell_id"] == cell) & last[one.hits].notna() & (last[one.trials] > 0)]
            if part.empty:
                continue
            hits, trials = part[one.hits].sum(), part[one.trials].sum()
            rows.append({
                "instrument": one.hits, "cell_id": cell, "params": part["params"].iloc[0], "hits": hits,
                "trials": trials, "null": _share(part, one.null, one.null_trials),
                "ceiling": _share(part, one.ideal, one.trials) if one.ideal else np.nan,
                "runs": tuple(map(str, part["run_id"])), "y": y,
            })  # fmt: skip
    found = pandas.DataFrame(rows, columns=READ)
    rate = wilson(found["hits"].astype(float), found["trials"].astype(float), level)
    return found.assign(rate=rate.value, lo=rate.lo, hi=rate.hi)


def _chosen(last: "DataFrame") -> list[str]:
    """Cells in order of size, thinned over the memorized share (of size, where nothing was counted)."""
    by_cell = last.groupby("cell_id").agg(params=("params", "first"), hits=("n_memorized", "sum"),
                                          trials=("n_generated", "sum")).reset_index()  # fmt: skip
    share = (by_cell["hits"] / by_cell["trials"].where(by_cell["trials"] > 0)).fillna(0)
    order = by_cell.assign(share=share).sort_values(["share", "params", "cell_id"])
    kept = order.iloc[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_CELLS)).round().astype(int))]
    return kept.sort_values(["params", "share", "cell_id"])["cell_id"].tolist()


def _share(part: "DataFrame", hits: str, trials: str) -> float:
    known = part[part[hits].notna() & (part[trials] > 0)]
    return float(known[hits].sum() / known[trials].sum()) if len(known) else np.nan


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if np.isfinite(share) else "not measured"
