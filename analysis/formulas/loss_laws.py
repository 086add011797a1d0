"""Laws of a loss over model and data size: Chinchilla's (measures.md 3.5).

N = params, D = images_seen in our tables; any two sizes elsewhere.
"""

from collections.abc import Mapping
from itertools import product
from math import inf

import numpy as np

from analysis.formulas.law import Array, Law

EXPONENTS = (0.1, 0.2, 0.35, 0.5, 0.8, 1.3)
FLOORS = (0.0, 0.5, 0.8, 0.95)


def chinchilla(N: Array, D: Array, E: Array, A: Array, B: Array, alpha: Array, beta: Array) -> Array:
    """L = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, Eq. 2): N, D [n], parameters [... 1] -> [... n]."""
    return E + A * N**-alpha + B * D**-beta


def chinchilla_gradient(
    N: Array, D: Array, E: Array, A: Array, B: Array, alpha: Array, beta: Array
) -> tuple[Array, ...]:
    """Derivatives of `chinchilla` in E, A, B, alpha and beta, shapes as there."""
    in_a, in_b = N**-alpha, D**-beta
    return np.ones_like(in_a), in_a, in_b, -A * in_a * np.log(N), -B * in_b * np.log(D)


def chinchilla_starts(x: Mapping[str, Array], y: Array) -> Array:
    """Exponents times floors [s 5]; both terms share equally what is above the floor at the middle of the data."""
    log_n, log_d = np.log(x["N"]), np.log(x["D"])
    found = []
    for alpha, beta, share in product(EXPONENTS, EXPONENTS, FLOORS):
        floor = share * np.min(y)
        above = max(np.mean(y) - floor, 1e-12 * np.max(np.abs(y)) + np.finfo(float).tiny) / 2
        found.append([floor, above * np.exp(alpha * log_n.mean()), above * np.exp(beta * log_d.mean()), alpha, beta])
    return np.maximum(np.array(found), 1e-300)


CHINCHILLA = Law(
    name="chinchilla",
    formula="E + A/N^alpha + B/D^beta",
    variables=("N", "D"),
    bounds={"E": (0, inf), "A": (0, inf), "B": (0, inf), "alpha": (0, 4), "beta": (0, 4)},
    function=chinchilla,
    gradient=chinchilla_gradient,
    starts=chinchilla_starts,
    linear=("E", "A", "B"),
    log=("A", "B"),
    units={"E": "y", "A": "y N^alpha", "B": "y D^beta", "alpha": "1", "beta": "1"},
)
