"""Duplication plans: how many copies each image of the pool has; whole numbers by construction, or refused.

The pool is the first n_unique images of the draw's order, so within a draw pools nest in n_unique. What nests besides:
- uniform, at one n_unique and any rotate: more copies, rate or fraction takes no copy from any image. At rotate 0 and
  one copies and fraction, neither does a larger n_unique or n_train.
- uniform and subset, rotate 0: the duplicated images are the first k, so those of one plan are among those of any other
  with a larger k. k grows with fraction and size; with copies and rate it falls (not in uniform at fixed n_unique).
  At fixed n_train the pool shrinks as copies, rate or fraction grow.
- spectrum, any rotate: position i has 2^((i + rotate) mod levels) copies whatever n_unique. Not nested in levels.
- strata, rotate 0: what is appended to levels changes no earlier position.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from scaling.config import ConfigError
from scaling.data.reachable import LARGEST, solve
from scaling.data.streams import generator
from scaling.fields import DataConfig, DuplicationConfig, FoldConfig


@dataclass(frozen=True, eq=False)
class DuplicationPlan:
    """Exact multiplicities by position in the pool."""

    copies: np.ndarray  # int64 [n_unique], each >= 1

    @property
    def n_unique(self) -> int:
        """Unique images."""
        return len(self.copies)

    @property
    def n_train(self) -> int:
        """Images with their copies."""
        return int(self.copies.sum())

    @property
    def n_duplicated(self) -> int:
        """Unique images with more than one copy."""
        return int((self.copies > 1).sum())

    @property
    def max_copies(self) -> int:
        """The most that one image has."""
        return int(self.copies.max())

    @property
    def rate(self) -> Fraction:
        """duplication_rate = 1 - n_unique / n_train."""
        return 1 - Fraction(self.n_unique, self.n_train)

    @property
    def strata(self) -> list[int]:
        """The distinct numbers of copies, ascending."""
        return np.unique(self.copies).tolist()


def plan(data: DataConfig) -> DuplicationPlan:
    """The plan that `data` asks for; raises ConfigError naming the nearest reachable requests.

    rotate: the image at position i has the copies that position (i + rotate) mod n_unique has without it.

    >>> found = plan(DataConfig(n_unique=8, duplication={"design": "spectrum", "levels": 4}))
    >>> found.copies.tolist(), found.n_train, str(found.rate)
    ([1, 2, 4, 8, 1, 2, 4, 8], 30, '11/15')
    >>> plan(DataConfig(n_unique=10, duplication={"design": "spectrum", "levels": 4}))
    Traceback (most recent call last):
    scaling.config.ConfigError: data.n_unique=10: a spectrum of 4 levels needs a multiple of 4; use ...
    """
    wanted = data.duplication
    count = getattr(data, wanted.fix)
    make = {"none": _none, "uniform": _groups, "subset": _groups, "spectrum": _spectrum, "strata": _strata}
    unrotated = make[wanted.design](wanted, count)
    copies = np.roll(unrotated, -(wanted.rotate % len(unrotated)))
    copies.setflags(write=False)
    return DuplicationPlan(copies)


def _none(wanted: DuplicationConfig, count: int) -> np.ndarray:
    _refuse_size(wanted, count, count, count)
    return np.ones(count, np.int64)


def _spectrum(wanted: DuplicationConfig, count: int) -> np.ndarray:
    """n = L s, N = s (2^L - 1): position i has 2^(i mod L) copies."""
    levels = wanted.levels
    assert isinstance(levels, int)  # scaling.fields
    if levels > 27:
        raise ConfigError(
            f"data.duplication.levels={levels}: the last stratum has 2^{levels - 1} copies; use at most 27"
        )
    unit = levels if wanted.fix == "n_unique" else 2**levels - 1
    if count % unit:
        sizes = [size for size in (count // unit, count // unit + 1) if size * levels >= 2]
        raise ConfigError(
            f"data.{wanted.fix}={count}: a spectrum of {levels} levels needs a multiple of {unit}; "
            f"use {' or '.join(f'data.{wanted.fix}={size * unit}' for size in sizes)}"
        )
    size = count // unit
    _refuse_size(wanted, count, size * levels, size * (2**levels - 1))
    return 2 ** (np.arange(size * levels) % levels)


def _strata(wanted: DuplicationConfig, count: int) -> np.ndarray:
    """n = sum n_j, N = sum n_j r_j, in pool order."""
    levels = wanted.levels
    assert isinstance(levels, list)  # scaling.fields
    totals = {"n_unique": sum(n for n, _ in levels), "n_train": sum(n * r for n, r in levels)}
    if totals[wanted.fix] != count:
        raise ConfigError(
            f"data.{wanted.fix}={count}: the levels of data.duplication hold {totals[wanted.fix]}; "
            f"use data.{wanted.fix}={totals[wanted.fix]}"
        )
    _refuse_size(wanted, count, totals["n_unique"], totals["n_train"])
    return np.repeat([r for _, r in levels], [n for n, _ in levels]).astype(np.int64)


def _groups(wanted: DuplicationConfig, count: int) -> np.ndarray:
    """uniform and subset: the first k images have r copies, all others one."""
    n_unique, k, r = solve(wanted, count)
    _refuse_size(wanted, count, n_unique, n_unique + k * (r - 1))
    return np.where(np.arange(n_unique) < k, r, 1)


def _refuse_size(wanted: DuplicationConfig, count: int, n_unique: int, n_train: int) -> None:
    if n_unique < 2:
        raise ConfigError(
            f"data.{wanted.fix}={count}: leaves {n_unique} unique image, at least 2 are needed; "
            "use fewer copies or more images"
        )
    if n_train > LARGEST:
        raise ConfigError(
            f"data.{wanted.fix}={count}: the plan has {n_train:,} training images; use fewer images or copies "
            f"(at most {LARGEST:,})"
        )


def left_out(copies: np.ndarray, fold: FoldConfig, draw: int) -> np.ndarray:
    """bool [n_unique], True = the image leaves training with all its copies; all False without a fold.

    The partition is keyed by (draw, split) and dealt stratum by stratum, as cards: every stratum, and the whole pool,
    is shared among the parts to within one image. Raises ConfigError on more parts than images.
    """
    if fold.index is None:
        return np.zeros(len(copies), bool)
    if len(copies) < fold.of:
        raise ConfigError(f"data.fold.of={fold.of}: the pool has {len(copies)} images; use at most {len(copies)}")
    shuffled = generator(draw, "fold", fold.split).permutation(len(copies))
    dealt = shuffled[np.argsort(copies[shuffled], kind="stable")]
    part = np.empty(len(copies), np.int64)
    part[dealt] = np.arange(len(copies)) % fold.of
    return part == fold.index
