"""The report's training dynamics: memorized share and hold-out loss over images_seen, with the onsets of the runs."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from analysis.onset import onsets
from analysis.onsets.crossing import Status
from analysis.pictures.curve_figures import Figures, Fits, overdispersion
from analysis.pictures.points import said_runs
from analysis.pictures.training_plot import ONSETS, places, plot_training, title_of
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.replicates import design_cells
from analysis.summary import main_setting, pooled_rates
from analysis.table import Tables
from analysis.words import amount, several

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_CELLS, MOST_RUNS = 3, 4
EPS = 0.01
TRAINING_SET = ("design", "n_unique", "n_train")


def training(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """The smallest, the middle and the largest size of the commonest training set, a cell of each."""
    import pandas

    rows = tables.evals[(tables.evals["images_seen"] > 0) & (tables.evals["n_memorized"].notna())]
    rows = rows[(rows["n_generated"] > 0) & rows["holdout_loss"].notna()]
    rows = rows[rows.groupby("run_id")["images_seen"].transform("nunique") > 1]
    if rows.empty:
        return "No figure of onsets: it takes runs with two or more evaluations of memorized counts and hold-out loss."
    rows, setting = main_setting(rows, TRAINING_SET)
    rows = rows.assign(cell_id=design_cells(rows))
    cells = _chosen(rows)
    shown = [rows[rows["cell_id"] == cell] for cell in cells]
    kept = pandas.concat([part[part["run_id"].isin(sorted(part["run_id"].unique())[:MOST_RUNS])] for part in shown])
    found = onsets(kept, EPS, level=level, rng=np.random.default_rng(0))
    if found.empty:
        return "No figure of onsets: every learning rate decays, and a point inside a decay is no run of its own."
    c = overdispersion(fits.get("memorized"))
    curves = [_curve(part, c, level) for part in shown]
    strips = [_strip(found[found["cell_id"] == cell]) for cell in cells]
    titles = [title_of(*part[["params", "n_unique", "copies"]].iloc[0]) for part in shown]
    figure = plot_training(curves, strips, titles, EPS)
    runs, every = sum(part["run_id"].nunique() for part in shown), rows["cell_id"].nunique()
    at_most = f" (the first {MOST_RUNS} of a cell)" if any(p["run_id"].nunique() > MOST_RUNS for p in shown) else ""
    caption = (
        f"Memorized share of samples and hold-out loss over training, means of a cell's runs with {100 * level:g} % "
        f"bands, "
        f"and below when each run{at_most} begins to generalize (hold-out loss within 2 standard errors of its lowest; "
        f"bar: "
        f"the evaluations around it) and to memorize ({100 * EPS:g} % of samples; bar: {100 * level:g} % of redrawn "
        f"samples, or the evaluations around it). Arrow: open to that side, as where a run ended first. "
        f"Shown: {len(cells)} of {several(every, 'cell')}{setting}. n = {said_runs(runs)}."
    )
    data = pandas.concat([one.assign(cell_id=cell) for one, cell in zip(curves, cells, strict=True)])
    told = pandas.concat([one.assign(cell_id=cell) for one, cell in zip(strips, cells, strict=True)])
    told = told.rename(columns={"onset": "what", "at": "images_seen", "run_id": "runs"})
    data = pandas.concat([data.assign(runs=data["runs"].map(" ".join)), told], ignore_index=True)
    marks = [mark for k, (curve, strip) in enumerate(zip(curves, strips, strict=True))
             for mark in _marks(figure.axes, k, len(cells), curve, strip)]  # fmt: skip
    alt = "Memorized share and hold-out loss over images seen. " + " ".join(
        f"{title.replace(chr(10), ', ')}: {_medians(strip)}." for title, strip in zip(titles, strips, strict=True)
    )
    return [
        ReportFigure("training_onsets", "training", figure, caption, alt, wide=len(cells) > 1, data=data, marks=marks)
    ]


def _chosen(rows: "DataFrame") -> list[str]:
    """Cells of evenly spaced sizes; of one size the cell with most runs, then most evaluations."""
    size = rows.groupby(["params", "cell_id"]).agg(runs=("run_id", "nunique"), n=("run_id", "size")).reset_index()
    best = size.sort_values(["params", "runs", "n"], ascending=[True, False, False], kind="stable")
    best = best.drop_duplicates("params")["cell_id"].drop_duplicates().tolist()
    return [best[k] for k in np.unique(np.linspace(0, len(best) - 1, min(len(best), MOST_CELLS)).round().astype(int))]


def _curve(part: "DataFrame", c: float, level: float) -> "DataFrame":
    """what, images_seen, mean, lo, hi, runs of one cell."""
    import pandas

    runs = part.groupby("images_seen")["run_id"].agg(lambda ids: tuple(map(str, ids)))
    share = pooled_rates(part, ["images_seen"], "n_memorized", "n_generated", overdispersion=c, level=level)
    share = share.rename(columns={"rate": "mean"}).assign(what="share")
    by_time = part.groupby("images_seen")
    mean, n = by_time["holdout_loss"].mean(), by_time.size()
    # The larger of what the runs' scatter and their own errors say; a single run has the latter only.
    own = np.sqrt(by_time["holdout_loss_se"].agg(lambda se: (se**2).sum(min_count=len(se)))) / n
    half = ndtri((1 + level) / 2) * np.fmax(own, by_time["holdout_loss"].std(ddof=1) / np.sqrt(n))
    loss = pandas.DataFrame({"mean": mean, "lo": mean - half, "hi": mean + half}).reset_index().assign(what="loss")
    both = pandas.concat([share, loss])[["what", "images_seen", "mean", "lo", "hi"]]
    return both.merge(runs.rename("runs").reset_index(), on="images_seen")


def _strip(found: "DataFrame") -> "DataFrame":
    """onset, at, lo, hi, run_id, said: a row a run and onset that was measured."""
    import pandas

    rows = []
    for row in found.to_dict("records"):
        for onset in ONSETS:
            if row[f"{onset}_status"] == Status.MISSING:
                continue
            lo, hi = row[f"{onset}_a"], row[f"{onset}_b"]
            drawn = onset == "tau_mem" and row[f"{onset}_status"] == Status.INTERP and not np.isnan(row["tau_mem_lo"])
            if drawn:
                lo, hi = row["tau_mem_lo"], row["tau_mem_hi"]
            rows.append({"onset": onset, "at": row[onset], "lo": lo, "hi": hi, "run_id": str(row["run_id"])})
    return pandas.DataFrame(rows, columns=["onset", "at", "lo", "hi", "run_id"])


def onset_words(at: float, lo: float, hi: float) -> str:
    """at 12 k images seen (10 k to 15 k), or not before, or not after, where it is open to a side."""
    if np.isfinite(at):
        end = amount(hi) if np.isfinite(hi) else "no limit"
        return f"at {amount(at)} images seen ({amount(lo)} to {end})"
    early = np.isfinite(hi)
    return f"before {amount(hi)} images seen" if early else f"not up to {amount(lo)} images seen"


def _marks(axes: list[Any], k: int, columns: int, curve: "DataFrame", strip: "DataFrame") -> list[Mark]:
    """`axes` are those of the figure, row by row; k: the cell's column."""
    found = []
    for row in curve.itertuples():
        share = row.what == "share"
        value = [f"{100 * v:.3g} %" if share else f"{v:.4g}" for v in (row.mean, row.lo, row.hi)]
        said = (
            f"{'memorized share' if share else 'hold-out loss'} {value[0]} ({value[1]} to {value[2]}) at "
            f"{amount(row.images_seen)} images seen; n = {said_runs(len(row.runs))}"
        )
        found.append(Mark(axes[k if share else columns + k], row.images_seen, row.mean, said, row.runs))
    low, high = axes[2 * columns + k].get_xlim()
    for onset, part in strip.groupby("onset"):
        name, heights = ONSETS[onset][2], places(len(part), onset)
        at = part["at"].where(part["at"].notna(), part["lo"].where(np.isinf(part["hi"]), part["hi"])).clip(low, high)
        for x, y, row in zip(at, heights, part.itertuples(), strict=True):
            found.append(
                Mark(axes[2 * columns + k], x, y, f"{name} {onset_words(row.at, row.lo, row.hi)}", (row.run_id,))
            )
    return found


def _medians(strip: "DataFrame") -> str:
    said = []
    for onset, (_, _, name, _) in ONSETS.items():
        part = strip[strip["onset"] == onset]
        known = part["at"].dropna()
        early = int((part["at"].isna() & np.isfinite(part["hi"])).sum())
        words = [f"at {amount(known.median())} images seen (median of {said_runs(len(known))})"] * (len(known) > 0)
        words += [f"before the first evaluation in {early}"] * (early > 0)
        late = len(part) - len(known) - early
        words += [f"not up to the end in {late}"] * (late > 0)
        said.append(f"{name} {' and '.join(words)}" if words else f"{name}: not measured")
    return ", ".join(said)
