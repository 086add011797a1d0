"""Prediction intervals for rows and runs nobody measured: parameters, luck of runs, scatter of rows, counting noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, stdtrit

from analysis.fitting.between_runs import typical
from analysis.fitting.result import FitResult
from analysis.fitting.sandwich import on_scale
from analysis.fitting.uncertainty import ClusteredFit

Array = np.ndarray


@dataclass(frozen=True)
class Predictions:
    """The law at r rows, and where a new measurement of each would fall; NaN where nothing can be told."""

    value: Array  # [r]
    lo: Array  # [r]
    hi: Array  # [r]
    extrapolated: Array  # [r] a variable lies outside the range of the rows fitted


def predict(
    result: FitResult, x: Mapping[str, Array], *, trials: Array | None = None, draws: int = 4000, seed: int = 0
) -> Predictions:
    """Where a new measurement at x [r] would fall: parameters, scatter between rows and counting noise together.

    After by_run or bootstrap it is one of a new run: the scatter between runs is part of it, with the degrees of
    freedom that the runs leave. For counts: the rate of `trials` [r] new samples; without trials, the rate of the run
    itself. NaN: x is missing, or nothing can be told.
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
        rng = np.random.default_rng(seed)
        value[0, whole] = result.predict(inside)
        if isinstance(result, ClusteredFit) and problem.objective.kind != "binomial":
            value[1:, whole] = _of_new_run(result, inside)
        else:
            if isinstance(result, ClusteredFit):
                drawn = _counts_of_new_runs(result, inside, many, draws, rng)
            else:
                drawn = _new_rows(result, inside, many, draws, rng)
            tail = (1 - result.level) / 2
            value[1:, whole] = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return Predictions(value[0], value[1], value[2], outside)


def _uncertain(result: ClusteredFit, x: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """On the objective's scale: the law at x, its variance by run and its degrees of freedom, each [r]."""
    problem, free = result.problem, result.sandwich.free
    theta = problem.natural(result.minimum[None])
    log = np.array([name in problem.law.log for name in problem.names])
    fitted, stretch = on_scale(problem, problem.law.raw(x, theta))
    jacobian = problem.law.raw_gradient(x, theta)[0] * np.where(log, theta[0], 1.0) * stretch[0][:, None]
    variance, freedom = result.sandwich.variance(jacobian[:, free])
    return fitted[0], variance, freedom


def _of_new_run(result: ClusteredFit, x: Mapping[str, Array]) -> tuple[Array, Array]:
    """Ends [r], [r]: Student's, of the variances of the law, of runs and of rows.

    Its degrees of freedom take law and scatter for fully correlated: both rest on the same differences between runs.
    For a line through one row a run this is the textbook's interval.
    """
    scatter, n, k = result.scatter, result.n, result.free
    fitted, variance, freedom = _uncertain(result, x)
    new = scatter.between**2 + scatter.within**2
    spare = max(n - scatter.runs - (k - (scatter.runs - scatter.freedom)), 1.0)
    each = max(n / scatter.runs, 1.0)
    # sd of both parts of the estimated scatter: that of runs' means, and what of the rows is not in them.
    of_means = (scatter.between**2 + scatter.within**2 / each) ** 2 / max(scatter.freedom, 1.0)
    of_rows = (scatter.within**2 * (1 - 1 / each)) ** 2 / spare
    doubt = variance / np.sqrt(freedom) + np.sqrt(of_means + of_rows)
    total = variance + new
    half = stdtrit(np.maximum((total / np.maximum(doubt, 1e-300)) ** 2, 1.0), (1 + result.level) / 2) * np.sqrt(total)
    if result.problem.objective.scale == "log":
        return np.exp(fitted - half), np.exp(fitted + half)
    return fitted - half, fitted + half


def _counts_of_new_runs(
    result: ClusteredFit, x: Mapping[str, Array], trials: Array | None, draws: int, rng: np.random.Generator
) -> Array:
    """Rates measured in new runs [draws r]: parameters, luck of the run, correlation within it, counting noise."""
    scatter = result.scatter
    fitted, variance, freedom = _uncertain(result, x)
    shape = (draws, len(fitted))
    shift = rng.standard_t(np.nan_to_num(freedom, nan=1.0), shape) * np.sqrt(variance)
    stretch = np.sqrt(scatter.freedom / rng.chisquare(scatter.freedom, draws)) if scatter.freedom > 0 else 1.0
    luck = scatter.between * rng.standard_normal(shape) * np.broadcast_to(stretch, draws)[:, None]
    with np.errstate(over="ignore"):
        rate = expit(typical(fitted, scatter.between) + shift + luck)
    return _counts(rate, scatter.within, trials, rng)


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
        return _counts(y, max(result.overdispersion or 0.0, 1e-9), trials, rng)
    residuals = problem.residuals(result.minimum)
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
    assert result.covariance is not None  # a fit without draws was made by `fit`
    values, vectors = np.linalg.eigh(result.covariance)
    noise = rng.standard_normal((len(stretch), values.size)) * np.sqrt(np.maximum(values, 0))
    return np.clip(result.minimum + stretch[:, None] * (noise @ vectors.T), *result.problem.limits)


def _counts(rate: Array, c: float, trials: Array | None, rng: np.random.Generator) -> Array:
    """Rates of new runs [draws r], each of `trials` samples where given."""
    f = np.clip(rate, 1e-12, 1 - 1e-12)
    run = rng.beta(f * (1 - c) / c, (1 - f) * (1 - c) / c) if c > 1e-8 else f
    if trials is None:
        return run
    whole = np.where(np.isfinite(trials) & (trials > 0), np.round(np.nan_to_num(trials)), 0).astype(np.int64)
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, rng.binomial(whole, run) / np.maximum(whole, 1), np.nan)
