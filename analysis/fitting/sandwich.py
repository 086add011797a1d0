"""How far parameters are known where the rows of a run share its luck: a sandwich that holds for few runs.

Bias-reduced (CR2) variances with the degrees of freedom of Satterthwaite (Bell & McCaffrey 2002), these under a random
intercept by run (Imbens & Kolesar 2016), for any objective: written in the scores of runs, for a function of matrices
obeys X' f(X M X') = f(X'X M) X'. k is the number of free parameters, G that of runs.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit

from analysis.fitting.objectives import huber_sandwich
from analysis.fitting.problem import Problem
from analysis.rates import effective_trials

Array = np.ndarray
SATURATED = 1e-8  # a direction that one run alone decides (leverage 1) shows no scatter: it is left out


@dataclass(frozen=True)
class Working:
    """The fit at its minimum as weighted least squares, row by row."""

    free: Array  # which of the law's parameters [k] of its parameters
    jacobian: Array  # [n k] of the law on the objective's scale, in search coordinates
    score: Array  # [n] derivative of the objective in the law
    weight: Array  # [n] its expected curvature


@dataclass(frozen=True)
class Sandwich:
    """Scores and information by run; variances of linear functions of the search coordinates."""

    free: Array  # [k] positions among the law's parameters
    scores: Array  # [G k]
    adjust: Array  # [G k k] maps a direction to the weights of each run's scores in its estimate
    information: Array  # [G k k]
    spread: Array  # [G k k] of the scores under a random intercept
    inverse: Array  # [k k] of the information of all runs
    cancelled: bool  # every run's scores sum to 0 (huber: as many rows above as below): runs show no scatter at all

    def variance(self, directions: Array) -> tuple[Array, Array]:
        """Variance [r] and degrees of freedom [r] of directions [r k] in the free search coordinates."""
        total = self.spread.sum(0)
        found = [self._one(direction, total) for direction in directions]
        variance, freedom = np.array(found, float).reshape(-1, 2).T
        return variance, freedom

    def _one(self, c: Array, total: Array) -> tuple[float, float]:
        a = self.adjust @ c
        observed = np.sum(np.einsum("gk,gk->g", a, self.scores) ** 2)
        # Covariance of the G terms: D + X S X' with D diagonal, X [G 2k]; its trace and that of its square suffice.
        in_spread = np.einsum("gij,gj->gi", self.spread, a)
        b = np.einsum("gij,gj->gi", self.information, a) @ self.inverse
        d, k = np.einsum("gi,gi->g", a, in_spread), len(c)
        x, eye = np.concatenate([in_spread, b], axis=1), np.eye(k)
        s = np.block([[np.zeros((k, k)), -eye], [-eye, total]])
        low = s @ (x.T @ x)
        trace = d.sum() + np.trace(low)
        square = np.sum(d**2) + 2 * np.sum(d * np.einsum("gi,ij,gj->g", x, s, x)) + np.trace(low @ low)
        if self.cancelled or not trace > 1e-12 * d.sum() or not square > 0:
            return np.nan, np.nan
        direct = self.inverse @ c
        return observed * (direct @ total @ direct) / trace, max(trace**2 / square, 1.0)


def working(problem: Problem, u: Array) -> Working:
    """The rows' scores, weights and derivatives at the minimum u [k]; a parameter resting on a bound counts as free."""
    count = len(problem.names)
    free, theta = np.flatnonzero(problem.free[:count]), problem.natural(u[None])
    log = [name in problem.law.log for name in problem.names]
    jacobian = (problem.law.raw_gradient(problem.x, theta)[0] * np.where(log, theta[0], 1.0))[:, free]
    fitted, stretch = on_scale(problem, problem.law.raw(problem.x, theta))
    nuisance = u[None, count:] if problem.objective.nuisance else None
    score = problem.objective.terms(fitted, problem.y, problem.trials, nuisance).first[0]
    if problem.objective.kind == "binomial":
        rate = expit(fitted[0])
        weight = effective_trials(problem.counted, float(u[count])) * rate * (1 - rate)
    elif problem.objective.delta is not None:
        # The exact curvature counts rows inside delta; their density is the stable estimate of it.
        slope, _ = huber_sandwich(problem.objective.delta, problem.residuals(u), min(free.size, len(problem.y) - 1))
        weight = np.full(len(problem.y), slope)
    else:
        weight = np.full(len(problem.y), 2.0)
    return Working(free, jacobian * stretch[0][:, None], score, weight)


def on_scale(problem: Problem, raw: Array) -> tuple[Array, Array]:
    """raw [...] of a law on the objective's scale (value, log, logit) and the derivative of that in raw, each [...]."""
    scale, rate = problem.objective.scale, problem.law.rate
    if scale == "logit":
        return (raw, np.ones_like(raw)) if rate else (logit(raw), 1 / (raw * (1 - raw)))
    y, slope = (expit(raw), expit(raw) * expit(-raw)) if rate else (raw, np.ones_like(raw))
    return (np.log(y), slope / y) if scale == "log" else (y, slope)


def sandwich(rows: Working, run: Array, ratio: float) -> Sandwich:
    """Of rows in runs numbered 0 to G - 1, `run` [n]; `ratio`: variance between runs over that of a weight-1 row.

    Raises ValueError where the parameters are not determined at all.
    """
    groups, k = int(run.max()) + 1, rows.free.size
    scores, means = np.zeros((groups, k)), np.zeros((groups, k))
    information = np.zeros((groups, k, k))
    weighted = rows.weight[:, None] * rows.jacobian
    np.add.at(scores, run, rows.score[:, None] * rows.jacobian)
    np.add.at(means, run, weighted)
    np.add.at(information, run, weighted[:, :, None] * rows.jacobian[:, None, :])
    total = information.sum(0)
    size = np.sqrt(np.maximum(np.diagonal(total), 1e-300))
    values, vectors = np.linalg.eigh(total / np.outer(size, size))
    if not k or values[0] <= 1e-13 * values[-1]:
        raise ValueError("the curvature at the minimum is flat in some direction: no variance can be given")
    root = vectors * values**-0.5 @ vectors.T / size[:, None]  # root root' is the inverse
    share, turn = np.linalg.eigh(np.einsum("ji,gjl,lm->gim", root, information, root))
    rest = np.clip(1 - share, 0, 1)
    grown = np.where(rest > SATURATED, np.maximum(rest, SATURATED) ** -0.5, 0.0)
    adjust = np.einsum("ij,gjk,gk,glk,ml->gim", root, turn, grown, turn, root, optimize=True)
    spread = information + ratio * means[:, :, None] * means[:, None, :]
    size_of_scores = np.abs(rows.score) @ np.abs(rows.jacobian)
    cancelled = bool(np.all(np.abs(scores) <= 1e-9 * size_of_scores))
    return Sandwich(rows.free, scores, adjust, information, spread, root @ root.T, cancelled)


def rises(made: Sandwich, level: float) -> tuple[Array, Array, Array]:
    """By how much the objective's profile of each free parameter may rise [k]; its variance and degrees of freedom.

    Of a parabola the profile at distance h rises by h^2 / (2 inverse_kk): the threshold is that of h = t se. So ends
    follow the profile's own shape and bounds, and only its height is that of the sandwich (Pace et al. 2011).
    """
    variance, freedom = made.variance(np.eye(len(made.inverse)))
    t = stdtrit(freedom, (1 + level) / 2)
    return t**2 * variance / (2 * np.diagonal(made.inverse)), variance, freedom


def p_of_rise(made: Sandwich, rise: Array, variance: Array, freedom: Array) -> Array:
    """Two-sided p-value of each free parameter [k] whose profile has risen by `rise` [k]."""
    t = np.sqrt(2 * np.maximum(rise, 0) * np.diagonal(made.inverse) / variance)
    return 2 * stdtr(freedom, -t)
