"""Do two runs on disjoint halves make the same image from the same noise? (measures.md 2.13)

Kadkhodaie et al. 2024, arXiv 2310.02557: networks that generalize agree, networks that copy cannot share an image.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

Array = np.ndarray


class SameNoise(NamedTuple):
    """The mean cosine over noises with its interval, beside its null."""

    mean: float  # cosine of the two samples of one noise
    lo: float
    hi: float
    shuffled: float  # the null: the same with the noises of one run permuted


def sample_cosines(
    a: Array, b: Array, rng: np.random.Generator, *, draws: int = 1000, level: float = 0.95
) -> SameNoise:
    """Samples a, b [B ...] of two runs, row k of both from noise z_k, each minus its run's mean sample.

    Interval: rows redrawn (centres included), expanded by sqrt(B/(B - 1)): of these two runs, not of others.
    Raises ValueError on fewer than 3 samples, on what is not finite and on a sample that is its run's mean.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or len(a) < 3:
        raise ValueError(f"samples of shape {a.shape} and {b.shape}: both runs need the same 3 or more noises")
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a sample is not finite; leave its noise out of both runs")
    u, v = _directions(a), _directions(b)
    cosines, n = (u * v).sum(1), len(a)
    if np.ptp(cosines) < 1e-12:  # all alike, as for one run twice
        lo = hi = float(cosines.mean())
    else:
        half = ndtri((1 + level) / 2) * cosines[rng.integers(n, size=(draws, n))].mean(1).std() * np.sqrt(n / (n - 1))
        lo, hi = max(cosines.mean() - half, -1.0), min(cosines.mean() + half, 1.0)
    return SameNoise(float(cosines.mean()), float(lo), float(hi), float((u * v[rng.permutation(n)]).sum(1).mean()))


def _directions(samples: Array) -> Array:
    centred = samples - samples.mean(0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = np.flatnonzero(length[:, 0] <= 1e-12 * max(np.abs(samples).max(), 1e-300))
    if flat.size:
        raise ValueError(f"sample {flat[0]} equals its run's mean sample and has no direction: did the run collapse?")
    return centred / length
