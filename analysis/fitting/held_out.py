"""Laws scored on rows they were not fitted to: which rows are held out, the errors, and their paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from analysis.fitting.result import FitResult
from analysis.fitting.search import descend
from analysis.fitting.separation import firth_logistic, open_sides
from analysis.fitting.starts import starting_points
from analysis.rates import betabinom_logpmf

Array = np.ndarray
MOST_LEVELS = 10  # of a variable with more values, each level is a tenth of the rows


@dataclass(frozen=True)
class Score:
    """How a law predicts rows it was not fitted to; difference: its mean error minus the best law's, same rows."""

    n: int  # predictions scored, a row held out twice counts twice; 0: nothing held out, or a fold was not fitted
    rmse: float | None = None
    rmse_log: float | None = None  # None where a value or a prediction is not positive
    log_density: float | None = None  # mean ln P of a count; None without trials
    best: bool = False
    difference: float | None = None
    difference_se: float | None = None
    lo: float | None = None  # inf: a row that the law calls impossible was seen
    hi: float | None = None


def levels(values: Array) -> Array:
    """A level [n] for each row: the distinct values where they are few, else tenths of the rows; NaN stays apart."""
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) <= MOST_LEVELS:
        return place
    edges = np.quantile(values, np.linspace(0, 1, MOST_LEVELS + 1)[1:-1])
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def folds(x: Mapping[str, Array]) -> tuple[list[tuple[str, Array]], list[tuple[str, Array]], list[str]]:
    """(name, held-out rows [n]) of the largest level of each variable, of every level, and what could not be held out.

    A variable of two levels is constant without either: its effect could not be fitted, so it is not held out.
    """
    largest, every, said = [], [], []
    for name, values in x.items():
        level = levels(values)
        if level.max() < 2:
            said.append(f"{name} has {level.max() + 1} levels and is never held out: three or more would allow it")
            continue
        every += [(f"{name}, level {k}", level == k) for k in range(level.max() + 1)]
        largest.append((f"{name}, the largest", level == level.max()))
    return largest, every, said


def refitted(result: FitResult, kept: Array, *, starts: int, seed: int) -> Array:
    """Search coordinates [m k] of the fit to each choice of its rows, kept [m n]; NaN where none has a finite value.

    All choices and starts are searched at once, from the fit to all rows too. Separated counts: Firth's values.
    """
    problem = result.problem
    if result.best is None:
        return np.full((len(kept), len(problem.free)), np.nan)
    points = starting_points(problem, np.random.default_rng(seed), starts)
    points = np.concatenate([result.best[None], points])
    many, weights = np.tile(points, (len(kept), 1)), np.repeat(kept.astype(float), len(points), axis=0)
    found = descend(problem, many, weights=weights)
    values = found.value.reshape(len(kept), len(points))
    best = values.argmin(1)
    u = found.u.reshape(*values.shape, -1)[np.arange(len(kept)), best]
    u = np.where(np.isfinite(values.min(1))[:, None], u, np.nan)
    if problem.objective.kind == "binomial" and problem.law.design is not None and not problem.fixed:
        for k, rows in enumerate(kept):
            part = problem.design[rows], problem.y[rows], problem.counted[rows]
            if np.any(open_sides(*part)):  # the likelihood has no maximum: what the search stopped at means nothing
                u[k] = np.append(firth_logistic(*part).values, 0.0)
    return u


def scored(
    fits: Mapping[str, FitResult],
    side: Sequence[tuple[str, Array]],
    cluster: Array,
    *,
    criterion: str,
    level: float,
    starts: int,
    seed: int,
) -> dict[str, Score]:
    """A score for each law, from its fit to all rows [n], over the folds of one side; cluster [n]."""
    if not side:
        return dict.fromkeys(fits, Score(0))
    out = np.stack([rows for _, rows in side])
    errors = {}
    for name, result in fits.items():
        u = refitted(result, ~out, starts=starts, seed=seed)
        folds = [part for k, rows in enumerate(out) if (part := errors_of(result, u[k], rows)) is not None]
        if len(folds) == len(out):
            errors[name] = {key: np.concatenate([part[key] for part in folds]) for key in folds[0]}
    means = {name: float(np.mean(parts[criterion])) for name, parts in errors.items()}
    known = [name for name in means if np.isfinite(means[name])]
    best = min(known, key=lambda name: means[name]) if known else None
    scores, labels = dict.fromkeys(fits, Score(0)), np.concatenate([cluster[rows] for rows in out])
    for name, parts in errors.items():
        if name == best:
            against: dict[str, Any] = {"best": True, "difference": 0.0}
        elif name in known and best is not None:
            against = paired(parts[criterion] - errors[best][criterion], labels, level)
        else:
            against = {"difference": np.inf, "lo": np.inf, "hi": np.inf}
        linear, log = (_root(parts[key]) for key in ("rmse", "rmse_log"))
        density = -float(np.mean(parts["-log_density"])) if "-log_density" in parts else None
        scores[name] = Score(len(labels), linear, log, density, **against)
    return scores


def errors_of(result: FitResult, u: Array, out: Array) -> dict[str, Array] | None:
    """Errors of the rows `out` [n] at search coordinates u [k], each [m]: squared, squared in ln, -ln P of a count.

    None where the law has no finite value.
    """
    problem = result.problem
    with np.errstate(all="ignore"):
        value = problem.law.predict({name: x[out] for name, x in problem.x.items()}, problem.natural(u))
        if not np.all(np.isfinite(value)):
            return None
        y, trials = problem.y[out], None if problem.trials is None else problem.trials[out]
        seen = y if trials is None else y / trials
        positive = (seen > 0) & (value > 0)
        found = {"rmse": (value - seen) ** 2, "rmse_log": np.where(positive, np.log(value / seen) ** 2, np.nan)}
        if trials is not None:
            found["-log_density"] = -betabinom_logpmf(y, trials, value, u[len(problem.names)])
    return found


def _root(squares: Array) -> float | None:
    mean = np.mean(squares)
    return float(np.sqrt(mean)) if np.isfinite(mean) else None


def paired(apart: Array, cluster: Array, level: float) -> dict[str, float | None]:
    """Mean of apart [m], its standard error between clusters [m] and Student's interval; None below two clusters."""
    labels = np.unique(cluster, return_inverse=True)[1]
    groups, mean = int(labels.max()) + 1, float(np.mean(apart))
    if groups < 2:
        return {"difference": mean}
    total = np.bincount(labels, apart - mean)
    se = float(np.sqrt(groups / (groups - 1) * np.sum(total**2)) / len(apart))
    half = float(stdtrit(groups - 1, (1 + level) / 2)) * se
    return {"difference": mean, "difference_se": se, "lo": mean - half, "hi": mean + half}
