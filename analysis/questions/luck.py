"""What runs of one cell do not share: the standard deviation of logit f between runs, beyond counting noise.

Moments of the fit's working residuals by run, as DerSimonian & Laird 1986 between studies; rows of one run share the
run's luck, and a dispersion within runs (images of unequal difficulty) is told apart from it.
"""

from dataclasses import dataclass

import numpy as np

from analysis.fitting.result import FitResult

Array = np.ndarray


@dataclass(frozen=True)
class Luck:
    """Moments of a fit's residuals by run, from which `sd` is estimated and redrawn."""

    q: float  # sum over runs of W R^2: R the run's mean working residual, W its weight
    weight: float  # by how much q exceeds its mean per unit of variance between runs
    freedom: int  # runs minus parameters; 0: nothing can be said
    dispersion: float  # of rows within a run, 1 where they scatter as counts do

    @property
    def sd(self) -> float:
        """Of logit f between runs; NaN where there are no more runs than parameters."""
        return float(self._sd(self.freedom)) if self.freedom else np.nan

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """Standard deviations [count] that the same q may stand for: q over its chi-square; NaN as `sd`."""
        return self._sd(rng.chisquare(self.freedom, count)) if self.freedom else np.full(count, np.nan)

    def _sd(self, chi_square: Array | float) -> Array:
        excess = (self.q / np.maximum(chi_square, 1e-12) - self.dispersion) * self.freedom / self.weight
        return np.sqrt(np.maximum(excess, 0.0))


def run_luck(result: FitResult, run: Array) -> Luck:
    """From a fitted rate law of counts and the run of each row [n]."""
    problem, place = result.problem, np.unique(run, return_inverse=True)[1]
    runs, rows = int(place.max()) + 1, len(place)
    f = np.clip(result.predict(problem.x), 1e-9, 1 - 1e-9)
    w = problem.trials * f * (1 - f)  # 1/variance of the working residual under counting noise alone
    r = (problem.y - problem.trials * f) / w
    total = np.bincount(place, w)
    mean = np.bincount(place, w * r) / total
    within = rows - runs - result.free
    dispersion = max(1.0, float(np.sum(w * (r - mean[place]) ** 2)) / within) if within > 0 else 1.0
    freedom = max(runs - result.free, 0)
    return Luck(float(np.sum(total * mean**2)), float(np.sum(total)) * freedom / runs, freedom, dispersion)


def attenuation(sd: Array | float) -> Array | float:
    """logit f of the median run over that of the mean f between runs, sd [...] (Zeger, Liang & Albert 1988)."""
    return np.sqrt(1 + (16 * np.sqrt(3) / (15 * np.pi)) ** 2 * np.square(sd))
