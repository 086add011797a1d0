"""Profile-likelihood intervals: how far a parameter can move before the best the others can do is worse by `rise`.

A side on which the profile stays under the threshold up to the bound has no limit: its end is NaN (measures.md 3.5).
"""

from typing import NamedTuple

import numpy as np

from analysis.problem import Problem
from analysis.search import descend

Array = np.ndarray
DOUBLINGS = 24  # of the first step, about a standard error: 10 million of them without a limit is no limit
HALVINGS = 60


class _Path(NamedTuple):
    """One side of one profile, for many sides at once: the fixed coordinate's value [m] and the best others [m k]."""

    value: Array
    u: Array
    rise: Array


def profile_intervals(problem: Problem, u: Array, minimum: float, rise: float, step: Array) -> tuple[Array, Array]:
    """Ends [k], [k] in search coordinates for each law parameter (fixed ones NaN); u [k] is the minimum.

    `step` [k] is a first guess of the distance to the ends, for instance a standard error.
    """
    count = len(problem.names)
    lo, hi = np.full(count, np.nan), np.full(count, np.nan)
    moved = np.flatnonzero(problem.free[:count])
    if not moved.size or not np.isfinite(rise):
        return lo, hi
    coordinate, sign = np.repeat(moved, 2), np.tile([-1.0, 1.0], moved.size)
    ends = _crossings(problem, u, minimum, rise, coordinate, sign, step[coordinate])
    lo[moved], hi[moved] = ends[0::2], ends[1::2]
    return lo, hi


def _crossings(
    problem: Problem, u: Array, minimum: float, rise: float, coordinate: Array, sign: Array, step: Array
) -> Array:
    """Where each profile [m] first exceeds the minimum by `rise`; NaN where it never does."""
    bound = np.where(sign < 0, problem.limits[0][coordinate], problem.limits[1][coordinate])
    rows = np.arange(len(coordinate))
    inside = _Path(u[coordinate].copy(), np.tile(u, (len(rows), 1)), np.zeros(len(rows)))
    before, outside = inside, None
    crossed, stopped = np.zeros(len(rows), bool), inside.value == bound
    outside = _Path(inside.value.copy(), inside.u.copy(), inside.rise.copy())
    for _ in range(DOUBLINGS):
        going = ~crossed & ~stopped
        if not going.any():
            break
        target = np.where(going, inside.value + sign * step, inside.value)
        target = np.where(sign * (target - bound) > 0, bound, target)
        tried = _fixed(problem, minimum, coordinate, target, inside, before)
        over = going & (tried.rise >= rise)
        outside = _merge(over, tried, outside)
        under = going & ~over
        before, inside = _merge(under, inside, before), _merge(under, tried, inside)
        crossed |= over
        stopped |= under & (target == bound)
        step = np.where(under, 2 * step, step)
    for _ in range(HALVINGS):
        width = np.abs(outside.value - inside.value)
        if np.all(~crossed | (width <= 1e-7 * np.abs(inside.value) + 1e-10)):
            break
        tried = _fixed(problem, minimum, coordinate, _between(inside, outside, rise), inside, outside)
        over = tried.rise >= rise
        outside, inside = _merge(crossed & over, tried, outside), _merge(crossed & ~over, tried, inside)
    return np.where(crossed, (inside.value + outside.value) / 2, np.nan)


def _between(inside: _Path, outside: _Path, rise: float) -> Array:
    """Where a parabola-like rise would cross: interpolated in its square root, kept off the ends."""
    a, b = (
        np.sqrt(np.maximum(inside.rise, 0)),
        np.sqrt(np.minimum(np.maximum(outside.rise, 0), 1e12 * max(rise, 1e-300))),
    )
    share = (np.sqrt(rise) - a) / np.where(b > a, b - a, 1.0)
    share = np.clip(np.where(b > a, share, 0.5), 0.02, 0.98)
    return inside.value + share * (outside.value - inside.value)


def _fixed(problem: Problem, minimum: float, coordinate: Array, target: Array, inside: _Path, other: _Path) -> _Path:
    """The minimum with `coordinate` held at `target` [m], started from `inside` and along the line through `other`."""
    rows = np.arange(len(coordinate))
    distance = inside.value - other.value
    share = np.where(distance != 0, (target - inside.value) / np.where(distance != 0, distance, 1), 0.0)
    near, along = inside.u.copy(), inside.u + share[:, None] * (inside.u - other.u)
    lo, hi = problem.limits
    near[rows, coordinate] = along[rows, coordinate] = target
    along = np.clip(along, lo, hi)
    better = problem.evaluate(along).value < problem.evaluate(near).value
    start = np.where(better[:, None], along, near)
    free = np.tile(problem.free, (len(rows), 1))
    free[rows, coordinate] = False
    found = descend(problem, start, free=free)
    return _Path(target, found.u, found.value - minimum)


def _merge(mask: Array, new: _Path, old: _Path) -> _Path:
    return _Path(
        np.where(mask, new.value, old.value), np.where(mask[:, None], new.u, old.u), np.where(mask, new.rise, old.rise)
    )
