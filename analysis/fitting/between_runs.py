"""How much runs of one setting differ beyond their rows: variance components on the scale fitted (measures.md 3.5).

lsq, lsq_log, huber_log: residual = luck of the run + luck of the row, by moments (Searle et al. 1992). binomial: a
normal luck of sd tau on the logit, the same for all rows of a run, integrated out by Gauss-Hermite quadrature; within
a run counts are beta-binomial. The law stays that of the mean rate over runs (Heagerty 1999), as it was fitted.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtri, expit, fdtri, gammaln, logsumexp, xlog1py, xlogy

from analysis.fitting.problem import Alike, Problem, alike
from analysis.fitting.sandwich import Working, on_scale

Array = np.ndarray
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)  # fine enough for a run that knows its luck to tau/5
WEIGHTS = WEIGHTS / WEIGHTS.sum()
WIDEST, MOST = 8.0, 0.9  # tau and c that are tried
PLAIN = 1e-6  # c below which differences of ln Gamma at 1/c lose digits: the plain binomial


@dataclass(frozen=True)
class Scatter:
    """`between`: sd of runs, `within`: sd of rows of a run (binomial: the correlation c left within it)."""

    between: float
    lo: float
    hi: float | None  # None: no upper end
    within: float
    runs: int
    freedom: float  # of `between`
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """The `between_runs` of a fit's answer."""
        return dict(vars(self))


class _Sums(NamedTuple):
    size: Array  # rows of each run [G]
    mean: Array  # mean residual of each run [G]
    inside: float  # sum of squares around them
    fitted: float  # how many parameters the runs' means decide


def between_runs(problem: Problem, u: Array, rows: Working, run: Array, level: float) -> Scatter:
    """Of the fit at u [k], rows in runs 0 to G - 1, `run` [n]; corrected for the scatter that the fit has used up."""
    fitted = means_fitted(rows, run)
    if problem.objective.kind == "binomial":
        return _of_counts(problem, u, run, fitted, level)
    r = problem.residuals(u)
    size = np.bincount(run).astype(float)
    mean = np.bincount(run, r) / size
    return _of_residuals(_Sums(size, mean, float(np.sum((r - mean[run]) ** 2)), fitted), rows.free.size, level)


def means_fitted(rows: Working, run: Array) -> float:
    """Trace of the fit's projection on the means of `run` [n]: of k parameters, how many differences of runs decide."""
    weighted = rows.weight[:, None] * rows.jacobian
    means = np.zeros((int(run.max()) + 1, rows.free.size))
    np.add.at(means, run, weighted)
    total = np.bincount(run, rows.weight)
    share = means / np.where(total > 0, total, 1.0)[:, None]  # a run at rate 0 has no weight, and decides nothing
    return float(np.trace(np.linalg.pinv(weighted.T @ rows.jacobian) @ (means.T @ share)))


def _of_residuals(sums: _Sums, k: int, level: float) -> Scatter:
    runs, n, tail = len(sums.size), float(sums.size.sum()), (1 - level) / 2
    freedom, spare = runs - sums.fitted, n - runs - (k - sums.fitted)
    if freedom < 0.5:
        said = f"{runs} runs for {k} parameters leave no difference between runs to measure"
        return Scatter(0.0, 0.0, None, float(np.sqrt(sums.inside / max(spare, 1))), runs, 0.0, said)
    among = float(np.sum(sums.size * sums.mean**2)) / freedom
    if spare < 0.5:
        said = "one row a run: what differs between runs and within one cannot be told apart; all counts as between"
        lo, hi = (np.sqrt(freedom * among / chdtri(freedom, p)) for p in (tail, 1 - tail))
        return Scatter(float(np.sqrt(among)), float(lo), float(hi), 0.0, runs, freedom, said)
    each = (n - np.sum(sums.size**2) / n) / (runs - 1)
    within = sums.inside / spare
    found = [max((mean - within) / each, 0.0) for mean in (among, among / fdtri(freedom, spare, 1 - tail),
             among / fdtri(freedom, spare, tail))]  # fmt: skip
    between, lo, hi = np.sqrt(found)
    return Scatter(float(between), float(lo), float(hi), float(np.sqrt(within)), runs, float(freedom))


def _of_counts(problem: Problem, u: Array, run: Array, fitted: float, level: float) -> Scatter:
    """tau and c of most likelihood at the fitted rates; tau grown by sqrt(G/(G - fitted)), as a sd's n - 1."""
    from scipy.optimize import brentq, minimize  # half of this package's import time

    mean = on_scale(problem, problem.law.raw(problem.x, problem.natural(u[None])))[0][0]
    runs = int(run.max()) + 1
    if np.bincount(run).max() < 2:
        said = "one row a run: the luck of runs is in the overdispersion; all of it counts as between rows"
        return Scatter(0.0, 0.0, None, float(u[-1]), runs, runs - fitted, said)

    kinds = alike([mean, problem.y, problem.counted])

    def loss(tau: float, c: float) -> float:
        return -counts_log_likelihood(problem.y, problem.counted, mean, run, tau, c, kinds)

    bounds = ((0, WIDEST), (0, MOST))
    starts = ((0.5, 0.02), (0.05, max(float(u[-1]), 1e-3)))
    first = min(starts, key=lambda start: loss(*start))
    best = minimize(lambda v: loss(*v), first, method="L-BFGS-B", bounds=bounds)
    tau, c = (float(value) for value in best.x)

    def rise(at: float) -> float:
        return loss(at, c) - best.fun - chdtri(1, 1 - level) / 2  # c held: it is told by the rows inside runs

    lo = brentq(rise, 0, tau, xtol=0.01) if tau > 0 and rise(0) > 0 else 0.0
    hi = brentq(rise, tau, WIDEST, xtol=0.01) if rise(WIDEST) > 0 else None
    grown = np.sqrt(runs / max(runs - fitted, 0.5))
    hi = None if hi is None else float(hi * grown)
    return Scatter(float(tau * grown), float(lo * grown), hi, c, runs, max(runs - fitted, 0.5))


def counts_log_likelihood(
    hits: Array, trials: Array, mean: Array, run: Array, tau: float, c: float, kinds: Alike | None = None
) -> float:
    """ln P of counts [n] in runs `run` [n]: logit mean rates `mean` [n], run luck tau, correlation c within a run.

    `kinds`: which rows have equal mean, hits and trials, where it is known already.
    """
    first, place = kinds or alike([mean, hits, trials])
    hits, trials = hits[first], trials[first]
    f = np.clip(expit(typical(mean, tau)[first] + tau * NODES[:, None]), 1e-12, 1 - 1e-12)  # [nodes kinds]
    terms = xlogy(hits, f) + xlog1py(trials - hits, -f)
    if c > PLAIN:
        a, b = f * (1 - c) / c, (1 - f) * (1 - c) / c
        ends = gammaln(a + b) - gammaln(a + b + trials)
        terms = gammaln(hits + a) + gammaln(trials - hits + b) - gammaln(a) - gammaln(b) + ends
    terms += gammaln(trials + 1) - gammaln(hits + 1) - gammaln(trials - hits + 1)
    order = np.argsort(run, kind="stable")
    starts = np.flatnonzero(np.diff(run[order], prepend=-1))
    by_run = np.add.reduceat(np.take(terms, place, axis=1)[:, order], starts, axis=1)
    return float(np.sum(logsumexp(by_run, axis=0, b=WEIGHTS[:, None])))


def typical(mean: Array, tau: float) -> Array:
    """The logit of a run of middling luck where the mean rate over runs has the logit `mean` [...]."""
    x = np.asarray(mean, float) * np.sqrt(1 + 0.346 * tau**2)  # Zeger et al. 1988: the start of Newton's steps
    rate = expit(mean)
    for _ in range(30):
        f = expit(x[..., None] + tau * NODES)
        step = (f @ WEIGHTS - rate) / np.maximum((f * (1 - f)) @ WEIGHTS, 1e-300)
        x = x - np.clip(step, -2, 2)
        if np.all(np.abs(step) < 1e-10):
            break
    return x
