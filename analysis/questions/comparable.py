"""What makes evaluations comparable: one setting, equal hold-out loss, and differences taken within a replicate.

A setting is everything but the size, the clock and the replicate (seed, draw, rotation and fold).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from analysis.columns import TableError, numbers
from analysis.onsets.crossing import Status, first_crossing
from analysis.onsets.run_setting import width_rule
from analysis.rates import checked_counts
from analysis.words import number

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
SETTING = (
    "family", "dataset", "image_size", "design", "n_unique", "n_train", "copies", "fraction", "near",
    "noise_draws", "conditioning", "batch_size", "lr", "weight_decay", "ema", "blocks", "attention", "skips", "prune",
)  # fmt: skip
REPLICATE = ("seed", "draw", "rotate", "fold_index", "fold_split")  # other luck, images, copies, parts left out
BOOTSTRAP_FROM = 10  # clusters; with fewer, resamplings repeat themselves and Student's t is the honest interval


def rows_at(evals: "DataFrame", at: Mapping[str, float]) -> "DataFrame":
    """The rows with COLUMN == VALUE for each of `at`; raises TableError where the column or the value is not there."""
    for name, value in at.items():
        there = numbers(evals, name, "evals")
        kept = evals[np.isclose(there, value, rtol=1e-9, atol=0)]
        if kept.empty:
            known = ", ".join(f"{v:g}" for v in np.unique(there[~np.isnan(there)])[:12])
            raise TableError(f"--at {name}={value:g}: no evaluation has it; {name} is {known or 'empty'}")
        evals = kept
    return evals


def with_rate_rule(evals: "DataFrame") -> "DataFrame":
    """`evals` whose lr is the rule of the rate, since the rate differs with the width; None without a configuration."""
    return evals.assign(lr=width_rule(evals).where(evals["config"].notna(), None))


def settings(evals: "DataFrame") -> tuple[Array, list[str]]:
    """A number for the setting of each row [n], and for each number in words what tells the settings apart."""
    evals = with_rate_rule(evals)
    label = evals.groupby(list(SETTING), dropna=False).ngroup().to_numpy()
    first = evals[list(SETTING)].iloc[np.unique(label, return_index=True)[1]]
    varying = [name for name in SETTING if first[name].nunique(dropna=False) > 1]
    return label, [", ".join(f"{name} {_word(row[name])}" for name in varying) for row in first.to_dict("records")]


def _word(value: object) -> str:
    missing = value is None or value != value
    return "none" if missing else number(value, 6) if isinstance(value, float) else str(value)


def replicates(evals: "DataFrame") -> Array:
    """A number for the replicate of each row [n]: rows of one seed, draw, rotation and fold share data and noise."""
    return evals.groupby(list(REPLICATE), dropna=False).ngroup().to_numpy()


def logit_rate(hits: Array, trials: Array) -> Array:
    """ln((x + 1/2)/(n - x + 1/2)) [n]: finite at 0 and n of n; NaN where a count is missing."""
    x, n = checked_counts(hits, trials, "n_memorized and n_generated")
    return np.log((x + 0.5) / (n - x + 0.5))


class State(NamedTuple):
    """One run where it first has a given hold-out loss: its clock, and y there."""

    images_seen: float
    y: float


def state_at_loss(images_seen: Array, loss: Array, loss_se: Array, y: Array, target: float) -> State | None:
    """Where one run first has hold-out loss `target`, and its y [n] there; both linear in ln images_seen.

    A run already below the target at its first evaluation is taken there if it is within 2 SE of it; else None.
    """
    known = (images_seen > 0) & ~np.isnan(loss)
    order = np.argsort(images_seen[known])
    t, loss, loss_se, y = (column[known][order] for column in (images_seen, loss, loss_se, y))
    found = first_crossing(t, -loss, -target, reached=True)
    if found.status == Status.BELOW_RANGE:
        near = target - loss[0] <= 2 * loss_se[0]  # a missing SE is NaN: not near
        return State(float(t[0]), float(y[0])) if near and not np.isnan(y[0]) else None
    if found.status != Status.INTERP:
        return None
    value = float(np.interp(np.log(found.value), np.log(t), y))
    return None if np.isnan(value) else State(found.value, value)


class Mean(NamedTuple):
    """A mean with its interval by cluster."""

    value: float
    lo: float  # NaN where the spread cannot be told: one cluster, or all clusters equal
    hi: float
    clusters: int


def clustered_mean(values: ArrayLike, cluster: ArrayLike, *, level: float, draws: int, seed: int) -> Mean:
    """Mean of values [n] whose clusters [n] share their luck: Student's t below 10 clusters, else their bootstrap."""
    values = np.asarray(values, float)
    labels = np.unique(np.asarray(cluster), return_inverse=True)[1]
    groups = int(labels.max()) + 1
    value, total, size = float(values.mean()), np.bincount(labels, values), np.bincount(labels)
    apart = total - value * size  # sums to 0 over the clusters
    if groups < 2 or np.abs(apart).max() <= 1e-12 * np.abs(values).max():  # no spread seen is no certainty
        return Mean(value, np.nan, np.nan, groups)
    if groups < BOOTSTRAP_FROM:
        half = stdtrit(groups - 1, (1 + level) / 2) * np.sqrt(groups / (groups - 1) * np.sum(apart**2)) / len(values)
        return Mean(value, value - half, value + half, groups)
    drawn = np.random.default_rng(seed).integers(groups, size=(draws, groups))
    lo, hi = expanded(value, total[drawn].sum(1) / size[drawn].sum(1), groups, groups - 1, level)
    return Mean(value, lo, hi, groups)


def expanded(value: float, drawn: Array, groups: int, freedom: int, level: float) -> tuple[float, float]:
    """Ends of the percentile interval of drawn [b], stretched about value (Hesterberg 2015) for few groups."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return np.nan, np.nan
    z = ndtri((1 + level) / 2)
    stretch = stdtrit(max(freedom, 1), (1 + level) / 2) / z * np.sqrt(groups / (groups - 1))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(value - stretch * max(value - low, 0)), float(value + stretch * max(high - value, 0))
