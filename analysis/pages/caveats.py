"""What could not be said, and what to keep in mind while reading: found in the tables, not written by hand."""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analysis.onset import onsets
from analysis.onsets.crossing import Status
from analysis.pages import words
from analysis.rates import wilson
from analysis.replicates import REPLICATE_KEYS, design_cells
from analysis.summary import StudyFit, last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

UNMEASURED = {
    "n_memorized": "memorized samples",
    "n_null_memorized": "the null of memorized samples",
    "n_basin_recovered": "basin recovery",
    "n_null_basin_recovered": "the null of basin recovery",
    "holdout_loss": "hold-out loss",
    "seen_loss": "seen loss",
    "kid": "kernel distance (KID)",
    "ideal_distance": "distance to the ideal denoiser",
    "membership_auc": "membership inference",
    "n_prompt_recovered": "prompted extraction",
    "bits_memorized": "memorized bits",
}
NULLS = (  # words, hits, trials; where nothing can be memorized, and chance finds next to nothing
    ("memorized samples", "n_null_memorized", "n_generated"),
    ("calibrated memorized samples", "n_null_calibrated", "n_generated"),
    ("basin recovery", "n_null_basin_recovered", "n_null_basin"),
    ("prompts", "n_null_prompt_recovered", "n_null_prompts"),
)
CHANCE = 0.01  # a null whose interval lies above this says that the instrument sees memory where none is
DESIGN = ("params", "copies", "n_unique", "n_train", "duplication_rate", "images_seen")
BY_DEFINITION = {"n_unique", "n_train", "copies"}  # what duplication_rate is made of: it says nothing of its own
TOGETHER = 0.95  # correlation of two varied columns, over cells, from which their effects are one
MISSED = 0.15  # distance of a fitted curve from an observed rate that is said
POOLED_OVER = (*REPLICATE_KEYS, "runtime", "evaluate")
EXPLAINED = (
    "model.params", "model.width", "data.n_unique", "data.n_train", "train.images", "train.epochs",
    "data.duplication.design", "data.duplication.copies", "data.duplication.levels", "data.duplication.fraction",
    "data.duplication.rate",
)  # fmt: skip


def caveats(
    tables: Tables, fits: Sequence[StudyFit], missing: Sequence[str], varied: Sequence[str], rng: np.random.Generator
) -> list[str]:
    """missing: why figures and tables are not there; varied: the configuration keys with several values."""
    last = last_evaluations(tables.evals)
    return [
        *still_training(tables.evals),
        *nulls_above_chance(last),
        *confounded(last),
        *few_replicates(last),
        *poor_fits(tables, fits),
        *censored(tables.evals, rng),
        *mixed(last, varied),
        *unmeasured(last),
        *missing,
        *tables.notes,
    ]


def still_training(evals: "DataFrame") -> Iterator[str]:
    """Runs whose last record lies before the end that their configuration names."""
    last = last_evaluations(evals)
    short = [
        run
        for run, text, seen, n_train in zip(
            last["run_id"], last["config"], last["images_seen"], last["n_train"], strict=True
        )
        if (end := _planned(text, n_train)) is not None and seen < end
    ]
    if short:
        yield (
            f"{len(short)} of {words.several(len(last), 'run')} did not reach the end that the configuration names "
            f"(still training, stopped or failed): {_listed(short)}. Such a run is read at its last evaluation so far."
        )


def _planned(config: str | None, n_train: float) -> float | None:
    train = (json.loads(config) if config else {}).get("train") or {}
    images, epochs = (train.get(name) for name in ("images", "epochs"))
    if isinstance(images, int | float):
        return images
    return epochs * n_train if isinstance(epochs, int | float) and np.isfinite(n_train) else None


def nulls_above_chance(last: "DataFrame") -> Iterator[str]:
    """Instruments whose null, its counts added over runs, lies above CHANCE by its 95 % interval."""
    for name, hits, trials in NULLS:
        known = last[last[hits].notna() & (last[trials] > 0)]
        if known.empty:
            continue
        found, tried = known[hits].sum(), known[trials].sum()
        (low,), (high,) = (np.atleast_1d(end) for end in wilson(found, tried, 0.95)[1:])
        if low > CHANCE:
            yield (
                f"The null of {name} is {words.percent(found / tried)} ({words.percent(low)} to "
                f"{words.percent(high)}), above {words.percent(CHANCE)}: this test also fires where nothing was "
                f"memorized, so read its rates only beside this null."
            )


def confounded(last: "DataFrame") -> Iterator[str]:
    """Pairs of design columns that vary and move together over the cells."""
    cells = last[~last["cell_id"].fillna(last["run_id"]).duplicated()][list(DESIGN)]  # no cells: each run is one
    varied = [name for name in DESIGN if cells[name].notna().all() and cells[name].nunique() > 1]
    scaled = {
        name: np.log(cells[name].to_numpy(float)) if (cells[name] > 0).all() else cells[name].to_numpy(float)
        for name in varied
    }
    for one, other in combinations(varied, 2):
        if (other == "duplication_rate" and one in BY_DEFINITION) or (cells[one] == cells[other]).all():
            continue  # the second: without copies n_train is n_unique, one column under two names
        r = np.corrcoef(scaled[one], scaled[other])[0, 1] if len(cells) > 2 else np.sign(
            np.diff(scaled[one])[0] * np.diff(scaled[other])[0]
        )  # fmt: skip
        if abs(r) >= TOGETHER:
            yield (
                f"{one} and {other} move together over the cells (correlation {r:.2f}): the effect of one cannot be "
                f"told from that of the other."
            )


def few_replicates(last: "DataFrame") -> Iterator[str]:
    """Cells of fewer than 3 runs, and studies of fewer than 3 draws of images."""
    per_cell = last.groupby(design_cells(last))["run_id"].nunique() if last["cell_id"].notna().any() else None
    if per_cell is not None and per_cell.min() < 3:
        least, most = per_cell.min(), per_cell.max()
        few = words.several(most, "run") if least == most else f"{least} to {words.several(most, 'run')}"
        yield (
            f"Cells have {few} (seeds, draws, rotations, folds), where 3 or more are wanted: how much runs of one "
            f"cell differ is hardly known, and the interval of a single cell describes mostly its samples."
        )
    draws = last["draw"].dropna().nunique()
    if draws and draws < 3:
        yield (
            f"Only {words.several(draws, 'draw')} of the images: how hard an image is to learn is mixed up with how "
            f"many copies it has."
        )


def poor_fits(tables: Tables, fits: Sequence[StudyFit]) -> Iterator[str]:
    """Curves that could not be fitted, that rest on few runs, or that pass far from what was observed."""
    for found in fits:
        if found.result.message and found.result.status != "ok":
            yield f"{found.title}: {found.result.message.rstrip('.')}."
        runs = tables.evals["run_id"].nunique()
        if found.result.draws is not None and runs < 12:
            yield (
                f"{found.title}: {runs} runs are few to resample; the intervals are widened by Student's t for that."
            )
        if found.result.best is not None:
            yield from _missed(found)


def _missed(found: StudyFit) -> Iterator[str]:
    """The place where observed and fitted rate, pooled over the runs of one place, lie furthest apart, if far.

    Chance includes what runs of one place differ by; the fitted overdispersion would hide the misfit, which it holds.
    """
    problem = found.result.problem
    places, at = np.unique(np.column_stack([problem.x[name] for name in found.result.law.variables]), axis=0,
                           return_inverse=True)  # fmt: skip
    at = at.ravel()
    hits, trials = (np.bincount(at, weights=values) for values in (problem.y, problem.counted))
    fitted = found.result.predict(dict(zip(found.result.law.variables, places.T, strict=True)))
    observed = hits / trials
    effective = trials / _variance_inflation(problem.y / problem.counted, problem.counted, observed, at)
    chance = wilson(observed * effective, effective, 0.999)
    beyond = np.where((fitted < chance.lo) | (fitted > chance.hi), np.abs(observed - fitted), 0.0)
    worst = int(np.argmax(beyond))
    if beyond[worst] > MISSED:
        where = ", ".join(
            f"{name} {words.number(value, 6)}"
            for name, value in zip(found.result.law.variables, places[worst], strict=True)
        )
        yield (
            f"{found.title}: poor fit at {where}: {words.percent(observed[worst])} observed, "
            f"{words.percent(fitted[worst])} by the curve. Do not read the curve there."
        )


def _variance_inflation(rates: np.ndarray, trials: np.ndarray, pooled: np.ndarray, at: np.ndarray) -> float:
    """How much wider than binomially the rates [n] of rows of one place scatter about its pooled rate; at least 1.

    Pearson's chi-square over its degrees of freedom, pooled over places (McCullagh & Nelder 1989, section 4.5).
    """
    binomial = pooled * (1 - pooled)
    known = binomial[at] > 0  # where all or none succeed, nothing scatters
    free = known.sum() - np.count_nonzero(binomial)
    if free < 1:
        return 1.0
    scatter = trials[known] * (rates[known] - pooled[at][known]) ** 2 / binomial[at][known]
    return max(1.0, scatter.sum() / free)


def censored(evals: "DataFrame", rng: np.random.Generator) -> Iterator[str]:
    """How many onsets of memorization lie outside what was looked at."""
    if evals["n_memorized"].isna().all() or evals.groupby("run_id")["images_seen"].nunique().max() < 2:
        return
    found = onsets(evals, rng=rng, draws=1)
    if found.empty:
        return
    late = found["tau_mem_status"].isin([Status.ABOVE_RANGE, Status.CENSORED]).sum()
    early = (found["tau_mem_status"] == Status.BELOW_RANGE).sum()
    if late or early:
        said = [f"{late} had not begun to memorize at the last evaluation"] if late else []
        said += [f"{early} memorized at the first evaluation already"] if early else []
        yield (
            f"Censored: of {words.several(len(found), 'run')} {' and '.join(said)}; such onsets are bounds, and enter "
            f"fits as bounds."
        )


def mixed(last: "DataFrame", varied: Sequence[str]) -> Iterator[str]:
    """Keys of `varied` that the curves pool over, in what else the runs differ, and samples refused."""
    pooled = [key for key in varied if not key.startswith(POOLED_OVER) and key not in EXPLAINED]
    if pooled:
        yield f"Runs also differ in {', '.join(pooled)}; the curves pool over that."
    several = last["images_seen"].nunique()
    if several > 1:
        yield (
            f"The runs' last evaluations stand at {several} different images_seen: a rate of a longer run is not to be "
            f"compared with that of a shorter one."
        )
    for name, said in (("protocol", "protocols"), ("image_size", "image sizes"), ("code_version", "code versions")):
        if last[name].dropna().nunique() > 1:
            yield f"Several {said} are in one report: {', '.join(map(str, sorted(last[name].dropna().unique())))}."
    refused = last["n_nonfinite"].sum()
    if refused > 0:
        yield f"{words.whole(refused)} samples were not finite and were refused; rates are of the finite ones."


def unmeasured(last: "DataFrame") -> Iterator[str]:
    """Measures that no run has."""
    absent = [said for name, said in UNMEASURED.items() if not last[name].notna().any()]
    if absent:
        yield f"Not measured in these runs: {', '.join(absent)}. Nothing is said about them; they are not 0."


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
