"""fit(law, data) -> FitResult: the best parameters, how far each is known, and in words what could not be told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from analysis.fitting.assessment import assessed, at_rest, separated_fit
from analysis.fitting.problem import Problem, cleaned, collinearity
from analysis.fitting.result import Estimate, FitResult, Status
from analysis.fitting.search import Minimum, descend, lowest, polish
from analysis.fitting.separation import open_sides
from analysis.fitting.starts import prepared, starting_points
from analysis.laws import Law
from analysis.words import several

Array = np.ndarray
REDONE = 4  # times a fit begins anew because its own profile found a lower point
LOWER = "a profile found a lower minimum than all starts: the fit was redone from there"
ALONE = "none of the starts ended there by itself: there may be a lower minimum still"
UNFINISHED = "the search stopped before it converged: values are the best found"


def fit(
    law: Law,
    x: Mapping[str, Array],
    y: Array,
    *,
    trials: Array | None = None,
    loss: str | None = None,
    fixed: Mapping[str, float] | None = None,
    level: float = 0.95,
    starts: int = 64,
    start: Array | None = None,
    seed: int = 0,
) -> FitResult:
    """The global minimum of `loss` (default: binomial where trials are given, else lsq) over the law's free parameters.

    x: variables of the law [n]; y [n], successes of `trials` [n] for binomial. NaN rows are left out and said.
    `start`: your own starting points [s k] (natural units, in the order of the law's parameters) instead of the law's.
    `reached_best` counts the starts whose own descent ended at the reported minimum (to 1e-6 of the objective);
    descents that met on the way count each, restarts around the best and the SciPy polish do not.
    Raises ValueError on what no fit can use: an unknown fixed parameter, a value outside a logarithm's domain.
    """
    problem, notes = cleaned(law, x, y, trials, loss or ("binomial" if trials is not None else "lsq"), fixed or {})
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1: .95 is usual")
    if len(problem.y) < max(_n_free(problem), 1):
        return _too_few_rows(problem, level, notes)
    if problem.objective.kind == "binomial" and law.design is not None:
        falls, rises = open_sides(problem.design, problem.y, problem.counted)
        if np.any(falls | rises) and not problem.fixed and not collinearity(problem):
            return separated_fit(problem, falls, rises, level, notes)
    rng = np.random.default_rng(seed)
    points = starting_points(problem, rng, starts) if start is None else prepared(problem, _given(problem, start))
    best, found = lowest(problem, points, rng)
    if not np.any(np.isfinite(found.value)):
        return _nowhere_finite(problem, level, notes, len(found.value))
    best = at_rest(problem, best)
    others = _others(problem, points, found, float(best.value[0]))
    for _ in range(REDONE):
        # The same optimum: as near as an interval could never resolve.
        same = best.value[0] + 1e-6 * abs(best.value[0]) + 1e-12 * problem.magnitude
        counts = len(found.value), int(np.sum(found.value <= same))
        result, lower, fall = assessed(problem, best.u[0], float(best.value[0]), level, notes, counts, others)
        if fall <= 1e-7 * abs(best.value[0]) + 1e-20 * problem.magnitude:
            break
        best = at_rest(problem, polish(problem, descend(problem, lower[None])))
        notes = [note for note in notes if note != LOWER] + [LOWER]
    said = [UNFINISHED] * (not best.converged[0]) + [ALONE] * (result.reached_best == 0)
    return replace(result, message="; ".join(part for part in (result.message, *said) if part))


def _others(problem: Problem, points: Array, found: Minimum, lowest_value: float) -> Array:
    """What a profile's ends are searched again from: ends of descents and starts, few where all descents agree."""
    order = np.argsort(found.value)
    few = 1 if found.value[order[-1]] <= lowest_value * (1 + 1e-3) else 4
    apart = max(len(order) // few, 1)
    others = np.concatenate([found.u[order[::apart]][:few], points[::apart][:few]])
    return others[:0] if collinearity(problem) else others


def _n_free(problem: Problem) -> int:
    """Free parameters of the law, nuisance ones not counted."""
    return int(np.sum(problem.free[: len(problem.names)]))


def _too_few_rows(problem: Problem, level: float, notes: Sequence[str]) -> FitResult:
    n, free = len(problem.y), _n_free(problem)
    said = (
        f"{several(n, 'row')} cannot determine the {several(free, 'parameter')} of {problem.law.formula}: add rows, or "
        f"fix parameters"
    )
    unknown = {k: Estimate(dict(problem.fixed).get(k), identifiable=k in problem.fixed) for k in problem.names}
    return FitResult(problem, level, n, None, unknown, Status.NOT_IDENTIFIABLE, "; ".join([said, *notes]))


def _nowhere_finite(problem: Problem, level: float, notes: Sequence[str], tried: int) -> FitResult:
    said = f"{problem.law.formula} has no finite {problem.objective.kind} at any of {tried} starts"
    unknown = {k: Estimate(None) for k in problem.names}
    return FitResult(problem, level, len(problem.y), None, unknown, Status.FAILED, "; ".join([said, *notes]), tried)


def _given(problem: Problem, start: Array) -> Array:
    """Search coordinates of given starting points [s k] in natural units; raises ValueError."""
    start = np.atleast_2d(np.asarray(start, float))
    if start.ndim != 2 or start.shape[1] != len(problem.names) or not len(start) or not np.all(np.isfinite(start)):
        raise ValueError(
            f"start has shape {start.shape}: give finite starting points, one a row, with a column for each of "
            f"{', '.join(problem.names)}"
        )
    return problem.coordinates(start)
