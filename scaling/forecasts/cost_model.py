"""Seconds from amounts of work: a fit to finished runs that leans on known constants where the runs say little.

ln(seconds of a stretch) = ln sum_j c_j x_j + noise, x_j its amounts (run_work.TERMS), ln c_j = ln d_j + scale + delta_j
around the constants d_j of a server core (MAP: scale ~ N(0, MACHINE_SD^2), delta_j ~ N(0, TERM_SD^2), soft-L1 noise, so
one run beside a busy neighbour bends nothing). Costs are positive by construction. All shapes count alike: runs of one
shape are one observation, their median.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log, sqrt
from typing import NamedTuple

import numpy as np

from scaling.forecasts.run_work import TERMS
from scaling.forecasts.server_core import SECONDS, START_SECONDS

MACHINE_SD, TERM_SD = 0.5, 0.4  # of ln: machines differ by 1.6 or so as a whole, and their terms beside that
NOISE, JITTER = 0.1, 0.05  # of a stretch: of ln, and in seconds (what is short is read less exactly)
SPREAD, SPREAD_SHAPES = 0.15, 4  # sd of ln(measured/forecast) of a new shape before any is seen, worth so many shapes
LEVEL, Z = 0.8, 1.2816  # of every range of a forecast
Array = np.ndarray


class Seconds(NamedTuple):
    """A forecast with its 80 % range."""

    value: float
    lo: float
    hi: float

    @classmethod
    def of(cls, value: float, log_sd: float) -> "Seconds":
        """The range of a log-normal forecast: log_sd is the sd of ln seconds."""
        return cls(value, value * exp(-Z * log_sd), value * exp(Z * log_sd))


@dataclass(frozen=True, eq=False)
class Timing:
    """What a finished run took: seconds [E] of its stretches, amounts [E T] of work in them."""

    amounts: Array
    seconds: Array


@dataclass(frozen=True, eq=False)
class CostModel:
    """log_costs [T]: ln c_j; covariance [T + 1, T + 1] of (scale, delta); spread: see `fit`."""

    log_costs: Array
    covariance: Array
    spread: float
    shapes: int

    @property
    def costs(self) -> Array:
        """[T] seconds of one of each term."""
        return np.exp(self.log_costs)

    def seconds(self, amounts: Array) -> Seconds:
        """Of a run with amounts [T] and its start. Costs are known so well; a new shape is never quite as fitted."""
        value = float(self.costs @ amounts)
        gradient = np.concatenate([[1.0], self.costs * amounts / value])
        return Seconds.of(value + START_SECONDS, hypot(self.spread, sqrt(gradient @ self.covariance @ gradient)))


def fit(timings: Sequence[Timing]) -> CostModel:
    """spread: sd of ln(measured / forecast) of shapes left out of their own forecast, by the fit's linearisation."""
    from scipy.optimize import least_squares  # here: whoever only asks what is done needs none of it

    groups = by_shape(timings)
    prior = np.concatenate([[MACHINE_SD], np.full(len(TERMS), TERM_SD)])
    known = np.log([SECONDS[term] for term in TERMS])
    x = np.vstack([group.amounts for group in groups]) if groups else np.zeros((0, len(TERMS)))
    y = np.concatenate([group.seconds for group in groups]) if groups else np.zeros(0)
    sd = np.hypot(NOISE, JITTER / y)

    def parts(theta: Array) -> tuple[Array, Array]:
        each = x * np.exp(known + theta[0] + theta[1:])
        return each, each.sum(axis=1)

    def residuals(theta: Array) -> Array:
        return np.concatenate([(np.log(parts(theta)[1]) - np.log(y)) / sd, theta / prior])

    def jacobian(theta: Array) -> Array:
        each, total = parts(theta)
        rows = np.column_stack([np.ones(len(y)), each / total[:, None]]) / sd[:, None]
        return np.vstack([rows, np.diag(1 / prior)])

    found = least_squares(residuals, np.zeros(len(prior)), jacobian, loss="soft_l1", f_scale=2.0)
    weight = (1 + (found.fun / 2) ** 2) ** -0.25  # sqrt of the loss's derivative: how far it still listens to a row
    j, r = jacobian(found.x) * weight[:, None], found.fun * weight
    covariance = np.linalg.inv(j.T @ j)
    errors = _left_out(groups, j, r, weight * 1 / np.concatenate([sd, prior]), covariance)
    spread = sqrt((SPREAD_SHAPES * SPREAD**2 + sum(errors**2)) / (SPREAD_SHAPES + len(errors)))
    return CostModel(known + found.x[0] + found.x[1:], covariance, spread, len(groups))


def by_shape(timings: Sequence[Timing]) -> list[Timing]:
    """One timing a shape: the median seconds of the runs that did the same work."""
    same: dict[bytes, list[Timing]] = {}
    for timing in timings:
        same.setdefault(timing.amounts.tobytes(), []).append(timing)
    return [Timing(runs[0].amounts, np.median([run.seconds for run in runs], axis=0)) for runs in same.values()]


def _left_out(groups: Sequence[Timing], j: Array, r: Array, scale: Array, covariance: Array) -> Array:
    """ln(forecast / measured) of every shape's whole run, forecast without it.

    Of a linear fit the residuals without rows g are (1 - H_gg)^-1 r_g, H = J C J'.
    """
    made, first = [], 0
    for group in groups:
        rows = slice(first, first + len(group.seconds))
        first = rows.stop
        own = np.eye(len(group.seconds)) - j[rows] @ covariance @ j[rows].T
        logs = np.linalg.solve(own, r[rows]) / scale[rows]
        made.append(log(float(group.seconds @ np.exp(logs))) - log(float(group.seconds.sum())))
    return np.array(made)
