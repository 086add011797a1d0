"""The loss under repeated data of Muennighoff et al. 2023 (arXiv 2305.16264): copies are worth less than new data.

N = params, D = images_seen, U = n_unique in our tables. The law falls with D: fit it to hold-out minima, not to runs
that overfit. U_N depends on A, B, alpha and beta, so only E is linear.
"""

from collections.abc import Mapping
from itertools import product
from math import inf

import numpy as np

from analysis.formulas.law import Array, Law

EXPONENTS = (0.2, 0.35, 0.6)
FLOORS = (0.0, 0.5, 0.9)
HALVINGS = (1.0, 6.0, 30.0)  # R* tried: repetitions after which the rest is worth 1/e
LARGEST = 700.0  # exp of more leaves the floating-point range


def repeated_data(
    N: Array, D: Array, U: Array, E: Array, A: Array, B: Array, alpha: Array, beta: Array, R_D: Array, R_N: Array
) -> Array:
    """L = E + A/N'^alpha + B/D'^beta; R_D, R_N here are the parameters R_D_star, R_N_star.

    N' and D' are effective sizes: of U_N = min(N, the compute-optimal size for U), and of U, at most D. N, D, U [n],
    parameters [... 1] -> [... n].
    """
    ln_n, *_ = _effective_model(N, D, U, A, B, alpha, beta, R_N)
    ln_d, *_ = effective_size(np.log(np.minimum(U, D)), np.log(D), R_D)
    return E + A * np.exp(-alpha * ln_n) + B * np.exp(-beta * ln_d)


def repeated_data_gradient(
    N: Array, D: Array, U: Array, E: Array, A: Array, B: Array, alpha: Array, beta: Array, R_D: Array, R_N: Array
) -> tuple[Array, ...]:
    """In E to R_N, each [... n]; exact and continuous: where N reaches U_N, N' stops to depend on U_N with slope 0."""
    ln_n, n_in_base, n_in_star, ln_v = _effective_model(N, D, U, A, B, alpha, beta, R_N)
    ln_d, _, d_in_star = effective_size(np.log(np.minimum(U, D)), np.log(D), R_D)
    in_a, in_b = np.exp(-alpha * ln_n), np.exp(-beta * ln_d)
    of_n, of_d = -alpha * A * in_a, -beta * B * in_b  # of L in ln N' and in ln D'
    of_v = of_n * n_in_base  # of L in ln of the compute-optimal size
    ln_u = np.log(np.minimum(U, D))
    return (
        np.ones_like(in_a),
        in_a + of_v / (alpha * A),
        in_b - of_v / (alpha * B),
        -A * in_a * ln_n + of_v * (1 / alpha - ln_v) / alpha,
        -B * in_b * ln_d + of_v * (ln_u - 1 / beta) / alpha,
        of_d * d_in_star,
        of_n * n_in_star,
    )


def _effective_model(
    N: Array, D: Array, U: Array, A: Array, B: Array, alpha: Array, beta: Array, R_star: Array
) -> tuple[Array, Array, Array, Array]:
    """ln N', its derivatives in ln U_N and R*, and ln of the compute-optimal size V = G (G U)^(beta/alpha) for U.

    With G = (alpha A/(beta B))^(1/(alpha + beta)): ln V = (ln(alpha A/(beta B)) + beta ln U)/alpha.
    """
    ln_v = (np.log(alpha * A) - np.log(beta * B) + beta * np.log(np.minimum(U, D))) / alpha
    ln_total = np.log(N)
    return (*effective_size(np.minimum(ln_total, ln_v), ln_total, R_star), ln_v)


def effective_size(ln_base: Array, ln_total: Array, R_star: Array | float) -> tuple[Array, Array, Array]:
    """ln X' of X = exp(ln_base) repeated R = total/X - 1 times, and its derivatives in ln X (at this total) and in R*.

    X' = X + X R* (1 - exp(-R/R*)): what X with its repetitions is worth in unrepeated ones (Muennighoff et al., Eq. 5).
    Elementwise, of arrays [...] that broadcast.
    """
    R = np.expm1(np.minimum(ln_total - ln_base, LARGEST))
    z = np.minimum(R / R_star, LARGEST)
    used = -np.expm1(-z)
    # 1 - (1 + z) e^-z; as a series where the difference would lose its digits
    share = np.where(z < 1e-4, z**2 * (1 / 2 - z / 3 + z**2 / 8), used - z * np.exp(-z))
    worth = 1 + R_star * used
    return ln_base + np.log(worth), (used + R_star * share) / worth, share / worth


def repeated_data_starts(x: Mapping[str, Array], y: Array) -> Array:
    """Exponents, floors and R* on a grid [s 7]; both terms share equally what is above the floor, on average."""
    found = []
    for alpha, beta, share, in_d, in_n in product(EXPONENTS, EXPONENTS, FLOORS, HALVINGS, HALVINGS[::2]):
        floor = share * np.min(y)
        above = max(np.mean(y) - floor, 1e-12 * np.max(np.abs(y)) + np.finfo(float).tiny) / 2
        ln_d, *_ = effective_size(np.log(np.minimum(x["U"], x["D"])), np.log(x["D"]), in_d)
        A, B = above / np.mean(x["N"] ** -alpha), above / np.mean(np.exp(-beta * ln_d))
        found.append([floor, A, B, alpha, beta, in_d, in_n])
    return np.array(found)


REPEATED_DATA = Law(
    name="repeated_data",
    formula="E + A/N'^alpha + B/D'^beta, N' = eff(U_N, R_N, R_N_star), D' = eff(U, R_D, R_D_star)",
    variables=("N", "D", "U"),
    bounds={
        "E": (0, inf),
        "A": (0, inf),
        "B": (0, inf),
        "alpha": (0, 4),
        "beta": (0, 4),
        "R_D_star": (0, inf),
        "R_N_star": (0, inf),
    },
    function=repeated_data,
    gradient=repeated_data_gradient,
    starts=repeated_data_starts,
    linear=("E",),
    log=("A", "B", "R_D_star", "R_N_star"),
    units={
        "E": "y",
        "A": "y N^alpha",
        "B": "y D^beta",
        "alpha": "1",
        "beta": "1",
        "R_D_star": "repetitions",
        "R_N_star": "repetitions",
    },
)
