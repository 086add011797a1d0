"""The common odds ratio of many 2x2 tables, each with few counts: no table needs a rate of its own to be told."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Counts:
    """Hits out of trials in two groups, a table each [k]."""

    hits: Array
    trials: Array
    hits_beside: Array
    trials_beside: Array

    def at(self, which: Array) -> "Counts":
        """The tables `which` [k]."""
        return Counts(self.hits[which], self.trials[which], self.hits_beside[which], self.trials_beside[which])

    def exchanged(self, which: Array) -> "Counts":
        """The groups of the tables `which` [k] in each other's place."""
        return Counts(
            np.where(which, self.hits_beside, self.hits), np.where(which, self.trials_beside, self.trials),
            np.where(which, self.hits, self.hits_beside), np.where(which, self.trials, self.trials_beside),
        )  # fmt: skip


def common_log_odds(counts: Counts) -> tuple[float, float]:
    """Log of the common odds ratio (Mantel & Haenszel 1959) and its variance (Robins, Breslow & Greenland 1986).

    NaN, NaN where no table has both hits and misses, infinite odds included.

    >>> log_odds, _ = common_log_odds(Counts(np.array([8.0]), np.array([10.0]), np.array([4.0]), np.array([10.0])))
    >>> print(f"{np.exp(log_odds):.3f}")  # 8/2 against 4/6
    6.000
    """
    a, c = counts.hits, counts.hits_beside
    b, d = counts.trials - a, counts.trials_beside - c
    n = counts.trials + counts.trials_beside
    r, s = a * d / n, b * c / n
    big_r, big_s = r.sum(), s.sum()
    if not (big_r > 0 and big_s > 0):
        return np.nan, np.nan
    p, q = (a + d) / n, (b + c) / n
    variance = (
        (p * r).sum() / (2 * big_r**2) + (p * s + q * r).sum() / (2 * big_r * big_s) + (q * s).sum() / (2 * big_s**2)
    )
    return float(np.log(big_r / big_s)), float(variance)
