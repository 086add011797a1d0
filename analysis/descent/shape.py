"""The shape of a curve with a peak: prominence, place of the peak, first minimum, second descent, recovery.

Points are means over replicates, x ascending. Limits are inverted tests, not bootstraps: noise raises the prominence of
a curve, and a bootstrap, which adds the noise once more, would be wrong twice.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from analysis.descent.noise import Noise, critical
from analysis.descent.rise_tests import rise_and_fall

Array = np.ndarray


class Peak(NamedTuple):
    """Indices of the peak and of the lowest points before and after it, and the prominence."""

    first_min: int
    top: int
    second_min: int
    prominence: float


def peak(y: Array, among: Array | None = None) -> Peak | None:
    """prominence = max_j min(y_j - min_{i<j} y_i, y_j - min_{k>j} y_k), y [K]; None where no inner point stands out.

    `among` [K]: where the top may be (booleans), the window of a prediction.
    """
    if len(y) < 3:
        return None
    height = np.full(len(y), -np.inf)
    before, after = np.minimum.accumulate(y)[:-2], np.minimum.accumulate(y[::-1])[::-1][2:]
    height[1:-1] = y[1:-1] - np.maximum(before, after)
    if among is not None:
        height[~among] = -np.inf
    top = int(np.argmax(height))
    if not height[top] > 0:
        return None
    return Peak(int(np.argmin(y[:top])), top, top + 1 + int(np.argmin(y[top + 1 :])), float(height[top]))


def peak_x(x: Array, y: Array, top: int) -> float:
    """Vertex of the parabola through the three points around y[top], x, y [K], in ln x; in x where one is not > 0."""
    three = slice(top - 1, top + 2)
    log = bool(np.all(x[three] > 0))
    u, v = np.log(x[three]) if log else x[three], y[three]
    rise, fall = (v[1] - v[0]) / (u[1] - u[0]), (v[2] - v[1]) / (u[2] - u[1])
    if not rise > fall:  # three equal points have no vertex
        return float(x[top])
    vertex = (u[0] + u[1]) / 2 + (u[2] - u[0]) / 2 * rise / (rise - fall)
    return float(np.exp(vertex) if log else vertex)


def peak_interval(noise: Noise, found: Peak, level: float) -> tuple[float, float]:
    """Where a curve with one peak may have it: between the neighbours of every point that may be the highest.

    Points that the noise does not put below the top (Gupta 1965, Bonferroni over the points between both minima).
    """
    inner = np.arange(found.first_min + 1, found.second_min)
    rivals = max(len(inner) - 1, 1)
    reach = critical(noise.se, noise.df, 1 - (1 - level) / rivals)[inner, found.top]
    s = np.hypot(noise.se[inner], noise.se[found.top])
    possible = inner[noise.mean[found.top] - noise.mean[inner] <= reach * s]
    return float(noise.x[possible.min() - 1]), float(noise.x[possible.max() + 1])


def prominence_upper(noise: Noise, level: float) -> float:
    """Upper limit of the prominence: max_j min(max_{i<j} (y_j - y_i + c s_ij), max_{k>j} (y_j - y_k + c s_jk)), >= 0.

    A larger prominence is rejected at each j by one of two contrasts, each tested at (1 - level)/2.
    """
    y, s = noise.mean, np.sqrt(noise.se[:, None] ** 2 + noise.se**2)
    d = y - y[:, None] + critical(noise.se, noise.df, (1 + level) / 2) * s  # d_ij = y_j - y_i + c s_ij
    return max(0.0, float(rise_and_fall(d).max()))


def prominence_lower(noise: Noise, quantile: float) -> float:
    """Lower limit of the prominence, the search test turned round: above 0 iff T exceeds its null's `quantile`."""
    y, s = noise.mean, np.sqrt(noise.se[:, None] ** 2 + noise.se**2)
    d = y - y[:, None] - quantile * s
    return max(0.0, float(rise_and_fall(d).max()))


def second_descent(noise: Noise, found: Peak, level: float) -> bool | None:
    """Does the curve get below its first minimum after the peak? None where the noise leaves it open.

    True iff one later point lies below ALL earlier ones (no correction for these, Bonferroni over the later ones).
    """
    y, v = noise.mean, noise.se**2
    before, after = np.arange(found.top), np.arange(found.top + 1, len(y))

    def below(low: Array, high: Array) -> bool:
        c = critical(noise.se, noise.df, 1 - (1 - level) / 2 / len(low))[np.ix_(low, high)]
        s = np.sqrt(v[low][:, None] + v[high])
        return bool(np.any(np.all(y[high] - y[low][:, None] > c * s, axis=1)))

    return True if below(after, before) else False if below(before, after) else None


def recovery(y: Array, found: Peak) -> float:
    """(y_peak - min after)/(y_peak - first minimum), y [K]: above 1 benign, below 1 malign."""
    top = y[found.top]
    return float((top - y[found.second_min]) / (top - y[found.first_min]))


def recovery_interval(noise: Noise, found: Peak, level: float) -> tuple[float, float] | None:
    """Fieller's interval of the recovery (1954), minima held where they are; None where it is unbounded."""
    y, v = noise.mean, noise.se**2
    at = [found.first_min, found.top, found.second_min]
    c2 = stdtrit(min(noise.df[at].sum(), 1e6), (1 + level) / 2) ** 2
    a, b = y[found.top] - y[found.second_min], y[found.top] - y[found.first_min]
    va, vb, cov = v[found.top] + v[found.second_min], v[found.top] + v[found.first_min], v[found.top]
    # All r with (a - r b)^2 <= c2 (va - 2 r cov + r^2 vb).
    q2, q1, q0 = b**2 - c2 * vb, a * b - c2 * cov, a**2 - c2 * va
    root = q1**2 - q2 * q0
    if not (q2 > 0 and root >= 0):
        return None
    return float((q1 - np.sqrt(root)) / q2), float((q1 + np.sqrt(root)) / q2)


def valley(y: Array, weights: Array) -> Array:
    """The falling-then-rising curve [K] nearest to y (weighted least squares): two isotonic fits, best turn."""
    from scipy.optimize import isotonic_regression  # half of this package's import time

    best, least = np.asarray(y, float), np.inf
    for turn in range(len(y) + 1):
        falling = isotonic_regression(y[:turn], weights=weights[:turn], increasing=False).x if turn else y[:0]
        rising = isotonic_regression(y[turn:], weights=weights[turn:]).x if turn < len(y) else y[:0]
        fitted = np.concatenate([falling, rising])
        error = float(weights @ (y - fitted) ** 2)
        if error < least:
            best, least = fitted, error
    return best
