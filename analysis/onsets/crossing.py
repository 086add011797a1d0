"""Where a measured curve first crosses a level, as an interval (a, b] with a status; and the capacity of a setting.

Evaluations are points on a curve: a crossing is known to lie between two of them, before the first, or after the last.
All of these enter fits (analysis/fitting/survival.py), never only those that were bracketed (measures.md 3.2).
"""

from enum import StrEnum
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Status(StrEnum):
    """Where a crossing lies: between two points of the curve, or on one side of all of them."""

    INTERP = "interp"  # bracketed by two points
    BELOW_RANGE = "below_range"  # beyond the level at the first point already
    ABOVE_RANGE = "above_range"  # not beyond the level at any point
    CENSORED = "censored"  # the same, and the run ended early
    MISSING = "missing"  # nothing was measured


class Crossing(NamedTuple):
    """A first crossing, on the axis of its curve (images seen, unique images)."""

    value: float  # NaN unless the status is interp
    a: float  # it lies in (a, b]
    b: float
    status: Status

    @property
    def ordered(self) -> float:
        """A number to rank crossings by: 0 where below the range, infinity where above it; NaN where missing."""
        return {Status.INTERP: self.value, Status.BELOW_RANGE: 0.0, Status.MISSING: np.nan}.get(self.status, np.inf)


def first_crossing(x: Array, y: Array, level: float, *, reached: bool = False, ended_early: bool = False) -> Crossing:
    """First x > 0 with y > level (`reached`: y >= level), y linear in ln x between the points; x, y [n] in any order.

    Points without y, and x = 0 (nothing trained: no place on a log axis), are left out. Raises ValueError on equal x.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    known = ~np.isnan(y) & (x > 0)
    order = np.argsort(x[known])
    x, y = x[known][order], y[known][order]
    if np.any(np.diff(x) == 0):
        raise ValueError(
            f"two points at {x[:-1][np.diff(x) == 0][0]:g}: one curve has one value there; pool them first"
        )
    if not len(x):
        return Crossing(np.nan, 0.0, np.inf, Status.MISSING)
    beyond = np.flatnonzero(y >= level if reached else y > level)
    if not len(beyond):
        return Crossing(np.nan, float(x[-1]), np.inf, Status.CENSORED if ended_early else Status.ABOVE_RANGE)
    k = beyond[0]
    if k == 0:
        return Crossing(np.nan, 0.0, float(x[0]), Status.BELOW_RANGE)
    share = (level - y[k - 1]) / (y[k] - y[k - 1])
    value = x[k - 1] * (x[k] / x[k - 1]) ** share
    return Crossing(float(value), float(x[k - 1]), float(x[k]), Status.INTERP)


def redrawn(hits: Array, trials: Array, draws: int, rng: np.random.Generator) -> Array:
    """Rates [draws n] that counts [n] may stand for: Beta(x + 1/2, n - x + 1/2) (Jeffreys: 0 of n is no certain 0)."""
    known = ~np.isnan(hits) & (trials > 0)
    rates = np.full((draws, len(hits)), np.nan)
    x, n = hits[known], trials[known]
    rates[:, known] = rng.beta(x + 0.5, n - x + 0.5, size=(draws, len(x)))
    return rates


def spread(
    x: Array, curves: Array, level: float, *, reached: bool = False, coverage: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the first crossing over resampled curves [draws n]; 0 and inf are open ends.

    NaN where all draws agree: they show no spread, which is no certainty (a bracket of 0 and 1 hides its inside).
    """
    places = _log_crossings(np.asarray(x, float), np.asarray(curves, float), level, reached)
    order = np.argsort(places)[: np.count_nonzero(~np.isnan(places))]  # NaN come last

    def at(rank: int) -> float:
        return first_crossing(x, curves[order[rank]], level, reached=reached).ordered

    if not len(order) or at(0) == at(-1):
        return np.nan, np.nan
    ends = np.quantile(np.arange(len(order)), [(1 - coverage) / 2, (1 + coverage) / 2], method="inverted_cdf")
    return at(int(ends[0])), at(int(ends[1]))


def _log_crossings(x: Array, curves: Array, level: float, reached: bool) -> Array:
    """ln of `first_crossing(…).ordered` of each curve [draws n], those with points at the same x together."""
    found = np.full(len(curves), np.nan)
    patterns, which = np.unique(~np.isnan(curves) & (x > 0), axis=0, return_inverse=True)
    for k, known in enumerate(patterns):
        rows = np.flatnonzero(which.ravel() == k)
        if not known.any():
            continue
        order = np.flatnonzero(known)[np.argsort(x[known])]
        t, y = np.log(x[order]), curves[np.ix_(rows, order)]
        beyond = y >= level if reached else y > level
        first = np.argmax(beyond, axis=1)
        before, each = np.maximum(first - 1, 0), np.arange(len(rows))
        with np.errstate(divide="ignore", invalid="ignore"):  # where the first point is beyond: not used
            share = (level - y[each, before]) / (y[each, first] - y[each, before])
            place = np.where(first == 0, -np.inf, t[before] + share * (t[first] - t[before]))
        found[rows] = np.where(beyond.any(axis=1), place, np.inf)
    return found


def falling(n: Array, f: Array, weights: Array | float) -> tuple[Array, Array]:
    """The non-increasing curve nearest to f [k] at n [k] (weighted least squares, PAVA): distinct n, and their f."""
    n, f, weights = (np.asarray(values, float) for values in np.broadcast_arrays(n, f, weights))
    known = ~np.isnan(f)
    distinct, place = np.unique(n[known], return_inverse=True)
    total = np.bincount(place, weights[known])
    mean = np.bincount(place, (weights * f)[known]) / total
    from scipy.optimize import isotonic_regression  # half of this package's import time

    return distinct, isotonic_regression(mean, weights=total, increasing=False).x


def memorized_up_to(n: Array, f: Array, *, eps: float = 0.1, weights: Array | float = 1.0) -> Crossing:
    """EMM of Gu et al. 2023: the largest n with E f >= 1 - eps, f [k] measured at n_unique n [k], monotone in ln n."""
    distinct, curve = falling(n, f, weights)
    return first_crossing(distinct, -curve, eps - 1)


def generalized_from(n: Array, f: Array, *, eps: float = 0.1, weights: Array | float = 1.0) -> Crossing:
    """N*: the smallest n with E f <= eps, f [k] at n [k] as in memorized_up_to."""
    distinct, curve = falling(n, f, weights)
    return first_crossing(distinct, -curve, -eps, reached=True)
