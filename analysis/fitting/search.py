"""The minimum of an objective: damped Newton steps for many starts, draws or fixed values at once.

Everything is batched over the first axis: starting points u [m k], and, for a bootstrap, a weight for each row [m n].
u holds the law's parameters in search coordinates (logarithms where the law says so), then the objective's nuisance.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from analysis.fitting.objectives import objective
from analysis.fitting.problem import Problem, Slope

Array = np.ndarray
WIDEST = 0.3  # Huber width, in ln y, at which a descent from afar begins
NARROWING = 6.0  # from one width to the next
ROUGH = 1e-4  # relative gain at which a descent at a width on the way is near enough
PATIENCE, STALE = 20, 1e-10  # steps that together win less than this share of the value are the last
MERGED = 1e-3  # distance, as a share of the misfit's square root, at which two descents are one


class Minimum(NamedTuple):
    """Where m descents ended; not converged: no finite value to start from, or more steps than were allowed."""

    u: Array  # [m k]
    value: Array  # [m]
    converged: Array  # [m]


def lowest(problem: Problem, start: Array, rng: np.random.Generator) -> tuple[Minimum, Minimum]:
    """The lowest minimum known [1 k], after hops around it and SciPy's polish, and where each start's descent ended."""
    ends = search(problem, start)
    best = Minimum(*(part[[np.argmin(ends.value)]] for part in ends))
    if not np.isfinite(best.value[0]):
        return best, ends
    # Where nearly all starts agree there is little to find by hopping.
    agreed = np.mean(ends.value <= best.value[0] * (1 + 1e-6)) > 0.9
    return polish(problem, hop(problem, best, rng, hops=8 if agreed else 48)), ends


def search(problem: Problem, start: Array) -> Minimum:
    """Where the descent of each start [m k] ends. A Huber width below `WIDEST` is approached through wider ones.

    At a tiny width the sum is nearly one of absolute values: flat steps and corners, on which descents from afar stop.
    Each start keeps a descent of its own until it has met another's, within `MERGED`; from there they share one.
    """
    u, delta = start, problem.objective.delta
    if delta is not None:
        stages = int(np.ceil(np.log(max(WIDEST / delta, 1)) / np.log(NARROWING)))
        for width in delta * NARROWING ** np.arange(stages, 0, -1.0):
            wide = replace(problem, objective=objective(f"huber_log:{float(width)!r}"))
            u = descend(wide, u, enough=ROUGH, merge=True, steps=60).u
    return descend(problem, u, merge=True)


def descend(
    problem: Problem,
    start: Array,
    *,
    weights: Array | None = None,
    free: Array | None = None,
    steps: int = 200,
    enough: float = 1e-16,
    merge: bool = False,
) -> Minimum:
    """Damped Newton (Levenberg-Marquardt) from each start [m k] inside the bounds; what is not `free` [m k] is held.

    A descent ends where the model promises a relative gain below `enough`. `merge`: descents that met go on as one.
    """
    lo, hi = problem.limits
    free = np.broadcast_to(problem.free if free is None else free, start.shape)
    u = np.clip(start, lo, hi)
    leader = _leaders(u, merge)
    mine = np.flatnonzero(leader == np.arange(len(u)))
    at = _spread(problem.evaluate(u[mine], None if weights is None else weights[mine]), mine, len(u))
    # Under Huber's loss the first steps lean on the majorant: its curvature counts only rows inside the width.
    damping = np.full(len(u), 1e-3 if problem.objective.delta is None else 1.0)
    done, converged = ~np.isfinite(at.value), np.zeros(len(u), bool)
    done[leader != np.arange(len(u))] = True
    mark = at.value.copy()
    for turn in range(steps):
        active = np.flatnonzero(~done)
        if not active.size:
            break
        here = Slope(*(part[active] for part in at))
        new, gain = _step(here, u[active], damping[active], free[active], lo, hi, problem.objective.nuisance)
        there = problem.evaluate(new, None if weights is None else weights[active])
        better = there.value <= here.value + 1e-14 * np.abs(here.value)
        u[active[better]] = new[better]
        for whole, part in zip(at, there, strict=True):
            whole[active[better]] = part[better]
        damping[active] = np.maximum(damping[active] * np.where(better, 0.2, 6.0), 1e-12)
        ended = active[_ended(gain, here.value, damping[active], better, enough)]
        converged[ended] = done[ended] = True
        if turn % PATIENCE == PATIENCE - 1:  # a valley without a floor, as between collinear terms, has no end
            still = ~done & (at.value >= mark * (1 - STALE))
            converged[still] = done[still] = True
            mark = at.value.copy()
        if merge and turn % 3 == 2:
            _merge(at, u, leader, done)
    leader = _last_leader(leader)
    return Minimum(u[leader], at.value[leader], converged[leader])


def _leaders(u: Array, merge: bool) -> Array:
    """[m]: whom each of u [m k] goes with at the start; with `merge` the first that starts where it does."""
    if not merge:
        return np.arange(len(u))
    _, first, leader = np.unique(u, axis=0, return_index=True, return_inverse=True)
    return first[leader.ravel()]


def _last_leader(leader: Array) -> Array:
    """[m]: whom each goes with at the end, since a leader may itself have followed another later."""
    while np.any(leader != leader[leader]):
        leader = leader[leader]
    return leader


def _ended(gain: Array, value: Array, damping: Array, better: Array, enough: float) -> Array:
    """[m]: nothing left to win, by the model, or because rounding of the value hides what the model still promises."""
    least = np.where(better, enough, max(enough, 1e-11))
    flat = (gain <= least * np.abs(value) + 1e-300) & (damping < 10)
    return flat | (damping > 1e14)


def _spread(found: Slope, rows: Array, count: int) -> Slope:
    """`found` at `rows` of `count`; the others have no finite value."""
    if len(rows) == count:
        return found
    whole = [np.full((count, *part.shape[1:]), np.inf) for part in found]
    for part, known in zip(whole, found, strict=True):
        part[rows] = known
    return Slope(*whole)


def _merge(at: Slope, u: Array, leader: Array, done: Array) -> None:
    """Descents under way that stand in one cell of a fine grid follow the first of them; in place."""
    going = np.flatnonzero(~done & np.isfinite(at.value))
    if going.size < 2:
        return
    best = going[np.argmin(at.value[going])]
    size = np.sqrt(np.maximum(np.nan_to_num(np.diagonal(at.lean[best])), 0) / max(at.value[best], 1e-300))
    with np.errstate(over="ignore"):  # beyond the range of numbers is one cell, told apart by the value
        cells = np.round(u[going] * size / MERGED)
    values = np.round(np.log(np.maximum(at.value[going], 1e-300)) / MERGED**2)
    _, first, cell = np.unique(np.column_stack([cells, values]), axis=0, return_index=True, return_inverse=True)
    follows = going[first[cell.ravel()]]
    leader[going] = follows
    done[going[follows != going]] = True


def _step(
    here: Slope, u: Array, damping: Array, free: Array, lo: Array, hi: Array, indefinite: bool
) -> tuple[Array, Array]:
    """The next point [m k] and the decrease the quadratic model promises [m]; coordinates at a bound may rest there."""
    with np.errstate(over="ignore", invalid="ignore"):  # far out a curvature overflows: that coordinate stays
        return _damped(here, u, damping, free, lo, hi, indefinite)


def _damped(
    here: Slope, u: Array, damping: Array, free: Array, lo: Array, hi: Array, indefinite: bool
) -> tuple[Array, Array]:
    resting = ~free | ((u <= lo) & (here.gradient > 0)) | ((u >= hi) & (here.gradient < 0))
    gradient = np.where(resting, 0.0, np.nan_to_num(here.gradient, posinf=0.0, neginf=0.0))
    held = resting[:, :, None] | resting[:, None, :]
    hessian, lean = (np.where(held | ~np.isfinite(part), 0.0, part) for part in (here.hessian, here.lean))
    size = np.maximum(*(np.abs(np.diagonal(part, axis1=1, axis2=2)) for part in (hessian, lean)))
    scale = np.where(resting, 1.0, np.sqrt(np.maximum(size, 1e-100)))
    shape = 1 / (scale[:, :, None] * scale[:, None, :])
    matrix = np.clip(hessian * shape, -1e100, 1e100)
    if here.lean is not here.hessian and not indefinite:
        matrix += damping[:, None, None] * np.clip(lean * shape, -1e100, 1e100)
    diagonal = np.arange(u.shape[1])
    matrix[:, diagonal, diagonal] += np.where(resting, 1.0, damping[:, None])
    if indefinite:
        # Eigenvalues turned positive: far from the minimum the Hessian of a beta-binomial sum is indefinite.
        values, vectors = np.linalg.eigh(matrix)
        values = np.maximum(np.abs(values), damping[:, None] + 1e-15)
        along = (vectors.transpose(0, 2, 1) @ (gradient / scale)[:, :, None])[:, :, 0] / values
        step = -(vectors @ along[:, :, None])[:, :, 0] / scale
    else:
        step = -np.linalg.solve(matrix, (gradient / scale)[:, :, None])[:, :, 0] / scale
    step = np.where(np.isfinite(step) & ~resting, step, 0.0)
    new = np.clip(u + step, lo, hi)
    return new, np.abs(np.sum(gradient * (new - u), axis=1))


def hop(problem: Problem, best: Minimum, rng: np.random.Generator, hops: int, rounds: int = 6) -> Minimum:
    """Basin hopping (Wales & Doye 1997): descents from random steps off the best [1 k], until a round wins nothing.

    Steps are normal in the metric of the curvature, from a hundredth to a hundred times the distance that would
    double the misfit along it (a likelihood: that would cost one unit).
    """
    free = np.flatnonzero(problem.free)
    if not free.size:
        return best
    for _ in range(rounds):
        here = problem.evaluate(best.u)
        matrix = np.nan_to_num(here.lean[0][np.ix_(free, free)])
        scale = np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
        values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
        misfit = 1.0 if problem.objective.kind == "binomial" else max(best.value[0], 1e-300)
        reach = np.sqrt(misfit / np.maximum(values, 1e-9)) * 10.0 ** rng.uniform(-2, 2, (hops, 1))
        step = (rng.standard_normal((hops, free.size)) * reach) @ vectors.T / scale
        u = np.repeat(best.u, hops, axis=0)
        u[:, free] += np.clip(step, -20, 20)
        found = descend(problem, u, merge=True)
        lowest = np.argmin(found.value)
        if not found.value[lowest] < best.value[0] - 1e-12 * abs(best.value[0]):
            break
        best = Minimum(*(part[[lowest]] for part in found))
    return best


def polish(problem: Problem, best: Minimum) -> Minimum:
    """The best point [1 k] tried again by SciPy's L-BFGS-B; returns the lower of both."""
    from scipy.optimize import minimize  # half of this package's import time

    free = np.flatnonzero(problem.free)
    if not free.size:
        return best
    base, bounds = best.u[0], np.array(problem.limits).T[free]
    scale = 1 / np.sqrt(np.maximum(np.diagonal(problem.evaluate(best.u).lean[0])[free], 1e-300))
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
