"""The report's tables of instruments: every one beside its null and ceiling, a row a cell; the onsets, a row a run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from analysis.columns import TableError
from analysis.pages import page, words
from analysis.rates import wilson
from analysis.richness import budget_curves
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

HALF = "1/2"  # the context of n_prompts in evals
ASK = "{} not measured: ask for {}."  # what, which measure


class Count(NamedTuple):
    """A column of counts added over the runs of a cell; hits, trials and so on are columns of evals."""

    heading: str
    ask: str  # what to ask for where it was not measured
    hits: str
    trials: str
    null: str
    null_trials: str
    ideal: str | None = None  # hits of the ideal denoiser in the same trials: the ceiling


class Mean(NamedTuple):
    """A column of means over the runs of a cell; value, se and beside are columns of evals, `ends` cut the interval."""

    heading: str
    ask: str
    value: str
    se: str | None
    beside: str | None = None  # a column printed below, and its word
    beside_word: str = ""
    ends: tuple[float, float] = (-np.inf, np.inf)
    per_parameter: bool = False


INSTRUMENTS: tuple[Count | Mean, ...] = (
    Count("memorized samples", "neighbors in evaluate.measures", "n_memorized", "n_generated", "n_null_memorized",
          "n_generated"),
    Count("basin recovery", "basin in evaluate.measures", "n_basin_recovered", "n_basin", "n_null_basin_recovered",
          "n_null_basin", "n_ideal_basin_recovered"),
    Count("prompts (half given)", "prompts in evaluate.measures with 1/2 in evaluate.contexts", "n_prompt_recovered",
          "n_prompts", "n_null_prompt_recovered", "n_null_prompts", "n_ideal_prompt_recovered"),
    Count("keys", "keys in evaluate.measures with data.keys=true", "n_keys_recovered", "n_keys",
          "n_null_keys_recovered", "n_null_keys", "n_ideal_keys_recovered"),
    Count("cyclic attack: images", "cyclic in evaluate.measures", "n_cyclic_extracted", "n_unique",
          "n_null_cyclic_extracted", "n_holdout"),
    Mean("membership AUC", "membership in evaluate.measures", "membership_auc", "membership_auc_se", ends=(0.0, 1.0)),
    Mean("TPR at 1 % FPR", "membership in evaluate.measures and 99 or more held-out images", "tpr_at_1pct_fpr", None,
         ends=(0.0, 1.0)),
    Mean("ideal distance", "ideal in evaluate.measures", "ideal_distance", "ideal_distance_se", "ideal_distance_null",
         "null", ends=(0.0, np.inf)),
    Mean("memorized bits a parameter", "density in evaluate.measures", "bits_memorized", "bits_memorized_se",
         per_parameter=True),
    Mean("optimism, bits a parameter", "density in evaluate.measures", "bits_optimism", "bits_optimism_se",
         per_parameter=True),
    Mean("KID", "quality in evaluate.measures", "kid", "kid_se", "kid_train", "copier"),
    Mean("coverage", "quality in evaluate.measures", "coverage", None, ends=(0.0, 1.0)),
)  # fmt: skip
SINGLE = ("extracted images", "flagged groups")  # counts without a rate's null


def common_evaluations(evals: "DataFrame") -> "DataFrame":
    """The rows of each cell's last evaluation that all its runs have, in order of size; a cell without one has no row.

    A run without cell_id is a cell of its own.
    """
    rows = evals.assign(cell_id=evals["cell_id"].where(evals["cell_id"].notna(), evals["run_id"]))
    have = rows.groupby(["cell_id", "images_seen"])["run_id"].transform("nunique")
    rows = rows[have == rows.groupby("cell_id")["run_id"].transform("nunique")]
    rows = rows[rows["images_seen"] == rows.groupby("cell_id")["images_seen"].transform("max")]
    return rows.sort_values(["n_unique", "params", "copies", "cell_id", "run_id"]).reset_index(drop=True)


def instrument_table(tables: Tables, level: float) -> tuple[page.Html | str, list[str]]:
    """A row a cell at its last common evaluation, and a sentence for each instrument that was not measured."""
    rows, missing = common_evaluations(_with_prompt_ceiling(tables)), []
    lost = sorted(set(tables.evals["cell_id"].dropna()) - set(rows["cell_id"]))
    if lost:
        missing.append(f"No evaluation is common to all runs of {', '.join(lost)}: not in the table of instruments.")
    more = _more_images(tables, rows, level)
    shown: list[tuple[str, Callable[[DataFrame], str]]] = []
    for found in INSTRUMENTS:
        column = found.hits if isinstance(found, Count) else found.value
        if not rows[column].notna().any():
            missing.append(ASK.format(found.heading.capitalize() if found.heading.islower() else found.heading,
                                      found.ask))  # fmt: skip
        elif isinstance(found, Count):
            shown.append((found.heading, lambda part, f=found: _counted(part, f, level)))  # type: ignore[misc]  # the default binds the instrument now
        else:
            shown.append((found.heading, lambda part, f=found: _averaged(part, f, level)))  # type: ignore[misc]  # the default binds the instrument now
    if rows["n_extracted"].notna().any():
        shown.insert(1, (SINGLE[0], lambda part: _extracted(part, more, level)))
    if rows["n_flagged"].notna().any():
        shown.append((SINGLE[1], _flagged))
    else:
        missing.append(ASK.format("Flagged groups", "cliques in evaluate.measures"))
    if not shown:
        return "", missing
    headers = ["cell", "parameters", "unique", "largest copies", "images seen", "runs", *(name for name, _ in shown)]
    body = []
    for cell, part in rows.groupby("cell_id", sort=False):
        first = part.iloc[0]
        of_cell = [words.whole(first[name]) for name in ("params", "n_unique", "copies", "images_seen")]
        body.append([cell, *of_cell, len(part), *(page.lines(say(part)) for _, say in shown)])
    return page.joined(
        [page.table("instruments", headers, body, texts=()), page.paragraph(_note(level), "note")]
    ), missing


def _note(level: float) -> str:
    return (
        f"Each cell at the last evaluation that all its runs share. Counts of its runs are added: hits of trials, "
        f"share with Wilson's {100 * level:g} % interval, which tells of samples and not of other runs. Other values: "
        f"one run ± standard error; the mean of two or more with the interval of Student's t over runs, never narrower "
        f"than by their standard errors. Null: the same test on held-out images; ceiling: the ideal denoiser "
        f"under the same attack, a reference that a network may pass where filling or chains are inexact. An "
        f"instrument no higher than its null shows no memorization. By chance: keys .19, AUC .5, TPR .01. "
        f"At least so many more: Chao1's lower bound of what further samples would find; that none is expected proves "
        f"nothing. KID of a copier: what the training images themselves score. Bits compare at one "
        f"sigma_min only. A dash was not measured."
    )


def _with_prompt_ceiling(tables: Tables) -> "DataFrame":
    """evals with n_ideal_prompt_recovered: what the ideal denoiser recovers of the prompts that n_prompts counts."""
    half = tables.prompts[tables.prompts["context"] == HALF]
    # A column in a list: of no rows pandas 2 makes a Series of it otherwise.
    sums = half.groupby(["run_id", "images_seen"], as_index=False)[["n_ideal_recovered"]].agg(
        lambda hits: hits.sum(min_count=len(hits))
    )
    sums = sums.rename(columns={"n_ideal_recovered": "n_ideal_prompt_recovered"})
    return tables.evals.merge(sums, on=["run_id", "images_seen"], how="left")


def _more_images(tables: Tables, rows: "DataFrame", level: float) -> "DataFrame | None":
    """Chao1 less what was found, of runs whose images rows are of the evaluation in `rows`; index run_id.

    None where the images do not allow it: the figure of the attack budget says why.
    """
    if tables.images["n_hits"].isna().all():  # nor a row
        return None
    try:
        curves = budget_curves(tables.images, tables.evals, level)
    except TableError:
        return None
    ends = curves.sort_values("b").groupby("run_id").tail(1).merge(rows[["run_id", "images_seen"]])
    return ends.assign(more=ends["chao1"] - ends["found"]).set_index("run_id")


def _counted(part: "DataFrame", found: Count, level: float) -> str:
    said = [_rate(part, found.hits, found.trials, level)]
    if said[0] != "–":
        said.append(f"null {_rate(part, found.null, found.null_trials)}")
    if found.ideal and said[0] != "–":
        said.append(f"ceiling {_rate(part, found.ideal, found.trials)}")
    if found.hits == "n_cyclic_extracted" and said[0] != "–":
        said.append(f"{words.whole(part['n_cyclic'].sum(min_count=1))} chains")
    return "\n".join(said)


def _rate(part: "DataFrame", hits: str, trials: str, level: float | None = None) -> str:
    """Counts of the runs added: hits/trials, share (interval), or a dash where no run measured it."""
    known = part[part[hits].notna() & (part[trials] > 0)]
    if known.empty:
        return "–"
    x, n = known[hits].sum(), known[trials].sum()
    said = f"{words.whole(x)}/{words.whole(n)} · {words.percent(x / n)}"
    if level is None:
        return said
    found = wilson(x, n, level)
    return f"{said} ({words.percent(float(found.lo))} to {words.percent(float(found.hi))})"


def _extracted(part: "DataFrame", more: "DataFrame | None", level: float) -> str:
    said = _rate(part, "n_extracted", "n_unique", level)
    of_runs = more.reindex(part["run_id"]) if more is not None else None
    if of_runs is None or of_runs["more"].isna().any():
        return said
    if of_runs["chao1_flagged"].all():
        return f"{said}\nnone more expected"
    pooled = "" if len(part) == 1 else f" (sum of {len(part)} runs)"
    return f"{said}\nat least {words.number(of_runs['more'].sum())} more{pooled}"


def _flagged(part: "DataFrame") -> str:
    known = part[part["n_flagged"].notna()]
    if known.empty:
        return "–"
    flagged, true, spurious = (known[name].sum() for name in ("n_flagged", "n_flagged_true", "n_spurious"))
    return f"{words.whole(flagged)}\n{words.whole(true)} true, {words.whole(spurious)} spurious"


def _averaged(part: "DataFrame", found: Mean, level: float) -> str:
    known = part[part[found.value].notna()]
    if known.empty:
        return "–"
    unit = known["params"].to_numpy(float) if found.per_parameter else 1.0
    value = known[found.value].to_numpy(float) / unit
    se = known[found.se].to_numpy(float) / unit if found.se else np.full(len(value), np.nan)
    said = [averaged(value, se, level, found.ends)]
    if found.beside:
        said.append(f"{found.beside_word} {words.number(known[found.beside].mean())}")
    return "\n".join(said)


def averaged(value: np.ndarray, se: np.ndarray, level: float, ends: tuple[float, float]) -> str:
    """One run: value ± SE. More: mean (interval over runs, never narrower than by their SE); value, se [runs]."""
    runs, mean = len(value), float(value.mean())
    if runs == 1:
        return f"{words.number(mean)} " + (f"± {words.number(float(se[0]), 2)}" if se[0] > 0 else "(one run)")
    half = stdtrit(runs - 1, (1 + level) / 2) * value.std(ddof=1) / np.sqrt(runs)
    half = np.fmax(half, ndtri((1 + level) / 2) * np.sqrt((se**2).sum()) / runs)  # NaN: no standard errors
    if not half > 0:  # runs that agree by chance and have no standard errors show no spread, which is no certainty
        return f"{words.number(mean)} ({runs} runs agree)"
    lo, hi = np.clip([mean - half, mean + half], *ends)
    return f"{words.number(mean)} ({words.number(float(lo))} to {words.number(float(hi))})"
