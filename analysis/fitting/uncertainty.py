"""What runs that differ by luck leave open: intervals by run, in the parameters.

Rows of one run share its luck. Ends are where the objective's profile has risen by what the small-sample sandwich of
whole runs allows (sandwich.py): with 6 runs too, where drawing them again repeats few studies and is too short.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from analysis.fitting.assessment import huber_curvature
from analysis.fitting.between_runs import Scatter, between_runs
from analysis.fitting.problem import FIRST_OVERDISPERSION, Problem
from analysis.fitting.profile import profile_intervals
from analysis.fitting.result import FitResult, with_intervals
from analysis.fitting.sandwich import Sandwich, Working, p_of_rise, rises, sandwich, working
from analysis.fitting.search import descend

Array = np.ndarray
BLOCK = 256  # bootstrap draws searched together
MANY = 150  # clusters from which the percentiles of their draws are trusted: at 60 they cover .80 to .83 for .90
TAIL = 5  # draws beyond an end, at least
FORMLESS = 1e-12  # of the Hessian's eigenvalues: below it a draw does not determine the parameters


@dataclass(frozen=True)
class ClusteredFit(FitResult):
    """A fit that knows its runs: intervals of `params` hold where the rows of a run share its luck."""

    sandwich: Sandwich = field(repr=False, kw_only=True)
    scatter: Scatter = field(kw_only=True)

    def as_json(self) -> dict[str, Any]:
        """The fit's answer and `between_runs`."""
        return {**super().as_json(), "between_runs": self.scatter.as_json()}


def by_run(result: FitResult, cluster: Array | None = None) -> FitResult:
    """The same fit with intervals for rows that share the luck of their cluster [n] (None: every row its own).

    Rows of `cluster` are those of the fit. Raises ValueError on fewer than two clusters. A fit without a minimum
    inside (separated counts) keeps the intervals it has, and says so.
    """
    run, groups = _numbered(result, cluster)
    if result.best is None:
        return result
    problem, u, count = result.problem, result.best, len(result.problem.names)
    if not _at_minimum(problem, u):
        return _said(result, "the fit is at no minimum of its objective: intervals take rows for independent")
    rows = working(problem, u)
    scatter = between_runs(problem, u, rows, run, result.level)
    ratio = 0.0  # of the luck of runs to that of a row of weight 1
    if problem.objective.kind == "binomial":
        ratio = scatter.between**2
    elif scatter.within > 0:
        ratio = (scatter.between / scatter.within) ** 2 / rows.weight[0]
    try:
        made = sandwich(_by_row(problem, u, rows), run, ratio)
    except ValueError as error:
        return _said(result, f"{error}; intervals take rows for independent")
    rise, variance, _ = rises(made, result.level)
    rise = np.maximum(rise, 1e-12 * abs(result.lowest) + 1e-24 * problem.magnitude)  # rounding is no certainty
    lo, hi, se = np.full((3, count), np.nan)
    lo[rows.free], hi[rows.free] = _ends(problem, u, result.lowest, rise, np.sqrt(variance), rows.free)
    theta = problem.natural(u)
    se[rows.free] = np.sqrt(variance) * np.where([problem.names[k] in problem.law.log for k in rows.free],
                                                 theta[rows.free], 1.0)  # fmt: skip
    alone = [problem.names[k] for k, found in zip(rows.free, variance, strict=True) if np.isnan(found)]
    notes = [f"one of {groups} clusters alone decides {', '.join(alone)}: no interval"] if alone else []
    if made.cancelled:
        notes = ["the rows of each cluster balance exactly: how clusters scatter cannot be told, no interval"]
    if groups <= rows.free.size:
        notes.append(f"only {groups} clusters for {rows.free.size} parameters")
    found = with_intervals(result, problem.natural(lo), problem.natural(hi), se, "; ".join(notes))
    kept = {part.name: getattr(found, part.name) for part in fields(FitResult)}
    return ClusteredFit(**kept, sandwich=made, scatter=scatter)


def p_value(result: FitResult, name: str, value: float) -> float:
    """Of the hypothesis that parameter `name` is `value`, by run: it is below 1 - level just outside the interval.

    Raises ValueError on a fit without runs (by_run) and on a parameter that was not fitted.
    """
    if not isinstance(result, ClusteredFit):
        raise ValueError(f"a p-value of {name} = {value:g} needs the fit's runs: call by_run or bootstrap first")
    problem, u, made = result.problem, result.minimum, result.sandwich
    free = [problem.names[k] for k in made.free]
    if name not in free:
        raise ValueError(f"parameter {name!r} is not one that was fitted: {', '.join(free)}")
    theta = problem.natural(u)
    k = problem.names.index(name)
    theta[k] = value
    start = u.copy()
    start[k] = problem.coordinates(theta)[k]
    move = problem.free.copy()
    move[k] = False
    rise = float(descend(problem, start[None], free=move[None]).value[0]) - result.lowest
    at = free.index(name)
    _, variance, freedom = rises(made, result.level)
    return float(p_of_rise(made, np.full(len(free), rise), variance, freedom)[at])


def bootstrap(result: FitResult, cluster: Array | None = None, *, draws: int = 1000, seed: int = 0) -> FitResult:
    """`by_run`, and `draws` refits of whole clusters [n] drawn again, for what is a function of several parameters.

    Deterministic in `seed`. Under Huber's loss, from MANY clusters and enough draws on, ends and standard errors are
    those of the draws (percentiles; half the distance of the 16 % and 84 % quantiles): its curvature is guessed from a
    density, and its estimates are skewed. Else the ends stay those of `by_run`: percentiles of the draws of counts
    covered .77 to .82 for .90 at 60 clusters.
    """
    run, groups = _numbered(result, cluster)
    found = by_run(result, cluster)
    if found.best is None:
        return found
    rng = np.random.default_rng(seed)
    drawn, failed = [], 0
    for size in _blocks(draws):
        chosen = rng.integers(groups, size=(size, groups))
        times = np.stack([np.bincount(row, minlength=groups) for row in chosen])
        u, good = _refit(result, times[:, run].astype(float))
        drawn.append(u[good])
        failed += int(np.sum(~good))
    found = replace(found, bootstrap={"draws": draws, "failed": failed, "seed": seed})
    if draws - failed < max(20, draws // 2):
        return _said(found, f"{failed} of {draws} bootstrap draws determined no parameters: there are no draws")
    every = np.concatenate(drawn)
    found = replace(found, draws=every)
    if result.problem.objective.delta is not None and groups >= MANY and len(every) * (1 - found.level) / 2 >= TAIL:
        found = _of_draws(found, every)
    return _said(found, f"{failed} of {draws} bootstrap draws determined no parameters" if failed else "")


def _of_draws(found: FitResult, draws: Array) -> FitResult:
    """The fit with the ends and standard errors of its draws; an end that the profile does not limit stays open."""
    problem, tail = found.problem, (1 - found.level) / 2
    theta = problem.natural(draws)
    lo, hi, below, above = np.quantile(theta, [tail, 1 - tail, ndtr(-1), ndtr(1)], axis=0)
    known = list(found.params.values())
    lo = np.where([part.lo is None for part in known], np.nan, lo)
    hi = np.where([part.hi is None for part in known], np.nan, hi)
    return with_intervals(found, lo, hi, (above - below) / 2, "")


def _numbered(result: FitResult, cluster: Array | None) -> tuple[Array, int]:
    """The clusters as numbers from 0 [n], and how many there are."""
    n = len(result.problem.y)
    labels = np.arange(n) if cluster is None else np.unique(np.asarray(cluster).astype(str), return_inverse=True)[1]
    if labels.size != n:
        raise ValueError(f"{labels.size} cluster labels for {n} rows fitted: give one label a row")
    groups = int(labels.max()) + 1 if n else 0
    if groups < 2:
        raise ValueError(
            "one cluster: an interval by cluster needs at least 2, and 6 or more to be trusted; name another"
        )
    return labels, groups


def _by_row(problem: Problem, u: Array, rows: Working) -> Working:
    """The same rows with Huber's curvature of each; the scatter between runs takes the mean one for all."""
    delta = problem.objective.delta
    return rows if delta is None else replace(rows, weight=huber_curvature(delta, problem.residuals(u)))


def _said(result: FitResult, note: str) -> FitResult:
    return replace(result, message="; ".join(part for part in (result.message, note) if part))


def _at_minimum(problem: Problem, u: Array) -> bool:
    """Whether the gradient promises nothing more, apart from what rests on a bound."""
    at, (lo, hi) = problem.evaluate(u[None]), problem.limits
    width = 1e-6 * (1 + np.abs(u))
    inside = problem.free & (u - lo > width) & (hi - u > width)
    gradient, hessian = at.gradient[0][inside], at.hessian[0][np.ix_(inside, inside)]
    if not np.all(np.isfinite(hessian)):
        return False
    size = np.sqrt(np.maximum(np.abs(np.diagonal(hessian)), 1e-300))
    gain = np.linalg.pinv(hessian / np.outer(size, size), rcond=1e-10) @ (gradient / size) @ (gradient / size)
    return bool(abs(gain) <= 1e-4 * max(abs(at.value[0]), 1e-12))


def _ends(problem: Problem, u: Array, minimum: float, rise: Array, step: Array, free: Array) -> tuple[Array, Array]:
    """Profile ends [k], [k] in search coordinates, each parameter with its own rise [k]."""
    first, rises_of = np.ones(len(problem.names)), np.full(len(problem.names), np.nan)
    first[free] = np.where((step > 0) & np.isfinite(step), np.minimum(step, 10 * np.abs(u[free]) + 1), 0.1)
    rises_of[free] = rise
    found = profile_intervals(problem, u, minimum, rises_of, first)
    return found[0][free], found[1][free]


def _blocks(draws: int) -> list[int]:
    return [BLOCK] * (draws // BLOCK) + ([draws % BLOCK] if draws % BLOCK else [])


def _refit(result: FitResult, weights: Array) -> tuple[Array, Array]:
    """Minima [b k] under row weights [b n], and which of the draws determined them [b]."""
    problem = result.problem
    start = np.tile(result.minimum, (len(weights), 1))
    if problem.objective.nuisance:
        start[:, -1] = np.maximum(start[:, -1], FIRST_OVERDISPERSION)  # at 0 some draws would rest there
    found = descend(problem, start, weights=weights, enough=1e-10)  # a thousandth of a standard error
    moving = problem.free[: len(problem.names)]
    hessian = problem.evaluate(found.u, weights).hessian[:, : moving.size, : moving.size][:, moving][:, :, moving]
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(hessian, axis1=1, axis2=2)), 1e-300))
    shape = hessian / scale[:, :, None] / scale[:, None, :]
    good = np.isfinite(found.value) & found.converged & np.all(np.isfinite(shape), axis=(1, 2))
    smallest = np.linalg.eigvalsh(np.where(good[:, None, None], shape, np.eye(int(moving.sum()))))[:, 0]
    return found.u, good & (smallest > FORMLESS)
