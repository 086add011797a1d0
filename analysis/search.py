"""The minimum of an objective: damped Newton steps for many starts, draws or fixed values at once.

Everything is batched over the first axis: starting points u [m k], and, for a bootstrap, a weight for each row [m n].
u holds the law's parameters in search coordinates (logarithms where the law says so), then the objective's nuisance.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear, minimize

from analysis.problem import Problem, Slope

Array = np.ndarray


class Minimum(NamedTuple):
    u: Array  # [m k]
    value: Array  # [m]
    converged: Array  # [m]


def descend(
    problem: Problem, start: Array, *, weights: Array | None = None, free: Array | None = None, steps: int = 200
) -> Minimum:
    """Damped Newton (Levenberg-Marquardt) from each start [m k] inside the bounds; what is not `free` [m k] is held."""
    lo, hi = problem.limits
    free = np.broadcast_to(problem.free if free is None else free, start.shape)
    u = np.clip(start, lo, hi)
    at, damping = problem.evaluate(u, weights), np.full(len(u), 1e-3)
    done = ~np.isfinite(at.value)
    converged = np.zeros(len(u), bool)
    for _ in range(steps):
        active = np.flatnonzero(~done)
        if not active.size:
            break
        here = Slope(*(part[active] for part in at))
        new, gain = _step(here, u[active], damping[active], free[active], lo, hi)
        there = problem.evaluate(new, None if weights is None else weights[active])
        rounding = 1e-14 * np.abs(here.value)
        better = there.value <= here.value + rounding
        u[active[better]] = new[better]
        for whole, part in zip(at, there, strict=True):
            whole[active[better]] = part[better]
        damping[active] *= np.where(better, 0.2, 6.0)
        damping[active] = np.maximum(damping[active], 1e-15)
        # Nothing left to win: by the model, or because rounding of the value hides what the model still promises.
        flat = (gain <= np.where(better, 1e-16, 1e-11) * np.abs(here.value) + 1e-300) & (damping[active] < 10)
        stuck = damping[active] > 1e14
        converged[active[flat | stuck]] = True
        done[active[flat | stuck]] = True
    return Minimum(u, at.value, converged)


def _step(here: Slope, u: Array, damping: Array, free: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
    """The next point [m k] and the decrease the quadratic model promises [m]; coordinates at a bound may rest there."""
    resting = ~free | ((u <= lo) & (here.gradient > 0)) | ((u >= hi) & (here.gradient < 0))
    gradient = np.where(resting, 0.0, np.nan_to_num(here.gradient, posinf=0.0, neginf=0.0))
    moving = ~resting[:, :, None] & ~resting[:, None, :]
    hessian = np.where(moving & np.isfinite(here.hessian), here.hessian, 0.0)
    size = np.abs(np.diagonal(hessian, axis1=1, axis2=2))
    lean = np.maximum(np.where(np.isfinite(here.diagonal), here.diagonal, 0), size)
    scale = np.where(resting, 1.0, np.sqrt(np.maximum(lean, 1e-100)))
    matrix = hessian / scale[:, :, None] / scale[:, None, :]
    identity = np.eye(u.shape[1])
    matrix = np.clip(matrix, -1e100, 1e100) + identity * np.where(resting, 1.0, damping[:, None])[:, :, None]
    # Eigenvalues turned positive: far from the minimum the Hessian of a beta-binomial or Huber sum is indefinite.
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(np.abs(values), damping[:, None] + 1e-15)
    along = np.einsum("mjk,mj->mk", vectors, gradient / scale) / values
    step = -np.einsum("mjk,mk->mj", vectors, along) / scale
    step = np.where(np.isfinite(step) & ~resting, step, 0.0)
    new = np.clip(u + step, lo, hi)
    return new, np.abs(np.sum(gradient * (new - u), axis=1))


def starting_points(problem: Problem, rng: np.random.Generator, count: int) -> Array:
    """The law's own starts and random ones between and around them [s k]; linear parameters eliminated (lsq only)."""
    rate = problem.y / problem.trials if problem.trials is not None else problem.y
    own = problem.coordinates(problem.law.starts(problem.x, rate))
    centre, spread = own.mean(0), np.maximum(own.std(0), 0.1 * np.abs(own.mean(0)) + 0.1)
    drawn = centre + spread * rng.standard_normal((max(count - len(own), 0), own.shape[1]))
    u = np.clip(np.concatenate([own, drawn]), *problem.limits)
    for k, name in enumerate(problem.names):
        if name in problem.fixed:
            u[:, k] = problem.coordinates(np.full(len(problem.names), problem.fixed[name]))[k]
    if problem.objective.kind == "lsq" and not problem.law.rate and problem.law.linear:
        u = np.array([_project(problem, point) for point in u])
    return u


def _project(problem: Problem, u: Array) -> Array:
    """Variable projection (Golub & Pereyra 1973): the best linear parameters at the others' values in u [k]."""
    linear = [k for k, name in enumerate(problem.names) if name in problem.law.linear and name not in problem.fixed]
    theta = problem.natural(u)
    columns = problem.law.raw_gradient(problem.x, theta)[:, linear]
    rest = problem.y - problem.law.raw(problem.x, theta) + columns @ theta[linear]
    size = np.linalg.norm(columns, axis=0)
    if not linear or not np.all(np.isfinite(columns)) or not np.all(size > 0):
        return u
    bounds = np.array([problem.law.bounds[problem.names[k]] for k in linear]).T
    solved = lsq_linear(columns / size, rest, bounds=tuple(side * size for side in bounds), method="bvls").x / size
    # A positive parameter solved to 0 has no logarithm: it starts small instead, and the search decides.
    tiny = 1e-9 * np.linalg.norm(problem.y) / size
    theta[linear] = np.where([problem.names[k] in problem.law.log for k in linear], np.maximum(solved, tiny), solved)
    return problem.coordinates(theta) if not problem.objective.nuisance else u


def polish(problem: Problem, best: Minimum) -> Minimum:
    """The best point [1 k] tried again by SciPy's L-BFGS-B; returns the lower of both."""
    free = np.flatnonzero(problem.free)
    if not free.size:
        return best
    base, bounds = best.u[0], np.array(problem.limits).T[free]
    scale = 1 / np.sqrt(np.maximum(np.diagonal(problem.evaluate(best.u).hessian[0])[free], 1e-300))
    scale = np.clip(scale, 1e-12, 1e6)

    def function(z: Array) -> tuple[float, Array]:
        u = base.copy()
        u[free] = z * scale
        found = problem.evaluate(u[None])
        gradient = np.nan_to_num(found.gradient[0, free]) * scale
        return (found.value[0] if np.isfinite(found.value[0]) else 1e300), gradient

    tried = minimize(function, base[free] / scale, jac=True, method="L-BFGS-B", bounds=bounds / scale[:, None],
                     options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 500})  # fmt: skip
    u = base.copy()
    u[free] = tried.x * scale
    again = descend(problem, u[None])
    return again if again.value[0] < best.value[0] else best
