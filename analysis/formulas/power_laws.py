"""Laws of one size: a power, a power over a floor (measures.md 3.5)."""

from collections.abc import Mapping
from math import inf

import numpy as np

from analysis.formulas.law import Array, Law

SLOPES = np.array([-3, -2, -1.5, -1, -0.7, -0.5, -0.35, -0.25, -0.17, -0.12, -0.08, -0.05, -0.02])


def power(x: Array, b: Array, c: Array) -> Array:
    """y = b x^c: x [n], parameters [... 1] -> [... n]."""
    return b * x**c


def power_gradient(x: Array, b: Array, c: Array) -> tuple[Array, ...]:
    """Derivatives of `power` in b and c, shapes as there."""
    in_b = x**c
    return in_b, b * in_b * np.log(x)


def power_starts(x: Mapping[str, Array], y: Array) -> Array:
    """Slopes of both signs and the one of the log-log line [s 2]; b goes through the middle of the data."""
    log_x, log_y = np.log(x["x"]), np.log(np.maximum(np.abs(y), np.finfo(float).tiny))
    slope = np.polyfit(log_x, log_y, 1)[0] if np.ptp(log_x) > 0 else 0.0
    c = np.clip(np.concatenate([[slope], SLOPES, -SLOPES]), -3.99, 3.99)
    return np.stack([np.exp(np.clip(np.mean(log_y) - c * np.mean(log_x), -600, 600)), c], axis=1)


POWER = Law(
    name="power",
    formula="b x^c",
    variables=("x",),
    bounds={"b": (0, inf), "c": (-4, 4)},
    function=power,
    gradient=power_gradient,
    starts=power_starts,
    linear=("b",),
    log=("b",),
    units={"b": "y x^-c", "c": "1"},
)


def power_offset(x: Array, e: Array, b: Array, c: Array) -> Array:
    """y = e + b x^c: a floor e plus a power law, falling for c < 0 (Henighan et al. 2020, Eq. 1.1); x [n]."""
    return e + b * x**c


def power_offset_gradient(x: Array, e: Array, b: Array, c: Array) -> tuple[Array, ...]:
    """Derivatives of `power_offset` in e, b and c, shapes as there; that in e is [n]."""
    return np.ones_like(x), *power_gradient(x, b, c)


def power_offset_starts(x: Mapping[str, Array], y: Array) -> Array:
    """Slopes times floors [s 3]; b goes through the mean height above the floor."""
    log_x, lowest = np.log(x["x"]), np.min(y)
    c, share = (grid.ravel() for grid in np.meshgrid(SLOPES, [0.0, 0.5, 0.9, 0.99]))
    e = np.maximum(share * lowest, 0)
    above = np.maximum(np.mean(y) - e, 1e-12 * np.max(np.abs(y)) + np.finfo(float).tiny)
    b = above / np.mean(np.exp(c[:, None] * log_x), axis=1)
    return np.stack([e, b, c], axis=1)


POWER_OFFSET = Law(
    name="power_offset",
    formula="e + b x^c",
    variables=("x",),
    bounds={"e": (0, inf), "b": (0, inf), "c": (-4, 0)},
    function=power_offset,
    gradient=power_offset_gradient,
    starts=power_offset_starts,
    linear=("e", "b"),
    log=("b",),
    units={"e": "y", "b": "y x^-c", "c": "1"},
)
