"""As networks grow: does the amount memorized grow, and its share of the output? Two elasticities of the same runs.

Counts under a log-linear mean (Poisson pseudo-likelihood, Gourieroux et al. 1984: only the mean has to be right), so
that runs with nothing memorized count as what they are; a line through ln counts would have to leave them out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.questions.answer import Answer, CannotTell, not_answerable, sentences
from analysis.questions.observations import check_point, named, observations
from analysis.questions.surface import FEWEST_RUNS, stretched, usable_variables
from analysis.table import Tables
from analysis.words import percent, several, whole

Array = np.ndarray
UNIT = "change of ln n_extracted per unit of ln params"
NEARLY_ALL = 0.5  # of the trials: above it a log-linear mean bends


def absolute_vs_fraction(
    tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int,
    evaluation: str = "last",
) -> Answer:  # fmt: skip
    """Slopes of ln E n_extracted (unique training images) and ln E f (f = n_memorized/n_generated) on ln params.

    Value: the amount's; rows: both and their difference. `rate` plays no part; `at` keeps the runs at those values.
    """
    check_point(at)
    try:
        observed = observations(tables, "cell", evaluation)
        frame, notes = observed.frame, list(observed.notes)
        keep = frame["n_extracted"].notna().to_numpy(bool, copy=True)
        notes.append(f"{several(int(np.sum(~keep)), 'run')} without n_extracted left out" if not keep.all() else "")
        for name, value in at.items():
            if name not in observed.x:
                raise CannotTell(f"{name} was not recorded")
            keep &= np.isclose(observed.x[name], value, rtol=1e-9)
        budget, several_budgets = _budget(observed.trials[keep], at)
        notes.append(f"only runs with {whole(budget)} samples: n_extracted grows with their number" * several_budgets)
        keep &= observed.trials == budget
        if keep.sum() < FEWEST_RUNS:
            there = f"{several(keep.sum(), 'run')} at {named(at) or 'this setting'}"
            raise CannotTell(f"{there}: it takes {FEWEST_RUNS} or more")
        names, said = usable_variables({name: values[keep] for name, values in observed.x.items()}, "params")
        notes, run = notes + said, observed.cluster[0][keep]
        logs = np.stack([np.log(observed.x[name][keep]) for name in names], axis=1)
        logs -= logs.mean(axis=0)
        design = np.column_stack([np.ones(len(logs)), logs])
        amount, share = frame["n_extracted"].to_numpy(float)[keep], observed.hits[keep]
        slopes = _slopes(design, np.stack([amount, share]), run, draws, seed)
    except CannotTell as reason:
        return not_answerable("absolute_vs_fraction", str(reason), level=level, unit=UNIT)
    groups, rows = len(set(run)), []
    for k, what in enumerate(("amount: n_extracted", "fraction: n_memorized / n_generated", "amount minus fraction")):
        best, drawn = slopes[0, k], slopes[1:, k]
        lo, hi = stretched(best, drawn, level, groups, design.shape[1])
        rows.append({"slope_of_ln": what, "value": best, "lo": float(lo), "hi": float(hi), "n": len(amount)})
    others = ", ".join(names[1:])
    why = sentences(
        f"the amount grows as params to the power {_signed(rows[0])}, the fraction to the power {_signed(rows[1])}",
        _verdict(rows), f"{others} held fixed" if others else "nothing else varies",
        f"the mean share memorized is {percent(share.sum() / (budget * len(share)))}: near 100 % a slope must flatten"
        if share.sum() > NEARLY_ALL * budget * len(share) else "",
        f"n_extracted depends on the {whole(budget)} samples drawn and is bounded by n_unique",
        f"{several(len(amount), 'run')}, interval by resampling each {observed.cluster[1]} ({groups})", *notes,
    )  # fmt: skip
    return Answer("absolute_vs_fraction", True, float(rows[0]["value"]), rows[0]["lo"], rows[0]["hi"], level, UNIT,
                  False, why, rows)  # fmt: skip


def _budget(trials: Array, at: Mapping[str, float]) -> tuple[float, bool]:
    """The commonest number of samples, and whether there are others: n_extracted is compared at equal numbers only."""
    budgets, sizes = np.unique(trials, return_counts=True)
    if not len(budgets):
        raise CannotTell(f"no run with n_extracted at {named(at) or 'any setting'}")
    return float(budgets[np.argmax(sizes)]), len(budgets) > 1


def _slopes(design: Array, counts: Array, cluster: Array, draws: int, seed: int) -> Array:
    """Slopes on the first covariate [1 + b, 3]: amount, share, difference; row 0 the fit, then the resamplings."""
    labels = np.unique(cluster, return_inverse=True)[1]
    groups = int(labels.max()) + 1
    chosen = np.random.default_rng(seed).integers(groups, size=(draws, groups))
    times = np.stack([np.bincount(row, minlength=groups) for row in chosen])[:, labels].astype(float)
    weights = np.vstack([np.ones(len(labels)), times])
    if np.any(counts.sum(axis=1) == 0):
        raise CannotTell("nothing was memorized or nothing extracted: a slope of ln 0 does not exist")
    found = np.stack([poisson(design, y, weights)[:, 1] for y in counts], axis=1)
    good = np.all(np.isfinite(found), axis=1)
    if not good[0] or good[1:].mean() < 0.5:
        raise CannotTell(f"only {int(good[1:].sum())} of {draws} resamplings determine both slopes: add runs")
    found = found[good]
    return np.column_stack([found, found[:, 0] - found[:, 1]])


def poisson(design: Array, y: Array, weights: Array, *, steps: int = 60) -> Array:
    """Maxima [m k] of sum_i w_i (y_i eta_i - e^eta_i), eta = design [n k] beta, for row weights [m n]; NaN: none."""
    beta = np.zeros((len(weights), design.shape[1]))
    with np.errstate(all="ignore"):
        beta[:, 0] = np.log(weights @ y / weights.sum(axis=1))  # the design's other columns have mean 0
        change = np.full(len(weights), np.inf)
        for _ in range(steps):
            mean = np.exp(np.clip(beta @ design.T, -50, 50))
            score = (weights * (y - mean)) @ design
            fisher = np.einsum("mn,nj,nk->mjk", weights * mean, design, design, optimize=True)
            fisher += 1e-12 * np.trace(fisher, axis1=1, axis2=2)[:, None, None] * np.eye(design.shape[1])
            step = np.linalg.solve(np.nan_to_num(fisher) + 1e-300 * np.eye(design.shape[1]), score[..., None])[..., 0]
            change = np.max(np.abs(step), axis=1)
            beta += step * np.minimum(1.0, 2.0 / np.maximum(change, 1e-300))[:, None]
    return np.where((change < 1e-6)[:, None], beta, np.nan)


def _signed(row: Mapping[str, Any]) -> str:
    return f"{row['value']:+.3g} ({row['lo']:.3g} to {row['hi']:.3g})"


def _verdict(rows: list[dict[str, Any]]) -> str:
    words = {1: "grows", -1: "falls", 0: "may grow or fall: these data cannot tell"}
    signs = [1 if row["lo"] > 0 else -1 if row["hi"] < 0 else 0 for row in rows]
    if signs[0] == signs[1] != 0:
        compared = {1: "the amount changes more per size", -1: "the fraction changes more per size", 0: ""}[
            signs[2] * signs[0]
        ]
        return sentences(f"with size both {'grow' if signs[0] > 0 else 'fall'}", compared)
    return f"with size the amount {words[signs[0]]}; the fraction {words[signs[1]]}"
