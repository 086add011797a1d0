"""Times known only to lie in (a, b]: maximum likelihood of exponential, Weibull and log-normal laws (measures.md 3.2).

ln T = b_0 + sum_k b_k x_k + scale W: covariates move ln T (accelerated failure time), W is extreme-value (exponential,
scale 1; Weibull, shape 1/scale) or standard normal (log-normal). Log-likelihood sum ln[S(a) - S(b)], ln S(a) where b is
infinite, the density where a = b. An onset that was never reached, or passed before the first evaluation, counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtri, stdtrit

Array = np.ndarray
SCALES = (-7.0, 4.0)  # bounds of ln scale; at the lower one T is a function of the covariates
LARGEST_SE = 50.0  # of a coefficient per sd of its covariate: beyond, the likelihood is flat


@dataclass(frozen=True)
class Estimate:
    """One coefficient with its Wald interval; None where the likelihood is flat or no freedom is left."""

    value: float
    se: float | None
    lo: float | None
    hi: float | None


@dataclass(frozen=True)
class SurvivalFit:
    """Coefficients of ln T by name (`intercept`, the covariates), `scale`; ends None where nothing can be said."""

    law: str
    params: Mapping[str, Estimate]
    log_likelihood: float
    aicc: float | None
    n: int
    n_events: int  # of them with a finite b
    status: str  # ok, at_bound, not_identifiable, failed
    message: str

    @property
    def rate(self) -> float:
        """exp(-intercept): the exponential law's rate where all covariates are 0."""
        return float(np.exp(-self.params["intercept"].value))


def _extreme_value(a: Array, b: Array) -> Array:
    """ln[S(a) - S(b)] for S(z) = exp(-e^z), a < b."""
    return -np.exp(a) + np.log(-np.expm1(np.exp(a) - np.exp(b)))


def _extreme_value_density(z: Array) -> Array:
    return z - np.exp(z)


def _normal(a: Array, b: Array) -> Array:
    """ln[S(a) - S(b)] for S(z) = Phi(-z), a < b, from the tail in which both are small."""
    flip = a + b > 0
    high, low = np.where(flip, -a, b), np.where(flip, -b, a)
    log_high, log_low = log_ndtr(high), log_ndtr(low)
    return log_high + np.log(-np.expm1(log_low - log_high))


def _normal_density(z: Array) -> Array:
    return -(z**2 + np.log(2 * np.pi)) / 2


LAWS: Mapping[str, tuple[Callable[[Array, Array], Array], Callable[[Array], Array], bool]] = {
    "exponential": (_extreme_value, _extreme_value_density, False),  # the last: is the scale free?
    "weibull": (_extreme_value, _extreme_value_density, True),
    "lognormal": (_normal, _normal_density, True),
}


def log_likelihood(law: str, after: Array, until: Array, location: Array, scale: float) -> float:
    """sum ln[S(a) - S(b)] with a = `after`, b = `until` [n], ln T at W = 0 of `location` [n]."""
    interval, density, _ = LAWS[law]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        a, b = (np.log(after) - location) / scale, (np.log(until) - location) / scale
        exact = after == until
        terms = np.where(exact, density(b) - np.log(scale) - np.log(until), interval(a, b))
    total = terms.sum()
    return float(total) if np.isfinite(total) else -np.inf


def fit(
    law: str, after: Array, until: Array, covariates: Mapping[str, Array] | None = None, *, level: float = 0.95
) -> SurvivalFit:
    """Fit T in (a, b] with a = `after`, b = `until` [n] (a = 0: from the start, b = inf: never seen, a = b: exact).

    Covariates as they enter ln T (take logarithms before). Wald intervals from the Hessian, where the scale is free
    with n/(n - k) and Student's t (exact for log-normal times seen exactly; k coefficients). Raises ValueError on
    intervals that are none and on covariates that cannot be told apart.
    """
    a, b = _checked(law, after, until)
    names, x = _design(covariates or {}, len(a))
    free = LAWS[law][2]
    # Orthonormal columns: the search and its Hessian do not depend on units, the answer is turned back.
    q, r = np.linalg.qr(x)
    q, back = q * np.sqrt(len(a)), np.linalg.inv(r) * np.sqrt(len(a))
    middle = np.where(np.isinf(b), np.log(np.maximum(a, 1e-300)), np.log(np.where(a > 0, np.sqrt(a * b), b)))

    def loss(theta: Array) -> float:
        scale = np.exp(theta[-1]) if free else 1.0
        found = -log_likelihood(law, a, b, q @ theta[: q.shape[1]], scale)
        return found if np.isfinite(found) else 1e300

    start = np.append(q.T @ middle / len(a), [0.0] if free else [])
    theta = _minimum(loss, start, free)
    hessian = _hessian(loss, theta)
    status, message, cov = _judged(theta, hessian, b, free)
    turn = np.eye(len(theta))
    turn[: q.shape[1], : q.shape[1]] = back
    value = turn @ theta
    se = np.sqrt(np.diag(turn @ cov @ turn.T)) if cov is not None else np.full(len(theta), np.nan)
    spare = len(a) - q.shape[1]
    z = stdtrit(spare, (1 + level) / 2) if free and spare > 0 else ndtri((1 + level) / 2)
    if free:  # as for a line's residuals: the scale of maximum likelihood is too small by this
        se = se * np.sqrt(len(a) / spare) if spare > 0 else np.full(len(theta), np.nan)
    params = {}
    for name, v, s in zip([*names, *(["ln scale"] if free else [])], value, se, strict=True):
        ends = (float(v - z * s), float(v + z * s)) if s > 0 else None
        if name == "ln scale":
            ends = ends and (float(np.exp(ends[0])), float(np.exp(ends[1])))
            name, v, s = "scale", np.exp(v), np.exp(v) * s
        params[name] = Estimate(float(v), float(s) if ends else None, *(ends or (None, None)))
    n, k, best = len(a), len(theta), -loss(theta)
    aicc = 2 * k - 2 * best + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else None
    return SurvivalFit(law, params, best, aicc, n, int(np.isfinite(b).sum()), status, message)


def _checked(law: str, after: Array, until: Array) -> tuple[Array, Array]:
    if law not in LAWS:
        raise ValueError(f"law {law!r}: known are {', '.join(LAWS)}")
    a, b = np.broadcast_arrays(np.asarray(after, float), np.asarray(until, float))
    bad = np.flatnonzero(~((a >= 0) & (b >= a) & (b > 0) & (a < np.inf)))
    if not a.size or bad.size:
        what = f"row {bad[0]}: ({a[bad[0]]:g}, {b[bad[0]]:g}]" if a.size else "no row"
        raise ValueError(f"{what} is no interval of a time: 0 <= a <= b, b > 0; leave out what was not measured")
    return a, b


def _design(covariates: Mapping[str, Array], n: int) -> tuple[list[str], Array]:
    names = ["intercept", *covariates]
    x = np.column_stack([np.ones(n), *[np.broadcast_to(np.asarray(v, float), n) for v in covariates.values()]])
    if not np.isfinite(x).all():
        name = names[int(np.flatnonzero(~np.isfinite(x).all(0))[0])]
        raise ValueError(f"covariate {name}: a value is missing or infinite; leave the row out")
    size = np.linalg.norm(x, axis=0)
    if np.any(size == 0) or np.linalg.matrix_rank(x / size, tol=1e-8 * np.sqrt(n)) < x.shape[1]:
        raise ValueError(f"covariates {', '.join(covariates)} cannot be told apart in {n} rows: leave one out")
    return names, x


def _minimum(loss: Callable[[Array], float], start: Array, free: bool) -> Array:
    """From two widths of the scale: simplex, then gradient steps; the better one."""
    bounds = [(None, None)] * (len(start) - free) + ([SCALES] if free else [])
    from scipy.optimize import minimize  # half of this package's import time

    best: tuple[float, Array] = (np.inf, start)
    for ln_scale in (0.0, -1.5) if free else (0.0,):
        theta = np.append(start[:-1], ln_scale) if free else start
        for _ in range(2):  # a restarted simplex does not stay stuck
            theta = minimize(loss, theta, method="Nelder-Mead", bounds=bounds, options={"maxiter": 4000, "xatol": 1e-8,
                "fatol": 1e-10}).x  # fmt: skip
        best = min(best, (loss(theta), theta), key=lambda pair: pair[0])
    for _ in range(3):  # Newton: from the simplex's 1e-8 to rounding, where it lowers the loss
        gradient, hessian = _gradient(loss, best[1]), _hessian(loss, best[1])
        if np.all(np.linalg.eigvalsh(hessian) > 0):
            step = np.linalg.solve(hessian, gradient)
            if loss(best[1] - step) <= best[0]:
                best = (loss(best[1] - step), best[1] - step)
    return best[1]


def _gradient(loss: Callable[[Array], float], theta: Array, h: float = 1e-5) -> Array:
    eye = h * np.eye(len(theta))
    return np.array([(loss(theta + e) - loss(theta - e)) / (2 * h) for e in eye])


def _hessian(loss: Callable[[Array], float], theta: Array, h: float = 1e-4) -> Array:
    """Central second differences [k k]."""
    eye = h * np.eye(len(theta))
    return np.array(
        [
            [
                (loss(theta + e + f) - loss(theta + e - f) - loss(theta - e + f) + loss(theta - e - f)) / (4 * h**2)
                for f in eye
            ]
            for e in eye
        ]
    )


def _judged(theta: Array, hessian: Array, b: Array, free: bool) -> tuple[str, str, Array | None]:
    """Status, what is said, covariance of theta (None where no interval can be given)."""
    if not np.isfinite(b).any():
        return "not_identifiable", "no row has an upper end: the time was never seen to end; train longer", None
    if free and theta[-1] - SCALES[0] < 0.01:
        return "at_bound", "every interval agrees with times that the covariates fix: evaluate more densely", None
    lowest = np.linalg.eigvalsh(hessian).min() if np.isfinite(hessian).all() else -np.inf
    if lowest < 1 / LARGEST_SE**2:
        return "not_identifiable", "the likelihood is flat in some direction: too few bracketed times", None
    return "ok", "", np.linalg.inv(hessian)
