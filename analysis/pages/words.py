"""The report's sentences: numbers with their intervals, and what cannot be told."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.fitting.result import Estimate
from analysis.summary import StudyFit, last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

VARIABLES = {
    "params": "the number of parameters",
    "copies": "the copies of an image",
    "images_seen": "the images seen",
    "exposures": "the exposures (of the image behind an average training draw)",
    "n_unique": "the number of unique images",
}
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


def percent(share: float) -> str:
    """0.0034 -> 0.34 %."""
    if not np.isfinite(share):
        return "–"
    size = 100 * share
    return f"{size:.0f} %" if size >= 10 or size == 0 else f"{size:.1f} %" if size >= 1 else f"{size:.2g} %"


def number(value: float | None, digits: int = 3) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1e6 else f"{value:.{digits}e}"


def whole(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:,.0f}".replace(",", " ")  # a narrow space


def interval(estimate: Estimate, digits: int = 3) -> str:
    return f"{number(estimate.lo, digits) if estimate.lo is not None else 'no limit'} to " + (
        number(estimate.hi, digits) if estimate.hi is not None else "no limit"
    )


def range_sentence(cells: "DataFrame", level: float) -> str:
    """How much is memorized where least and where most; cells: rate, lo, hi, params, null (a rate or NaN)."""
    if cells.empty:
        return "No run counts memorized samples, so what share of the output is copied cannot be told."
    least, most = cells.loc[cells["rate"].idxmin()], cells.loc[cells["rate"].idxmax()]

    def said(cell) -> str:
        return f"{percent(cell['rate'])} ({percent(cell['lo'])} to {percent(cell['hi'])})"

    null = cells["null"].mean()
    beside = f"; against images never trained on the same test finds {percent(null)}" if np.isfinite(null) else ""
    if len(cells) == 1:
        return f"At the last evaluation {said(most)} of the generated samples are memorized{beside}."
    return (
        f"At the last evaluation between {said(least)} and {said(most)} of the generated samples are memorized, "
        f"depending on "
        f"the cell ({100 * level:g} % intervals{beside})."
    )


def effect_sentence(found: StudyFit, name: str) -> str:
    """What doubling a variable does to the odds, or that it cannot be told."""
    estimate = found.result.params[f"b_{name}"]
    subject, what = (
        VARIABLES.get(name, name),
        "recovery of a training image" if found.name == "recovery" else "a memorized sample",
    )
    if estimate.value is None or estimate.lo is None or estimate.hi is None:
        side = f" (the slope is at least {number(estimate.lo)})" if estimate.lo is not None else ""
        side = f" (the slope is at most {number(estimate.hi)})" if estimate.hi is not None else side
        return f"By how much doubling {subject} changes the odds of {what} cannot be told{side}."
    times = [number(2.0**value, 2) for value in (estimate.value, estimate.lo, estimate.hi)]
    if estimate.lo <= 0 <= estimate.hi:
        return (
            f"Whether {subject} matters for the odds of {what} cannot be told from these runs: doubling it "
            f"multiplies them by "
            f"{times[0]}, with an interval ({times[1]} to {times[2]}) that holds 1."
        )
    return f"Doubling {subject} multiplies the odds of {what} by {times[0]} ({times[1]} to {times[2]})."


def summary(cells: "DataFrame", fits: Sequence[StudyFit], level: float) -> str:
    sentences = [range_sentence(cells, level)]
    told = False
    for found in fits:
        names = [v for v in found.result.law.variables if not (told and found.name == "memorized" and v == "copies")]
        if found.result.status in ("ok", "at_bound"):
            sentences += [effect_sentence(found, name) for name in names]
            told = True
        else:
            sentences.append(f"The curve of {found.title.lower()} cannot be told: {found.result.message}.")
    if not fits:
        sentences.append(
            "No curve was fitted: the runs are too few or too alike; the reasons are under “What could not be said”."
        )
    return " ".join(sentences)


def caveats(tables: Tables, fits: Sequence[StudyFit], missing: Sequence[str], varied: Sequence[str]) -> list[str]:
    """What could not be said, and what to keep in mind while reading."""
    said = list(missing)
    last = last_evaluations(tables.evals)
    unmeasured = [words for name, words in UNMEASURED.items() if not last[name].notna().any()]
    if unmeasured:
        said.append(f"Not measured in these runs: {', '.join(unmeasured)}. Nothing is said about them; they are not 0.")
    per_cell = last.groupby("cell_id")["run_id"].nunique() if last["cell_id"].notna().any() else None
    if per_cell is not None and per_cell.min() < 3:
        few = f"{per_cell.min()}" if per_cell.min() == per_cell.max() else f"{per_cell.min()} to {per_cell.max()}"
        said.append(
            f"Cells have {few} run(s) each (seeds, folds): how much runs of one cell differ is hardly known, "
            f"and intervals of single cells describe mostly their samples."
        )
    draws = last["draw"].dropna().nunique()
    if draws and draws < 3:
        said.append(
            f"Only {draws} draw(s) of the images: an image's own difficulty is mixed up with its number of copies."
        )
    said += [
        f"{found.title}: {found.result.message}."
        for found in fits
        if found.result.message and found.result.status != "ok"
    ]
    for found in fits:
        runs = last["run_id"].nunique()
        if found.result.draws is not None and runs < 12:
            said.append(
                f"{found.title}: {runs} runs are few clusters; the intervals are stretched by Student's t for that."
            )
    pooled = [key for key in varied if not key.startswith(POOLED_OVER) and key not in EXPLAINED]
    if pooled:
        said.append(f"Runs differ also in {', '.join(pooled)}; the curves pool over that.")
    several = last["images_seen"].nunique()
    if several > 1:
        said.append(
            f"The last evaluations stand at {several} different images_seen; rates of unlike length are not "
            f"compared one to one."
        )
    for name, words in (("dataset", "data sets"), ("protocol", "protocols"), ("image_size", "image sizes")):
        if last[name].dropna().nunique() > 1:
            said.append(
                f"Several {words} are in one report: {', '.join(map(str, sorted(last[name].dropna().unique())))}."
            )
    refused = last["n_nonfinite"].sum()
    if refused > 0:
        said.append(f"{whole(refused)} samples were not finite and were refused; rates are of the finite ones.")
    return said + list(tables.notes)


POOLED_OVER = ("seed", "data.draw", "data.fold", "runtime", "evaluate")
EXPLAINED = (
    "model.params", "model.width", "data.n_unique", "data.n_train", "train.images", "train.epochs",
    "data.duplication.design", "data.duplication.copies", "data.duplication.levels", "data.duplication.fraction",
    "data.duplication.rate",
)  # fmt: skip
