"""Counts to rates with intervals (measures.md 3.1): Wilson, Clopper-Pearson, Newcombe; the beta-binomial law of counts.

Zero of n has a positive upper limit; 0 trials or a missing count is NaN, never 0; more hits than trials raises.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, betaln, gammaln, ndtri, xlog1py, xlogy

Array = np.ndarray


class Interval(NamedTuple):
    """A rate or difference and its ends, arrays of one shape; NaN where nothing was counted."""

    value: Array
    lo: Array
    hi: Array


def checked_counts(hits: ArrayLike, trials: ArrayLike, what: str = "counts") -> tuple[Array, Array]:
    """Both as floats [...], broadcast, NaN where either is missing or trials is 0; ValueError on impossible counts."""
    hits, trials = np.broadcast_arrays(np.asarray(hits, float), np.asarray(trials, float))
    bad = np.flatnonzero((hits < 0) | (trials < 0) | (hits > trials))
    if bad.size:
        row = bad[0]
        raise ValueError(
            f"{what}: row {row} has {hits.flat[row]:g} hits of {trials.flat[row]:g} trials; "
            f"a count lies between 0 and its trials: correct the row or name another trials column"
        )
    empty = ~(trials > 0) | np.isnan(hits)
    return np.where(empty, np.nan, hits), np.where(empty, np.nan, trials)


def wilson(hits: ArrayLike, trials: ArrayLike, level: float = 0.95) -> Interval:
    """Wilson 1927: hits of trials -> rate and interval, each of the broadcast shape.

    >>> found = wilson(0, 100)  # nothing seen is not nothing there
    >>> f"{found.value} ({found.lo} to {found.hi:.3f})"
    '0.0 (0.0 to 0.037)'
    """
    x, n = checked_counts(hits, trials)
    f, z = x / n, ndtri((1 + level) / 2)
    centre = (f + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(f * (1 - f) / n + z**2 / (4 * n**2))
    # At 0 and n the ends are exactly 0 and 1; rounding would leave 1e-19 or 1 - 1e-16 there.
    return Interval(f, np.where(x == 0, 0.0, centre - half), np.where(x == n, 1.0, centre + half))


def clopper_pearson(hits: Array, trials: Array, level: float = 0.95) -> Interval:
    """Clopper & Pearson 1934, counts [...]: exact, conservative; quantiles of Beta(x, n - x + 1) and (x + 1, n - x)."""
    x, n = checked_counts(hits, trials)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        lo = np.where(x == 0, 0.0, betaincinv(np.maximum(x, 1), n - np.maximum(x, 1) + 1, tail))
        hi = np.where(x == n, 1.0, betaincinv(np.minimum(x, n - 1) + 1, n - np.minimum(x, n - 1), 1 - tail))
    empty = np.isnan(n)
    return Interval(x / n, np.where(empty, np.nan, lo), np.where(empty, np.nan, hi))


def newcombe(
    hits_1: ArrayLike,
    trials_1: ArrayLike,
    hits_2: ArrayLike,
    trials_2: ArrayLike,
    level: float = 0.95,
    phi: Array | float = 0.0,
) -> Interval:
    """Newcombe 1998: the difference hits_1/trials_1 - hits_2/trials_2, counts [...] that broadcast.

    Independent samples: phi = 0 (method 10). Two tests of the same samples: phi is the correlation of the two outcomes
    (the paired form); where only the two counts are known, phi = 0 is what can be said.
    """
    f1, l1, u1 = wilson(hits_1, trials_1, level)
    f2, l2, u2 = wilson(hits_2, trials_2, level)
    below = (f1 - l1) ** 2 - 2 * phi * (f1 - l1) * (u2 - f2) + (u2 - f2) ** 2
    above = (u1 - f1) ** 2 - 2 * phi * (u1 - f1) * (f2 - l2) + (f2 - l2) ** 2
    return Interval(f1 - f2, f1 - f2 - np.sqrt(below), f1 - f2 + np.sqrt(above))


def betabinom_logpmf(hits: Array, trials: Array, rate: Array, overdispersion: Array | float) -> Array:
    """ln P(hits | trials) [...]: mean `rate`, correlation c = `overdispersion` of two trials; c = 0 is binomial.

    Raises ValueError on c outside [0, 1) and on impossible counts.
    """
    x, n = checked_counts(hits, trials)
    f, c = np.broadcast_arrays(np.asarray(rate, float), np.asarray(overdispersion, float))
    if np.any((c < 0) | (c >= 1)):
        raise ValueError(f"overdispersion={c.min():g}..{c.max():g} must lie in [0, 1): 0 is the plain binomial")
    choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    plain = choose + xlogy(x, f) + xlog1py(n - x, -f)
    safe = np.where(c > 0, c, 0.5)
    a, b = f * (1 - safe) / safe, (1 - f) * (1 - safe) / safe
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = choose + betaln(x + a, n - x + b) - betaln(a, b)
    edge = (f == 0) | (f == 1)  # a or b is 0: all trials agree, as in the plain law
    return np.where((c > 0) & ~edge, mixed, plain)


def effective_trials(trials: Array, overdispersion: float) -> Array:
    """How many independent trials say as much as trials n [...]: n/(1 + (n - 1) c) (measures.md 3.1).

    >>> print(f"{effective_trials(1000, 0.05):.1f}")  # samples of one run share its weights
    19.6
    """
    n = np.asarray(trials, float)
    return n / (1 + (n - 1) * overdispersion)
