"""Profile-likelihood intervals: how far a parameter can move before the best the others can do is worse by `rise`.

A side on which the profile stays under the threshold up to the bound has no limit: its end is NaN (measures.md 3.5).
"""

from typing import NamedTuple

import numpy as np

from analysis.fitting.problem import Problem
from analysis.fitting.search import Minimum, descend

Array = np.ndarray
DOUBLINGS = 24  # of the first step, about a standard error: 10 million of them without a limit is no limit
HALVINGS = 60
NEAR = 1e-6  # relative distance from the rise at which an end is met
FAR = 230.0  # of a logarithm: a factor of 1e100 without a limit is no limit, and beyond it others leave the range
RESTARTS = 4  # rounds in which ends are searched again from afar


class _Path(NamedTuple):
    """One side of one profile, for many sides at once: the fixed coordinate's value [m] and the best others [m k]."""

    value: Array
    u: Array
    rise: Array


class Profile(NamedTuple):
    """The ends of all parameters' intervals, and what was met below the supposed minimum on the way."""

    lo: Array  # [k] ends in search coordinates; NaN without a limit, and for what is fixed
    hi: Array
    lowest: Array  # [k] the lowest point met on the way
    fall: float  # by which it lies below the minimum the profile started from; 0 where none does


def profile_intervals(
    problem: Problem, u: Array, minimum: float, rise: float | Array, step: Array, others: Array | None = None
) -> Profile:
    """Both ends for each law parameter; u [k] is the minimum, `rise` one for all or each parameter's own [k].

    `step` [k] is a first guess of the distance to the ends, for instance a standard error. `others` [s k] are points
    far from u from which each end is searched again, so that no path stands in a valley of its own.
    """
    count = len(problem.names)
    lo, hi = np.full(count, np.nan), np.full(count, np.nan)
    rise = np.broadcast_to(np.asarray(rise, float), count)
    moved = np.flatnonzero(problem.free[:count] & np.isfinite(rise))
    if not moved.size:
        return Profile(lo, hi, u, 0.0)
    coordinate, sign = np.repeat(moved, 2), np.tile([-1.0, 1.0], moved.size)
    walk = _Walk(problem, u, minimum, rise[coordinate], coordinate, sign)
    ends = walk.crossings(step[coordinate], u[None][:0] if others is None else others)
    lo[moved], hi[moved] = ends[0::2], ends[1::2]
    return Profile(lo, hi, walk.lowest, max(-walk.least, 0.0))


class _Walk:
    """The paths [m] of all sides at once, one for each (coordinate, sign)."""

    def __init__(self, problem: Problem, u: Array, minimum: float, rise: Array, coordinate: Array, sign: Array) -> None:
        self.problem, self.minimum, self.rise = problem, minimum, rise
        self.coordinate, self.sign = coordinate, sign
        self.bound = np.where(sign < 0, problem.limits[0][coordinate], problem.limits[1][coordinate])
        log = np.isin(coordinate, [k for k, name in enumerate(problem.names) if name in problem.law.log])
        far = u[coordinate] + sign * FAR
        self.bound = np.where(log & (sign * (self.bound - far) > 0), far, self.bound)
        self.rows = np.arange(len(coordinate))
        self.inside = _Path(u[coordinate].copy(), np.tile(u, (len(coordinate), 1)), np.zeros(len(coordinate)))
        self.before = self.outside = self.inside
        self.crossed, self.stopped = np.zeros(len(coordinate), bool), self.inside.value == self.bound
        self.lowest, self.least = u, 0.0

    def crossings(self, step: Array, others: Array) -> Array:
        """Where each profile first exceeds the minimum by `rise`; NaN where it never does."""
        for _ in range(RESTARTS):
            self._expand(step)
            self._narrow()
            if not len(others) or not self._reopened(others):
                break
        share = _share(self.inside, self.outside, self.rise)
        return np.where(self.crossed, self.inside.value + share * (self.outside.value - self.inside.value), np.nan)

    def _expand(self, step: Array) -> None:
        for _ in range(DOUBLINGS):
            going = ~self.crossed & ~self.stopped
            if not going.any():
                break
            target = np.where(going, self.inside.value + self.sign * step, self.inside.value)
            target = np.where(self.sign * (target - self.bound) > 0, self.bound, target)
            tried = self._fixed(target, self.before)
            over = going & (tried.rise >= self.rise)
            self.outside = _merge(over, tried, self.outside)
            under = going & ~over
            self.before, self.inside = _merge(under, self.inside, self.before), _merge(under, tried, self.inside)
            self.crossed |= over
            self.stopped |= under & (target == self.bound)
            step = np.where(under, 2 * step, step)

    def _narrow(self) -> None:
        for _ in range(HALVINGS):
            width = np.abs(self.outside.value - self.inside.value)
            # One end of a false position may stay: what counts is whether either has met the rise.
            gap = np.minimum(self.rise - self.inside.rise, self.outside.rise - self.rise)
            open_ = self.crossed & (width > 1e-7 * np.abs(self.inside.value) + 1e-10) & (gap > NEAR * self.rise)
            if not open_.any():
                break
            share = np.clip(_share(self.inside, self.outside, self.rise), 0.02, 0.98)
            target = self.inside.value + share * (self.outside.value - self.inside.value)
            tried = self._fixed(target, self.outside, open_)
            over = tried.rise >= self.rise
            self.outside = _merge(open_ & over, tried, self.outside)
            self.inside = _merge(open_ & ~over, tried, self.inside)

    def _reopened(self, others: Array) -> bool:
        """Search each end again from `others` [s k]; sides whose rise was that of a local minimum go on."""
        rows = np.flatnonzero(self.crossed)
        if not rows.size:
            return False
        start = np.tile(others, (len(rows), 1))
        coordinate = np.repeat(self.coordinate[rows], len(others))
        start[np.arange(len(start)), coordinate] = np.repeat(self.outside.value[rows], len(others))
        found = self._descended(start, coordinate)
        value = found.value.reshape(len(rows), len(others)) - self.minimum
        best = np.argmin(value, axis=1)
        u = found.u.reshape(len(rows), len(others), -1)[np.arange(len(rows)), best]
        lower = value[np.arange(len(rows)), best] < self.rise[rows] * (1 - 1e-4)
        for row, point, rise in zip(rows[lower], u[lower], value[np.arange(len(rows)), best][lower], strict=True):
            self.crossed[row] = False
            for path in (self.before, self.inside):
                path.value[row], path.u[row], path.rise[row] = self.outside.value[row], point, rise
            self.stopped[row] = self.outside.value[row] == self.bound[row]
        return bool(lower.any())

    def _fixed(self, target: Array, other: _Path, asked: Array | None = None) -> _Path:
        """The minimum with each coordinate held at `target` [m], from `inside` and along the line through `other`."""
        distance = self.inside.value - other.value
        share = np.where(distance != 0, (target - self.inside.value) / np.where(distance != 0, distance, 1), 0.0)
        near, along = self.inside.u.copy(), self.inside.u + share[:, None] * (self.inside.u - other.u)
        near[self.rows, self.coordinate] = along[self.rows, self.coordinate] = target
        along = np.clip(along, *self.problem.limits)
        rows = self.rows if asked is None else np.flatnonzero(asked)
        better = self.problem.evaluate(along[rows]).value < self.problem.evaluate(near[rows]).value
        start = np.where(better[:, None], along[rows], near[rows])
        found = self._descended(start, self.coordinate[rows])
        u, rise = near, np.full(len(near), np.inf)
        u[rows], rise[rows] = found.u, found.value - self.minimum
        return _Path(target, u, rise)

    def _descended(self, start: Array, coordinate: Array) -> Minimum:
        free = np.tile(self.problem.free, (len(start), 1))
        free[np.arange(len(start)), coordinate] = False
        found = descend(self.problem, start, free=free)
        lowest = np.argmin(found.value)
        if found.value[lowest] - self.minimum < self.least:
            self.lowest, self.least = found.u[lowest], float(found.value[lowest] - self.minimum)
        return found


def _share(inside: _Path, outside: _Path, rise: Array) -> Array:
    """How far from inside to outside a parabola-like rise would cross [m]: interpolated in its square root."""
    a = np.sqrt(np.maximum(inside.rise, 0))
    b = np.sqrt(np.minimum(np.maximum(outside.rise, 0), 1e12 * np.maximum(rise, 1e-300)))
    return np.where(b > a, (np.sqrt(rise) - a) / np.where(b > a, b - a, 1.0), 0.5)


def _merge(mask: Array, new: _Path, old: _Path) -> _Path:
    return _Path(
        np.where(mask, new.value, old.value), np.where(mask[:, None], new.u, old.u), np.where(mask, new.rise, old.rise)
    )
