"""Does a curve rise and then fall a second time? The search test and the confirmatory test of measures.md 3.3.

Overfitting is not double descent: the hypothesis to be rejected is a valley (falling, then rising, either part may be
missing), not a flat line.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from analysis.descent.noise import Noise

Array = np.ndarray
CHUNK = 4_000_000  # entries of one batch of pairwise differences


class Search(NamedTuple):
    """The search test: is the largest rise-and-fall beyond what a valley's noise makes?"""

    statistic: float
    p_value: float
    critical: float  # the statistic's upper (1 - level)/2 quantile under the null: prominence_lo is made from it


class Confirmation(NamedTuple):
    """The confirmatory test: both contrasts must be above 0, so the larger p-value decides."""

    p_value: float
    lo: float  # lower limit of the smaller of the two contrasts
    above_valley: float  # p-values of the two contrasts
    above_end: float


def differences(mean: Array, se: Array) -> Array:
    """D[..., i, j] = (y_j - y_i)/s_ij for mean, se [... K]."""
    s = np.sqrt(se[..., :, None] ** 2 + se[..., None, :] ** 2)
    return (mean[..., None, :] - mean[..., :, None]) / s


def rise_and_fall(d: Array) -> Array:
    """For each j [... K] the smaller of max_{i<j} d_ij and max_{k>j} d_kj, d [... K K]; -inf at both ends."""
    i, j = np.indices(d.shape[-2:])
    left, right = (np.where(side, d, -np.inf).max(axis=-2) for side in (i < j, i > j))
    return np.minimum(left, right)


def search_statistic(mean: Array, se: Array) -> float:
    """T = max_j min(max_{i<j} (y_j - y_i)/s_ij, max_{k>j} (y_j - y_k)/s_jk) of mean y, se [K]."""
    return float(rise_and_fall(differences(mean, se)).max())


def least_favourable(mean: Array, se: Array) -> tuple[Array, Array]:
    """T [B] of flat curves [B K] whose last (first) point is free to lie far below all others: two mirror images.

    A valley with one end far below gives away one of the two conditions of T for nothing, and equal points elsewhere
    give noise the most pairs to meet the other: no valley makes T larger.
    """
    d = differences(mean, se)
    i, j = np.indices(d.shape[-2:])
    last = d.shape[-1] - 1
    falls_at_end = np.where((i < j) & (j < last), d, -np.inf).max(axis=(-2, -1))
    falls_at_start = np.where((i > j) & (j > 0), d, -np.inf).max(axis=(-2, -1))
    return falls_at_end, falls_at_start


def search(noise: Noise, *, draws: int, level: float, rng: np.random.Generator) -> Search:
    """The peak may be anywhere. The p-value is the larger of the two mirror images of the null."""
    statistic = search_statistic(noise.mean, noise.se)
    mean, se = noise.redrawn(draws, rng)
    step = max(1, CHUNK // len(noise.x) ** 2)
    parts = [least_favourable(mean[k : k + step], se[k : k + step]) for k in range(0, draws, step)]
    null = np.array([np.concatenate(side) for side in zip(*parts, strict=True)])  # [2 draws]
    p = (1 + np.sum(null >= statistic, axis=1).max()) / (draws + 1)
    return Search(statistic, float(p), float(np.quantile(null, (1 + level) / 2, axis=1).max()))


def confirm(noise: Noise, window: Array, valley: Array, *, level: float) -> Confirmation:
    """Window above valley and window above the last point, both (intersection-union): window, valley booleans [K]."""
    end = np.zeros(len(noise.x))
    end[-1] = 1
    top = window / window.sum()
    found = [noise.contrast(top - below) for below in (valley / valley.sum(), end)]
    p = [float(stdtr(df, -value / se)) for value, se, df in found]
    lo = min(value - se * stdtrit(df, (1 + level) / 2) for value, se, df in found)
    return Confirmation(max(p), float(lo), *p)
