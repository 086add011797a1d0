"""Separation in logistic regression: where it is (linear programmes) and Firth's finite answer to it."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

Array = np.ndarray


def open_sides(design: Array, hits: Array, trials: Array) -> tuple[Array, Array]:
    """Which parameters [k] may fall, and which may rise, for ever without a loss of likelihood (booleans).

    Albert & Anderson 1984: along d the likelihood never falls iff Z d >= 0 on rows of successes only, <= 0 on rows of
    failures only and = 0 on mixed rows. Each end of each d_k is one linear programme over the box -1 <= d <= 1.
    """
    from scipy.optimize import linprog  # half of this package's import time, and rarely needed

    size = np.maximum(np.abs(design).max(axis=0), 1e-300)
    z = design / size
    all_hit, none_hit = hits == trials, hits == 0
    mixed = ~all_hit & ~none_hit
    count = design.shape[1]
    falls, rises = np.zeros(count, bool), np.zeros(count, bool)
    if np.linalg.matrix_rank(z[mixed]) == count if mixed.any() else False:
        return falls, rises  # the usual case: mixed rows alone fix every direction
    signed = np.concatenate([z[all_hit], -z[none_hit]])
    fixed = {"A_eq": z[mixed], "b_eq": np.zeros(int(mixed.sum()))} if mixed.any() else {}
    for k in range(count):
        for side, sign in ((falls, -1.0), (rises, 1.0)):
            goal = -sign * np.eye(count)[k]
            found = linprog(goal, A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1, 1), **fixed)
            side[k] = found.x is not None and -found.fun > 1e-6
    return falls, rises


class Penalised(NamedTuple):
    """Firth's estimate: values [k], standard errors [k] and covariance [k k], in natural units."""

    values: Array
    se: Array
    covariance: Array


def firth_logistic(design: Array, hits: Array, trials: Array) -> Penalised:
    """Firth 1993: the maximum of likelihood x |information|^(1/2), always finite (Heinze & Schemper 2002).

    design [n k], hits, trials [n]. Each row gets half its leverage as added successes and as added failures; iterated
    to a fixed point.
    """
    values = np.zeros(design.shape[1])
    size = np.maximum(np.abs(design).max(axis=0), 1e-300)
    z = design / size
    for _ in range(500):
        f = expit(z @ values)
        weight = np.maximum(trials * f * (1 - f), 1e-12)
        covariance = np.linalg.pinv((z * weight[:, None]).T @ z)
        leverage = weight * np.einsum("nj,jk,nk->n", z, covariance, z)
        step = covariance @ (z.T @ (hits + leverage / 2 - (trials + leverage) * f))
        values = values + step * min(1.0, 5.0 / max(np.max(np.abs(z @ step)), 1e-300))  # at most 5 logits at once
        if np.max(np.abs(step)) < 1e-10 * (1 + np.max(np.abs(values))):
            break
    covariance = covariance / np.outer(size, size)
    return Penalised(values / size, np.sqrt(np.diagonal(covariance)), covariance)
