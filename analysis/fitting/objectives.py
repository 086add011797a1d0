"""What a fit minimises, row by row, with first and second derivatives (measures.md 3.5).

An objective looks at a law on one scale (`value`, `log` or `logit`), m [..., n], and adds up one term a row. `binomial`
has one parameter more than its law: the overdispersion c, last in the parameter vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, chdtri, digamma, expit, fdtri, gammaln

from analysis.fitting.trigamma import trigamma

Array = np.ndarray
OVERDISPERSION = (0.0, 0.95)  # bounds of c
BINOMIAL_BELOW = 1e-6  # c at which the binomial limit is more exact than differences of ln Gamma at 1/c


class Terms(NamedTuple):
    """Per row: the term, its derivatives in m, and a positive curvature that a step may always lean on."""

    value: Array
    first: Array
    second: Array
    majorant: Array
    nuisance: tuple[Array, Array, Array] | None = None  # derivatives in c: first, mixed with m, second


@dataclass(frozen=True)
class Objective:
    """A loss: the sum over rows of what `terms` makes of a law on `scale`."""

    kind: str
    scale: str  # of the law: value, log or logit
    terms: Callable[..., Terms]  # (m, y, trials, c) -> Terms
    nuisance: bool = False  # whether c is searched beside the law's parameters
    delta: float | None = None  # of Huber, in ln y


def _squares(m: Array, y: Array, trials: Array | None, c: Array | None) -> Terms:
    r = m - y
    two = np.full_like(r, 2.0)
    return Terms(r**2, 2 * r, two, two)


def _log_squares(m: Array, y: Array, trials: Array | None, c: Array | None) -> Terms:
    return _squares(m, np.log(y), trials, c)


def _huber(delta: float) -> Callable[..., Terms]:
    def terms(m: Array, y: Array, trials: Array | None, c: Array | None) -> Terms:
        r = m - np.log(y)
        size, inside = np.abs(r), np.abs(r) <= delta
        value = np.where(inside, r**2 / 2, delta * (size - delta / 2))
        majorant = delta / np.maximum(size, delta)
        return Terms(value, np.clip(r, -delta, delta), inside.astype(float), majorant)

    return terms


def _beta_binomial(m: Array, y: Array, trials: Array, c: Array, setting: Array | None = None) -> Terms:
    """-ln P of y of n, mean f = expit(m) and overdispersion c; exact derivatives in m and c.

    `setting` [n]: where in the last axis of m each row's mean stands; None: every row has its own.
    """
    own = np.arange(len(y)) if setting is None else setting
    f, g = np.maximum(expit(m), 1e-150), np.maximum(expit(-m), 1e-150)  # their squares stay above 0
    tiny = np.asarray(c) < BINOMIAL_BELOW
    if tiny.all():
        chosen = _binomial_limit(m[..., own], f[..., own], g[..., own], y, trials)
    elif not tiny.any():
        chosen = _beta_binomial_above(f, g, y, trials, c, own)
    else:
        plain = _binomial_limit(m[..., own], f[..., own], g[..., own], y, trials)
        mixed = _beta_binomial_above(f, g, y, trials, np.where(tiny, 0.5, c), own)
        chosen = tuple(np.where(tiny, p, q) for p, q in zip(plain, mixed, strict=True))
    value, first, second, in_c, in_cm, in_cc = chosen
    slope = np.take(f * g, own, axis=-1)
    return Terms(value, first, second, trials * slope / (1 + (trials - 1) * c) + 1e-12 * trials, (in_c, in_cm, in_cc))


def _binomial_limit(m: Array, f: Array, g: Array, y: Array, n: Array) -> tuple[Array, ...]:
    """The limit c -> 0 and its derivatives in (m), (m m), (c), (m c), (c c).

    P = C(n, y) prod_{j<y}(f + j t) prod_{j<n-y}(g + j t) / prod_{j<n}(1 + j t) with t = c/(1 - c), expanded at t = 0.
    """
    z = n - y
    value = -(_ln_choose(n, y) - y * np.logaddexp(0, -m) - z * np.logaddexp(0, m))
    pairs_y, pairs_z, pairs_n = (k * (k - 1) / 2 for k in (y, z, n))
    squares_y, squares_z, squares_n = ((k - 1) * k * (2 * k - 1) / 6 for k in (y, z, n))
    with np.errstate(over="ignore"):  # a hit where f is 0: the term is infinite and the step refused
        in_t = pairs_y / f + pairs_z / g - pairs_n
        in_tt = -squares_y / f**2 - squares_z / g**2 + squares_n
        in_tm = pairs_z * f / g - pairs_y * g / f
    return value, n * f - y, n * f * g, -in_t, -in_tm, -(in_tt + 2 * in_t)


def _beta_binomial_above(f: Array, g: Array, y: Array, n: Array, c: Array, own: Array) -> tuple[Array, ...]:
    """The same for c > 0, by s = (1 - c)/c, alpha = f s, beta = g s; c is one for all, row k has f[..., own[k]]."""
    s = (1 - c) / c
    a, b = f * s, g * s
    # What depends on the mean alone is made once for all rows that share it: these functions are the time of a fit.
    prior = (betaln(a, b), digamma(a), digamma(b), trigamma(a), trigamma(b))
    ln_prior, psi_a, psi_b, psi1_a, psi1_b, f, g, a, b = (np.take(part, own, axis=-1) for part in (*prior, f, g, a, b))
    value = -(_ln_choose(n, y) + betaln(y + a, n - y + b) - ln_prior)
    pa, pb = digamma(y + a) - psi_a, digamma(n - y + b) - psi_b
    qa, qb = trigamma(y + a) - psi1_a, trigamma(n - y + b) - psi1_b
    kinds, which = np.unique(n, return_inverse=True)  # rows of equal trials share what depends on them alone
    ps, qs = ((psi(kinds + s) - psi(s))[..., which] for psi in (digamma, trigamma))
    slope = f * g  # df/dm; its derivative is slope (g - f)
    in_f, in_ff = s * (pa - pb), s**2 * (qa + qb)
    in_s, in_ss = f * pa + g * pb - ps, f**2 * qa + g**2 * qb - qs
    in_fs = pa - pb + s * (f * qa - g * qb)
    ds, dds = -1 / c**2, 2 / c**3  # of s in c
    in_m, in_mm = in_f * slope, in_ff * slope**2 + in_f * slope * (g - f)
    return value, -in_m, -in_mm, -in_s * ds, -in_fs * slope * ds, -(in_ss * ds**2 + in_s * dds)


def _ln_choose(n: Array, y: Array) -> Array:
    return gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)


def objective(spec: str) -> Objective:
    """The objective named lsq, lsq_log, huber_log:DELTA or binomial; raises ValueError."""
    kind, _, option = spec.partition(":")
    if kind == "huber_log":
        try:
            delta = float(option)
        except ValueError:
            delta = -1.0
        if not 0 < delta < np.inf:
            raise ValueError(f"loss {spec!r}: huber_log needs a positive width, for instance huber_log:0.001")
        return Objective(spec, "log", _huber(delta), delta=delta)
    known = {
        "lsq": Objective("lsq", "value", _squares),
        "lsq_log": Objective("lsq_log", "log", _log_squares),
        "binomial": Objective("binomial", "logit", _beta_binomial, nuisance=True),
    }
    if spec not in known:
        raise ValueError(f"loss {spec!r} is unknown: use lsq, lsq_log, huber_log:DELTA or binomial")
    return known[spec]


def profile_rise(objective: Objective, minimum: float, residuals: Array, free: int, level: float) -> float:
    """By how much a profile may rise above the minimum inside the interval of this level; inf without freedom left.

    `residuals` [n] are those of the scale fitted, `free` the number of free parameters k of the law.
    """
    n = residuals.size
    if objective.kind == "binomial":
        return chdtri(1, 1 - level) / 2
    if n <= free:
        return np.inf
    if objective.delta is None:
        return minimum * fdtri(1, n - free, level) / (n - free)
    slope, variance = huber_sandwich(objective.delta, residuals, free)
    # Of the robust form 2 (objective - minimum) a/b; F instead of its limit chi2 for few rows.
    return fdtri(1, n - free, level) * variance / (2 * slope)


def huber_sandwich(delta: float, residuals: Array, free: int) -> tuple[float, float]:
    """a = mean psi' of residuals [n], by density where delta is below their sd; b = mean psi^2 (over n - free)."""
    spread = float(np.std(residuals))
    inside = float(np.mean(np.abs(residuals) <= delta))
    slope = 2 * delta * _density_at_zero(residuals) if delta < spread else inside
    return slope, float(np.sum(np.clip(residuals, -delta, delta) ** 2) / (residuals.size - free))


def _density_at_zero(residuals: Array) -> float:
    """Gaussian kernel density of the residuals at 0, bandwidth by Scott's rule."""
    width = float(np.std(residuals, ddof=1)) * residuals.size**-0.2
    return float(np.mean(np.exp(-((residuals / width) ** 2) / 2)) / (width * np.sqrt(2 * np.pi)))
