"""Spearman and Pearson correlations with intervals, and what noise in one column takes from them (measures.md 3.7).

A constant column has no correlation: NaN, never 0. A perfect one (|r| = 1) has no Fisher interval: its ends are NaN.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

Array = np.ndarray


class Correlation(NamedTuple):
    """A coefficient with its interval."""

    value: float  # NaN for a constant column or fewer than 2 pairs
    lo: float  # NaN besides for fewer than 4 pairs, and at |value| = 1
    hi: float
    n: int  # pairs used: both values known


def pearson(x: Array, y: Array, level: float = 0.95) -> Correlation:
    """x [n], y [n] -> r; Fisher's interval tanh(atanh r +- z/sqrt(n - 3)). Raises ValueError on infinite values."""
    x, y = _pairs(x, y)
    if np.isinf(x).any() or np.isinf(y).any():
        raise ValueError("an infinite value has no place on a line: remove it, or use spearman, which takes its rank")
    return _with_interval(x, y, level, lambda r, n: 1 / np.sqrt(n - 3))


def spearman(x: Array, y: Array, level: float = 0.95) -> Correlation:
    """x [n], y [n] -> rho by mid-ranks; tanh(atanh rho +- z sqrt((1 + rho^2/2)/(n - 3))), Bonett & Wright 2000."""
    x, y = _pairs(x, y)
    from scipy.stats import rankdata  # half of this package's import time

    return _with_interval(rankdata(x), rankdata(y), level, lambda rho, n: np.sqrt((1 + rho**2 / 2) / (n - 3)))


def combined(parts: Sequence[Correlation], level: float = 0.95) -> Correlation:
    """One rho of several independent groups (strata): their mean in Fisher's z with weights n - 3.

    Variance of each as in `spearman`; a group without an interval (constant, perfect, below 4 pairs) is left out.
    """
    known = [part for part in parts if np.isfinite(part.lo)]
    n = sum(part.n for part in known)
    if not known:
        return Correlation(np.nan, np.nan, np.nan, n)
    rho, weight = np.array([part.value for part in known]), np.array([part.n - 3.0 for part in known])
    z = weight @ np.arctanh(rho) / weight.sum()
    half = ndtri((1 + level) / 2) * np.sqrt(weight @ (1 + rho**2 / 2)) / weight.sum()
    return Correlation(float(np.tanh(z)), float(np.tanh(z - half)), float(np.tanh(z + half)), n)


def reliability(between_halves: float) -> float:
    """2c/(1 + c), Spearman 1910 and Brown 1910: c correlates the scores of two halves of the runs; NaN for c <= 0."""
    c = between_halves
    return 2 * c / (1 + c) if c > 0 else float("nan")  # uncorrelated halves: the score is noise, nothing to correct


def attenuated(rho: float, reliability: float) -> float:
    """A true `rho` where one column has this reliability looks like rho sqrt(reliability); raises outside 0 to 1."""
    if not 0 <= reliability <= 1:
        raise ValueError(f"reliability={reliability:g} is a share of variance, between 0 and 1")
    return rho * np.sqrt(reliability)


def disattenuated(found: Correlation, reliability: float) -> Correlation:
    """`found`, divided by sqrt(reliability) and cut at +-1; the reliability is taken as known. NaN where it is NaN."""
    scale = attenuated(1.0, reliability) if np.isfinite(reliability) else np.nan
    if not scale > 0:
        return Correlation(np.nan, np.nan, np.nan, found.n)
    value, lo, hi = (float(np.clip(end / scale, -1, 1)) for end in found[:3])
    return Correlation(value, lo, hi, found.n)


def _pairs(x: Array, y: Array) -> tuple[Array, Array]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"columns of shape {x.shape} and {y.shape} cannot be paired: give two of one length")
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]


def _with_interval(x: Array, y: Array, level: float, se: Callable[[float, int], float]) -> Correlation:
    if not 0 < level < 1:
        raise ValueError(f"level={level:g} must lie between 0 and 1: .95 is usual")
    n = len(x)
    if n < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, n)
    dx, dy = x - x.mean(), y - y.mean()
    dx, dy = dx / np.abs(dx).max(), dy / np.abs(dy).max()  # else the squares of very small values are 0
    r = float(np.clip(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy)), -1, 1))
    if n < 4 or 1 - abs(r) < 1e-12:  # rounding leaves 1 - 1e-16, from which atanh would make an interval
        return Correlation(r, np.nan, np.nan, n)
    half = ndtri((1 + level) / 2) * se(r, n)
    return Correlation(r, float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half)), n)
