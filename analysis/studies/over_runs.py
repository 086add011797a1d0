"""Means over runs, each a draw of images with a seed of its own: what runs differ by is what nobody knows."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from analysis.questions.comparable import Mean, clustered_mean
from analysis.rates import wilson

if TYPE_CHECKING:
    from pandas import Series

SEED, DRAWS, LEVEL = 0, 1000, 0.95


def mean_of_runs(values: ArrayLike) -> Mean:
    """Mean of a value a run [r] with its 95 % interval over runs (none where all agree)."""
    values = np.asarray(values, float)
    return clustered_mean(values, np.arange(len(values)), level=LEVEL, draws=DRAWS, seed=SEED)


def share_of_runs(hits: "Series", trials: "Series") -> tuple[float, float, float]:
    """Mean of the runs' shares, and the wider of the intervals over runs and over samples, within [0, 1].

    Three runs with 1, 18 and 62 % are not known to three points, however many samples each has drawn.
    """
    mean, drawn = mean_of_runs(hits / trials), wilson(hits.sum(), trials.sum(), LEVEL)
    lo, hi = np.fmin(mean.lo, drawn.lo), np.fmax(mean.hi, drawn.hi)  # equal runs, or one, say nothing of runs
    return mean.value, max(float(lo), 0.0), min(float(hi), 1.0)
