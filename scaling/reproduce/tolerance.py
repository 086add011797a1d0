"""How far a run made again may lie from the committed one before the two disagree, measured from replicates.

The law is that of an equal run: the value again and those of the replicates are independent draws of one normal law,
whose variance is one more of those of the study's cells. A run again has the seed of the committed one and lies nearer,
as a rule; another machine or another library may bring it as far as another seed would, no farther.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import binom, hypergeom, t

FEWEST_CELLS = 20  # below this their variances say too little of one more
MOST_DEGREES = 4.0  # what other cells are worth at most: a cell may differ from all others
SMALLEST, LARGEST = 1e-6, 1e3  # half the degrees of freedom that are looked for


class Prior(NamedTuple):
    """What the variances of other cells say of one more: as much as `degrees` deviations of this variance."""

    degrees: float
    variance: float


NOTHING = Prior(0.0, 0.0)


def prior(variances: Sequence[float], degrees: Sequence[int]) -> Prior:
    """d0 and s0^2 of the scaled inverse chi-squared law that these variances of cells follow, each of `degrees`.

    Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3:3), section 6.2: moments of ln s^2. They are taken to differ by two
    standard errors more than they seem to, since d0 too large refuses too often, and d0 is capped at MOST_DEGREES: both
    only widen. Cells without spread (counts that are all 0) are left out; NOTHING below FEWEST_CELLS.
    """
    s2, d = (np.array([pair[at] for pair in zip(variances, degrees, strict=True) if pair[0] > 0]) for at in (0, 1))
    if len(s2) < FEWEST_CELLS:
        return NOTHING
    e = np.log(s2) - digamma(d / 2) + np.log(d / 2)
    square = (e - e.mean()) ** 2
    differ = float(square.sum() / (len(e) - 1) + 2 * square.std() / np.sqrt(len(e)))
    excess = differ - float(polygamma(1, d / 2).mean())  # trigamma(d0 / 2)
    if excess <= polygamma(1, LARGEST):
        return Prior(MOST_DEGREES, float(np.exp(e.mean())))
    half = brentq(lambda y: polygamma(1, y) - excess, SMALLEST, LARGEST)
    return Prior(min(2 * half, MOST_DEGREES), float(np.exp(e.mean() + digamma(half) - np.log(half))))


def spread(others: Sequence[float], known: Prior = NOTHING) -> tuple[float, float]:
    """Standard deviation, and its degrees of freedom, of the replicates but the committed one, and of other cells.

    The committed one is left out: a wrong value in the table would else hide behind the spread that it makes.
    """
    d = len(others) - 1
    degrees = known.degrees + d
    return sqrt((known.degrees * known.variance + d * float(np.var(others, ddof=1))) / degrees), degrees


def tolerance(s: float, degrees: float, alpha: float) -> float:
    """How far again and committed, two draws of one law, lie apart but for a share alpha: Student's t, sqrt(2) s."""
    return float(t.isf(alpha / 2, degrees)) * sqrt(2) * s


def count_tolerance(count: int, trials: int | None, alpha: float) -> int:
    """How far a second count of as many trials may lie from this one by Fisher's exact test, alpha / 2 a side.

    For counts that are equal in all other replicates, whose spread is none to measure from. Without trials: of Poisson
    counts, of whose sum each has its half.
    """
    second = np.arange((max(100, 10 * count) if trials is None else trials) + 1)
    total = count + second
    law = binom(total, 0.5) if trials is None else hypergeom(2 * trials, total, trials)
    accepted = second[(law.sf(second - 1) >= alpha / 2) & (law.cdf(second) >= alpha / 2)]
    return int(np.abs(accepted - count).max())
