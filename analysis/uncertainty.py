"""Bootstrap by cluster, and prediction intervals for rows nobody measured.

Rows of one run share its luck, so whole runs are drawn. With few runs a percentile interval is too short: its arms are
stretched by Student's t and by G/(G - 1) (Hesterberg 2015, the expanded percentile interval).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from analysis.estimate import FitResult, with_intervals
from analysis.problem import FIRST_OVERDISPERSION
from analysis.search import descend

Array = np.ndarray
BLOCK = 256  # bootstrap draws searched together
FORMLESS = 1e-12  # of the Hessian's eigenvalues: below it a draw does not determine the parameters


def bootstrap(result: FitResult, cluster: Array | None = None, *, draws: int = 1000, seed: int = 0) -> FitResult:
    """The same fit with intervals from `draws` resamplings of whole clusters [n] (None: every row is its own).

    Rows of `cluster` are those of the fit. Raises ValueError on fewer than two clusters. Deterministic in `seed`.
    """
    problem = result.problem
    n = len(problem.y)
    labels = np.arange(n) if cluster is None else np.unique(np.asarray(cluster).astype(str), return_inverse=True)[1]
    if labels.size != n:
        raise ValueError(f"{labels.size} cluster labels for {n} rows fitted: give one label a row")
    groups = int(labels.max()) + 1 if n else 0
    if groups < 2:
        raise ValueError(
            "one cluster: drawing whole clusters needs at least 2, and 8 or more to be trusted; name another"
        )
    if result.best is None:
        return result
    rng = np.random.default_rng(seed)
    found, failed = [], 0
    for size in _blocks(draws):
        chosen = rng.integers(groups, size=(size, groups))
        times = np.stack([np.bincount(row, minlength=groups) for row in chosen])
        u, good = _refit(result, times[:, labels].astype(float))
        found.append(u[good])
        failed += int(np.sum(~good))
    drawn = np.concatenate(found)
    said = {"draws": draws, "failed": failed, "seed": seed}
    if len(drawn) < max(20, draws // 2):
        note = f"{failed} of {draws} bootstrap draws determined no parameters: intervals are those of the profile"
        message = "; ".join(part for part in (result.message, note) if part)
        return replace(result, bootstrap=said, message=message)
    lo, hi, se = _ends(result, drawn, groups)
    note = f"{failed} of {draws} bootstrap draws determined no parameters and were left out" if failed else ""
    if groups <= result.free:
        few = f"only {groups} clusters for {result.free} parameters: ends rest on Student's t with 1 degree of freedom"
        note = "; ".join(part for part in (note, few) if part)
    return replace(with_intervals(result, lo, hi, se, note), draws=drawn, bootstrap=said)


def _blocks(draws: int) -> list[int]:
    return [BLOCK] * (draws // BLOCK) + ([draws % BLOCK] if draws % BLOCK else [])


def _refit(result: FitResult, weights: Array) -> tuple[Array, Array]:
    """Minima [b k] under row weights [b n], and which of the draws determined them [b]."""
    problem = result.problem
    start = np.tile(result.best, (len(weights), 1))
    if problem.objective.nuisance:
        start[:, -1] = np.maximum(start[:, -1], FIRST_OVERDISPERSION)  # at 0 some draws would rest there
    found = descend(problem, start, weights=weights)
    moving = problem.free[: len(problem.names)]
    hessian = problem.evaluate(found.u, weights).hessian[:, : moving.size, : moving.size][:, moving][:, :, moving]
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(hessian, axis1=1, axis2=2)), 1e-300))
    shape = hessian / scale[:, :, None] / scale[:, None, :]
    good = np.isfinite(found.value) & found.converged & np.all(np.isfinite(shape), axis=(1, 2))
    smallest = np.linalg.eigvalsh(np.where(good[:, None, None], shape, np.eye(int(moving.sum()))))[:, 0]
    return found.u, good & (smallest > FORMLESS)


def _ends(result: FitResult, drawn: Array, groups: int) -> tuple[Array, Array, Array]:
    """Stretched percentile ends and standard errors [k] in natural units; the stretch acts in search coordinates."""
    problem, count = result.problem, len(result.problem.names)
    u, best = drawn[:, :count], result.best[:count]
    freedom = max(groups - result.free, 1)
    stretch = stdtrit(freedom, (1 + result.level) / 2) / ndtri((1 + result.level) / 2)
    stretch *= np.sqrt(groups / (groups - 1))
    tail = (1 - result.level) / 2
    low, high = np.quantile(u, [tail, 1 - tail], axis=0)
    lo = problem.natural(best - stretch * np.maximum(best - low, 0))
    hi = problem.natural(best + stretch * np.maximum(high - best, 0))
    # Half the distance between the 16 % and 84 % quantiles: one wild draw does not decide a standard error.
    below, above = np.quantile(problem.natural(drawn), [ndtr(-1), ndtr(1)], axis=0)
    return lo, hi, (above - below) / 2 * np.sqrt(groups / (groups - 1))


@dataclass(frozen=True)
class Predictions:
    value: Array  # [r]
    lo: Array
    hi: Array
    extrapolated: Array  # [r] a variable lies outside the range of the rows fitted


def predict(
    result: FitResult, x: Mapping[str, Array], *, trials: Array | None = None, draws: int = 4000, seed: int = 0
) -> Predictions:
    """Where a new measurement at x [r] would fall: parameters, scatter between rows and counting noise together.

    For counts: the rate of `trials` [r] new samples; without trials, the rate of the run itself. NaN: x is missing.
    """
    problem, law = result.problem, result.law
    x = {name: np.asarray(x[name], float) for name in law.variables}
    rows = len(next(iter(x.values())))
    whole = np.all([np.isfinite(column) & (column > 0) for column in x.values()], axis=0)
    value = np.full((3, rows), np.nan)
    outside = np.zeros(rows, bool)
    for name, column in x.items():
        known = problem.x[name]
        outside |= (column < known.min() * (1 - 1e-12)) | (column > known.max() * (1 + 1e-12)) if len(known) else True
    if result.best is not None and whole.any():
        inside = {name: column[whole] for name, column in x.items()}
        many = None if trials is None else np.broadcast_to(np.asarray(trials, float), rows)[whole]
        drawn = _new_rows(result, inside, many, draws, np.random.default_rng(seed))
        tail = (1 - result.level) / 2
        value[0, whole] = result.predict(inside)
        value[1:, whole] = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return Predictions(*value, outside)


def _new_rows(
    result: FitResult, x: Mapping[str, Array], trials: Array | None, draws: int, rng: np.random.Generator
) -> Array:
    """Simulated new measurements [draws r]."""
    problem, kind = result.problem, result.problem.objective.kind
    n, freedom = len(problem.y), max(len(problem.y) - result.free, 1)
    # Flat-prior draws: for a law linear in its parameters this is exactly Student's prediction interval.
    stretch = np.sqrt(freedom / rng.chisquare(freedom, draws)) if kind != "binomial" else np.ones(draws)
    u = _parameters(result, stretch, rng)
    with np.errstate(all="ignore"):
        y = problem.law.predict(x, problem.natural(u))
    if kind == "binomial":
        return _counts(y, np.clip(result.overdispersion, 1e-9, None), trials, rng)
    residuals = problem.residuals(result.best)
    if kind == "lsq":
        return y + (stretch * np.sqrt(np.sum(residuals**2) / freedom))[:, None] * rng.standard_normal(y.shape)
    if kind == "lsq_log":
        spread = (stretch * np.sqrt(np.sum(residuals**2) / freedom))[:, None]
        return y * np.exp(spread * rng.standard_normal(y.shape))
    # Huber: the scatter is not normal, that is why it was chosen; the residuals themselves are drawn.
    return y * np.exp(rng.choice(residuals, y.shape) * np.sqrt(n / freedom))


def _parameters(result: FitResult, stretch: Array, rng: np.random.Generator) -> Array:
    """Draws of the search coordinates [draws k]: of the bootstrap where there was one, else normal at the minimum."""
    if result.draws is not None:
        return result.draws[rng.integers(len(result.draws), size=len(stretch))]
    values, vectors = np.linalg.eigh(result.covariance)
    noise = rng.standard_normal((len(stretch), values.size)) * np.sqrt(np.maximum(values, 0))
    return np.clip(result.best + stretch[:, None] * (noise @ vectors.T), *result.problem.limits)


def _counts(rate: Array, c: float, trials: Array | None, rng: np.random.Generator) -> Array:
    """Rates of new runs [draws r], each of `trials` samples where given."""
    f = np.clip(rate, 1e-12, 1 - 1e-12)
    run = rng.beta(f * (1 - c) / c, (1 - f) * (1 - c) / c) if c > 1e-8 else f
    if trials is None:
        return run
    whole = np.where(np.isfinite(trials) & (trials > 0), np.round(np.nan_to_num(trials)), 0).astype(np.int64)
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, rng.binomial(whole, run) / np.maximum(whole, 1), np.nan)
