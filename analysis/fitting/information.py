"""AICc of a fit: laws fitted to the same rows may be compared by it, also across lsq and lsq_log (measures.md 3.5)."""

import numpy as np

from analysis.fitting.result import FitResult


def log_likelihood(result: FitResult) -> float | None:
    """ln L of y at the minimum. None where there is none: huber_log is no likelihood, an exact fit has no variance.

    Least squares: normal errors with the variance of highest likelihood, RSS/n. On ln y the density is that of a
    log-normal y, whose Jacobian 1/y puts lsq_log beside lsq. Under separation: at Firth's values, below the supremum.
    """
    problem, n = result.problem, result.n
    if result.objective is None or problem.objective.delta is not None:
        return None
    if problem.objective.kind == "binomial":
        return -result.objective
    if result.objective <= 1e-24 * problem.magnitude:  # rounding, not noise
        return None
    value = -n / 2 * (np.log(2 * np.pi * result.objective / n) + 1)
    return float(value - np.sum(np.log(problem.y)) if problem.objective.scale == "log" else value)


def aicc(result: FitResult) -> float | None:
    """2k - 2 ln L + 2k(k + 1)/(n - k - 1), Hurvich & Tsai 1989; None without a likelihood or with n <= k + 1.

    k counts the law's free parameters and one for the scatter: the variance, or the overdispersion of counts.
    """
    likelihood, k = log_likelihood(result), result.free + 1
    if likelihood is None or result.n <= k + 1:
        return None
    return 2 * k - 2 * likelihood + 2 * k * (k + 1) / (result.n - k - 1)
