"""Memorization at matched generalization: two sizes of one setting, compared where their hold-out losses are equal.

The common loss is the worse of the two minima, so both runs pass it; each is read where it first gets there.
"""

from collections.abc import Mapping
from itertools import combinations, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit

from analysis.questions.answer import Answer, not_answerable, plain, sentences
from analysis.questions.comparable import (
    State,
    clustered_mean,
    logit_rate,
    replicates,
    rows_at,
    settings,
    state_at_loss,
)
from analysis.table import Tables
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
COARSE = 4.0  # ratio of neighbouring images_seen beyond which a straight line between them is a guess
UNIT = "logit of the memorized fraction, larger minus smaller model"


class Curve(NamedTuple):
    """One run along training: images_seen, hold-out loss, its standard error and the logit of f, each [n]."""

    run_id: str
    setting: int
    params: float
    replicate: int
    images_seen: Array
    loss: Array
    loss_se: Array
    logit: Array


class Pair(NamedTuple):
    """Two runs of one setting and replicate at one hold-out loss; None: not both can be read there."""

    first: Curve
    second: Curve
    loss: float
    states: tuple[State, State] | None

    @property
    def difference(self) -> float:
        """Logit f of the second minus that of the first; raises ValueError where `states` is None."""
        if self.states is None:
            raise ValueError(f"runs {self.first.run_id} and {self.second.run_id} cannot both be read at this loss")
        return self.states[1].y - self.states[0].y


def pair(first: Curve, second: Curve) -> Pair:
    """The two runs where each first has the worse of the two lowest hold-out losses."""
    target = max(np.min(curve.loss) for curve in (first, second))
    a, b = (state_at_loss(c.images_seen, c.loss, c.loss_se, c.logit, target) for c in (first, second))
    return Pair(first, second, float(target), None if a is None or b is None else (a, b))


def curves(evals: "DataFrame") -> list[Curve]:
    """A curve for each run of evals that has a hold-out loss after training began."""
    setting, _ = settings(evals)
    frame = evals.assign(
        _setting=setting,
        _replicate=replicates(evals),
        _logit=logit_rate(evals["n_memorized"].to_numpy(float), evals["n_generated"].to_numpy(float)),
    )
    found = []
    for _, run in frame.groupby("run_id", sort=True):
        trained = run[(run["images_seen"] > 0) & run["holdout_loss"].notna()]
        if len(trained):
            columns = (trained[n].to_numpy(float) for n in ("images_seen", "holdout_loss", "holdout_loss_se", "_logit"))
            first = trained.iloc[0]
            found.append(
                Curve(
                    str(first["run_id"]),
                    int(first["_setting"]),
                    float(first["params"]),
                    int(first["_replicate"]),
                    *columns,
                )
            )
    return found


def matched(tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int) -> Answer:
    """Difference of logit f at equal hold-out loss, pooled over pairs; clusters are (setting, replicate).

    `rate` is not used. Rows: one for each setting and pair of sizes.
    """
    evals = rows_at(tables.evals, at)
    _, words = settings(evals)
    found = curves(evals)
    pairs = [
        pair(*sorted(two, key=lambda curve: curve.params))
        for two in combinations(found, 2)
        if (two[0].setting, two[0].replicate) == (two[1].setting, two[1].replicate) and two[0].params != two[1].params
    ]
    pairs.sort(key=lambda p: (p.first.setting, p.first.params, p.second.params, p.first.replicate))
    good = [p for p in pairs if p.states]
    rows = [
        _row(words[key[0]], list(group), level=level, draws=draws, seed=seed)
        for key, group in groupby(pairs, key=lambda p: (p.first.setting, p.first.params, p.second.params))
    ]
    lost = sentences(_left_out(evals, found), _unmatched(len(pairs) - len(good), len(pairs)))
    lacking = _lacking(evals, pairs, good)
    if lacking:
        return not_answerable("matched", sentences(lacking, lost), level=level, unit=UNIT, rows=rows)
    cluster = np.unique([(p.first.setting, p.first.replicate) for p in good], axis=0, return_inverse=True)[1]
    pooled = clustered_mean([p.difference for p in good], cluster.ravel(), level=level, draws=draws, seed=seed)
    ratio = np.exp(np.mean([np.log(p.second.params / p.first.params) for p in good]))
    why = sentences(
        f"mean over {several(len(good), 'pair')} of runs of "
        f"{several(pooled.clusters, 'setting and seed', 'settings and seeds')}, the larger {ratio:.3g} "
        f"times the smaller; each run is read where it first has the worse of the two lowest hold-out losses",
        _coarse(good),
        lost,
    )
    if pooled.lo is None or not np.isfinite(pooled.lo):
        lacking = (
            "one setting and seed tells nothing of other seeds: train more seeds"
            if pooled.clusters < 2
            else "all settings and seeds agree to the last digit, as where nothing is memorized: that is no interval"
        )
        return not_answerable("matched", sentences(lacking, why), level=level, unit=UNIT, rows=rows)
    return Answer("matched", True, pooled.value, plain(pooled.lo), plain(pooled.hi), level, UNIT, False, why, rows)


def _coarse(good: list[Pair]) -> str:
    """A warning where a run was read between evaluations that lie far apart, or an empty string."""
    apart = [1.0]
    for p in good:
        for curve, state in zip((p.first, p.second), p.states or (), strict=True):
            below = curve.images_seen[curve.images_seen < state.images_seen * (1 - 1e-9)]
            above = curve.images_seen[curve.images_seen > state.images_seen * (1 + 1e-9)]
            on_a_point = np.isclose(curve.images_seen, state.images_seen, rtol=1e-9).any()
            apart += [] if on_a_point else [float(above.min() / below.max())]
    if max(apart) <= COARSE:
        return ""
    return (
        f"read between evaluations up to {max(apart):.3g} times apart in images_seen: straight lines over such a gap "
        f"are a guess, evaluate more often"
    )


def _lacking(evals: "DataFrame", pairs: list[Pair], good: list[Pair]) -> str:
    """What these data lack for an answer, or an empty string."""
    if not pairs:
        return "no two sizes share a setting and a seed: train the same data and seed at another size"
    if not good:
        return "no pair of sizes can be read at one hold-out loss: evaluate more often, and earlier"
    return "" if evals["n_memorized"].sum() > 0 else "no sample of any run is memorized: there is nothing to compare"


def _row(words: str, group: list[Pair], *, level: float, draws: int, seed: int) -> dict[str, Any]:
    small, large = group[0].first.params, group[0].second.params
    good = [p for p in group if p.states]
    row = {"setting": words, "params_smaller": small, "params_larger": large, "n_pairs": len(good)}
    empty = ("holdout_loss", "images_seen_smaller", "images_seen_larger", "rate_smaller", "rate_larger")
    if not good:
        return row | dict.fromkeys((*empty, "value", "lo", "hi", "per_doubling"))
    states = np.array([p.states for p in good])  # [pairs, smaller and larger, images_seen and logit]
    mean = clustered_mean(
        [p.difference for p in good], [p.first.replicate for p in good], level=level, draws=draws, seed=seed
    )
    values = (np.mean([p.loss for p in good]), *states[..., 0].mean(0), *expit(states[..., 1]).mean(0))
    row |= {name: float(value) for name, value in zip(empty, values, strict=True)}
    row |= {"value": mean.value, "lo": plain(mean.lo), "hi": plain(mean.hi)}
    return row | {"per_doubling": mean.value / np.log2(large / small)}


def _left_out(evals: "DataFrame", found: list[Curve]) -> str:
    missing = evals["run_id"].nunique() - len(found)
    counts = int(sum(np.isnan(curve.logit).sum() for curve in found))
    return sentences(
        f"{several(missing, 'run')} without a hold-out loss left out" if missing else "",
        f"{several(counts, 'evaluation')} without n_memorized or n_generated" if counts else "",
    )


def _unmatched(count: int, total: int) -> str:
    return f"{count} of {several(total, 'pair')} left out: they cannot be read at one hold-out loss" if count else ""
