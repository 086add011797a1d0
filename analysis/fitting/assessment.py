"""What can be said of a minimum: standard errors, profile intervals, status, and the sentences that explain it."""

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from analysis.fitting.objectives import huber_sandwich, profile_rise
from analysis.fitting.problem import LOG_RANGE, Problem, collinearity
from analysis.fitting.profile import profile_intervals
from analysis.fitting.result import Estimate, FitResult, Status
from analysis.fitting.search import Minimum
from analysis.fitting.separation import firth_logistic
from analysis.words import several

Array = np.ndarray


def at_rest(problem: Problem, best: Minimum) -> Minimum:
    """The minimum [1 k] with coordinates moved onto bounds that cost nothing: a vanished term, a vanished floor.

    The logarithm of a vanishing parameter stops anywhere far down, where its gradient is lost in rounding.
    """
    (u,), (value,) = best.u.copy(), best.value
    lo, hi = problem.limits
    if problem.law.canonical is not None:
        named = problem.coordinates(problem.law.canonical(problem.natural(u)))[: len(problem.names)]
        moving = problem.free[: len(problem.names)]
        if np.array_equal(named[~moving], u[: len(problem.names)][~moving]):  # what is held keeps its name
            u[: len(problem.names)] = named
    slack = 1e-9 * abs(value) + 1e-24 * problem.magnitude
    for k, name in enumerate(problem.names):
        vanishing = name in problem.law.log and problem.law.bounds[name][0] == 0
        for bound in (lo[k], hi[k]):
            near = abs(u[k] - bound) <= 1e-3 * (1 + abs(u[k])) or (vanishing and bound == lo[k])
            if problem.free[k] and near and u[k] != bound:
                tried = np.where(np.arange(u.size) == k, bound, u)
                if problem.evaluate(tried[None]).value[0] <= value + slack:
                    u = tried
    return Minimum(u[None], problem.evaluate(u[None]).value, best.converged)


def assessed(
    problem: Problem, u: Array, value: float, level: float, notes: list[str], counts: tuple[int, int], others: Array
) -> tuple[FitResult, Array, float]:
    """Standard errors, profile intervals and status of a minimum; the lowest point its profiles met, how much lower.

    counts: starts tried and those that reached the minimum. others [s k]: `profile_intervals`.
    """
    count, names, n = len(problem.names), problem.names, len(problem.y)
    free = int(np.sum(problem.free[:count]))
    residuals = problem.residuals(u)
    floor = problem.magnitude * 1e-24
    exact = problem.objective.kind != "binomial" and value <= floor
    if exact:
        notes = [*notes, "the law passes through every row to rounding: intervals show rounding, not noise"]
    covariance, height = _covariance(problem, u, max(value, floor), residuals, free)
    rise = profile_rise(problem.objective, max(value, floor), residuals, free, level) * height[:count]
    se_u = np.sqrt(np.maximum(np.diagonal(covariance), 0))[:count]
    step = np.where(se_u > 0, np.minimum(se_u, 10 * np.abs(u[:count]) + 1), 1e-3 * np.abs(u[:count]) + 1e-3)
    profile = profile_intervals(problem, u, value, rise, step, others)
    lo, hi = profile.lo, profile.hi
    natural, low, high = problem.natural(u), problem.natural(lo), problem.natural(hi)
    slope = np.where([name in problem.law.log for name in names], natural, 1.0)
    # The logarithm's own lower end stands for the bound 0.
    natural = np.where((slope != 1.0) & (u[:count] <= -LOG_RANGE), 0.0, natural)
    params, resting = {}, []
    for k, name in enumerate(names):
        if name in problem.fixed:
            params[name] = Estimate(float(problem.fixed[name]), identifiable=True)
            continue
        below, above = (None if np.isnan(end) else float(end) for end in (low[k], high[k]))
        known = below is not None and above is not None
        # Where the profile has no end the curvature says nothing about the distance to it.
        se = float(se_u[k] * slope[k]) if se_u[k] > 0 and known else None
        params[name] = Estimate(float(natural[k]), se, below, above, identifiable=known)
        if _rests(problem, u, k):
            resting.append(f"{name} = {natural[k]:.4g}")
    status, said = _status(problem, params, resting, free)
    c = float(u[count]) if problem.objective.nuisance else None
    message = "; ".join(said + notes)
    result = FitResult(problem, level, n, value, params, status, message, *counts, c, u, covariance)
    return result, profile.lowest, profile.fall


def _status(
    problem: Problem, params: Mapping[str, Estimate], resting: list[str], free: int
) -> tuple[Status, list[str]]:
    """The status and the sentences that explain it."""
    n, formula = len(problem.y), problem.law.formula
    collinear = collinearity(problem)
    unknown = [name for name, found in params.items() if not found.identifiable]
    if n == free and problem.objective.kind != "binomial":
        return Status.NOT_IDENTIFIABLE, [
            f"{several(n, 'row')} and {several(free, 'parameter')} of {formula} leave no residual: no interval"
        ]
    if collinear:
        return Status.NOT_IDENTIFIABLE, [collinear]
    if resting:
        said = f"at its bound: {', '.join(resting)}"
        others = [name for name in unknown if not any(part.startswith(f"{name} =") for part in resting)]
        return Status.AT_BOUND, [said + (f"; no limit on one side: {', '.join(others)}" if others else "")]
    if unknown:
        return Status.NOT_IDENTIFIABLE, [f"the data put no limit on one side of {', '.join(unknown)} in {formula}"]
    return Status.OK, []


def _rests(problem: Problem, u: Array, k: int) -> bool:
    """Whether the minimum lies on a bound of coordinate k."""
    lo, hi = (side[k] for side in problem.limits)
    return bool(u[k] <= lo or u[k] >= hi)


def _covariance(problem: Problem, u: Array, value: float, residuals: Array, free: int) -> tuple[Array, Array]:
    """Covariance of the search coordinates [k k] from the curvature at the minimum; rows of resting ones are 0.

    And what the rise of each one's profile must be multiplied by [k]: 1 but where rows differ in how far they scatter.
    """
    lo, hi = problem.limits
    moving = np.flatnonzero(problem.free & (u > lo) & (u < hi))
    covariance, height = np.zeros((u.size, u.size)), np.ones(u.size)
    matrix = problem.evaluate(u[None]).hessian[0][np.ix_(moving, moving)]
    spare = max(len(problem.y) - free, 1)
    factor = 1.0 if problem.objective.kind == "binomial" else 2 * value / spare
    scores = None
    if problem.objective.delta is not None:
        slope, variance = huber_sandwich(problem.objective.delta, residuals, min(free, len(problem.y) - 1))
        theta = problem.natural(u[None])
        jacobian = problem.law.raw_gradient(problem.x, theta)[0] / problem.law.predict(problem.x, theta)[0][:, None]
        jacobian = (jacobian * np.where([name in problem.law.log for name in problem.names], theta[0], 1.0))[:, moving]
        matrix = jacobian.T @ (jacobian * huber_curvature(problem.objective.delta, residuals)[:, None])
        clipped = np.clip(residuals, -problem.objective.delta, problem.objective.delta)[:, None] * jacobian
        scores = clipped.T @ clipped * (len(problem.y) / spare)
        usual = variance / max(slope, 1e-300)
    if not np.all(np.isfinite(matrix)):
        return covariance, height
    scale = np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
    inverse = np.linalg.pinv(matrix / np.outer(scale, scale), rcond=1e-13) / np.outer(scale, scale)
    found = factor * inverse if scores is None else inverse @ scores @ inverse
    covariance[np.ix_(moving, moving)] = found
    if scores is not None and usual > 0:
        ratio = np.diagonal(found) / np.maximum(np.diagonal(inverse), 1e-300) / usual
        height[moving] = np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0)
    return np.where(np.isfinite(covariance), covariance, 0.0), height


def huber_curvature(delta: float, residuals: Array) -> Array:
    """The expected curvature of Huber's loss at each row [n], without the assumption that all rows scatter alike.

    Where delta is below the residuals' standard deviation: the kernel of Powell (1991) at the row's own residual, whose
    sum over rows weighs each by how dense the residuals of its kind are at 0; elsewhere their share inside delta.
    """
    slope, _ = huber_sandwich(delta, residuals, 0)
    if delta >= np.std(residuals):
        return np.full(residuals.size, slope)
    width = np.std(residuals, ddof=1) * residuals.size**-0.2
    near = np.exp(-((residuals / width) ** 2) / 2)
    return slope * near / near.mean()


def separated_fit(problem: Problem, falls: Array, rises: Array, level: float, notes: list[str]) -> FitResult:
    """Firth's fit of separated counts; falls, rises [k] (open_sides): the sides on which the likelihood has no end."""
    firth = firth_logistic(problem.design, problem.y, problem.counted)
    u = np.append(firth.values, 0.0)
    z, params = ndtri((1 + level) / 2), {}
    for k, name in enumerate(problem.names):
        value, se = float(firth.values[k]), float(firth.se[k])
        lo, hi = None if falls[k] else float(value - z * se), None if rises[k] else float(value + z * se)
        params[name] = Estimate(value, se, lo, hi, identifiable=lo is not None and hi is not None)
    endless = [name for name, found in params.items() if not found.identifiable]
    count = "there is no success" if not problem.y.any() else "successes and failures are separated"
    said = (
        f"{count}: the likelihood has no finite maximum in {', '.join(endless)}, whose open side has no limit; "
        f"values are those of Firth's penalised likelihood"
    )
    covariance = np.zeros((u.size, u.size))
    covariance[:-1, :-1] = firth.covariance
    value, message = float(problem.evaluate(u[None]).value[0]), "; ".join([said, *notes])
    return FitResult(problem, level, len(problem.y), value, params, Status.AT_BOUND, message, 1, 1, 0.0, u, covariance)
