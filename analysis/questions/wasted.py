"""Wasted capacity (measures.md 3.7): what a model memorizes beyond the smallest one that generalizes as well.

Every run is read at its hold-out minimum. Losses are equal within 2 SE of their difference; the SE comes from what is
left of a setting's losses after size and replicate, or from holdout_loss_se where there is one replicate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.questions.answer import Answer, not_answerable, plain, sentences
from analysis.questions.comparable import Mean, clustered_mean, replicates, rows_at, settings
from analysis.rates import newcombe
from analysis.summary import holdout_minima
from analysis.table import Tables
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
UNIT = "memorized fraction, larger minus smallest model of equal hold-out loss"
NONE_EQUAL = "no size has a smaller one of its setting with equal hold-out loss (within 2 standard errors)"


@dataclass(frozen=True)
class Ladder:
    """The runs of one setting at their hold-out minima, one column a size, one row a replicate; NaN: no such run."""

    params: Array  # [k] rising
    replicate: Array  # [r] rising
    loss: Array  # [r k]
    loss_se: Array  # [r k]
    hits: Array  # [r k]
    trials: Array  # [r k]

    @property
    def rate(self) -> Array:
        """Memorized share of samples [r k]."""
        return self.hits / self.trials


def ladder(params: Array, replicate: Array, columns: Mapping[str, Array]) -> Ladder:
    """The table of sizes and replicates from rows [n]; raises ValueError where two rows claim one place."""
    size, k = np.unique(params, return_inverse=True)
    rows, r = np.unique(replicate, return_inverse=True)
    if len(np.unique(r * len(size) + k)) < len(params):
        raise ValueError("two runs share setting, size and seed: name what tells them apart with --at COL=VALUE")
    tables = {name: np.full((len(rows), len(size)), np.nan) for name in columns}
    for name, values in columns.items():
        tables[name][r, k] = values
    return Ladder(size, rows, **tables)


def differences_se(of: Ladder) -> Array:
    """Standard error [k k] of the difference of two sizes' mean losses; NaN where it cannot be told."""
    there = ~np.isnan(of.loss)
    shared = there.T.astype(float) @ there  # replicates that have both
    freedom = there.sum() - there.any(1).sum() - there.any(0).sum() + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        if freedom > 0:
            return np.sqrt(2 * _residual_squares(of.loss) / freedom / np.where(shared > 0, shared, np.nan))
        square = np.nansum(np.where(there, of.loss_se, 0.0) ** 2, axis=0) / there.sum(0) ** 2
        square = np.where(np.isnan(np.where(there, of.loss_se, 0.0)).any(0), np.nan, square)
        return np.sqrt(square[:, None] + square[None, :])


def _residual_squares(loss: Array) -> float:
    """Residual sum of squares of loss [r k] after a mean for each size and each replicate."""
    r, k = np.nonzero(~np.isnan(loss))
    design = np.concatenate([np.eye(loss.shape[0])[r], np.eye(loss.shape[1])[k]], axis=1)
    values = loss[r, k]
    return float(np.sum((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2))


def smallest_equal(of: Ladder) -> Array:
    """For each size the index [k] of the smallest size whose mean loss is equal within 2 SE (itself if none is)."""
    se, found = differences_se(of), np.arange(len(of.params))
    for k in range(len(of.params)):
        for j in range(k):
            if abs(mean_difference(of.loss, j, k)) <= 2 * se[j, k]:  # NaN: not known to be equal
                found[k] = j
                break
    return found


def mean_difference(table: Array, a: int, b: int) -> float:
    """Mean of column a minus column b of table [r k] over the rows that have both; NaN where none has."""
    apart = table[:, a] - table[:, b]
    return float(np.mean(apart[~np.isnan(apart)])) if (~np.isnan(apart)).any() else np.nan


def compute_optimal(part: "DataFrame", params: float) -> tuple[float, Ladder | None]:
    """The size of lowest mean loss within the training cost of `params`, and all sizes at that cost; part: a setting.

    The cost is the largest train_flops at a hold-out minimum of its runs; within it every run may stop where it likes.
    NaN and None where costs are missing.
    """
    own = holdout_minima(part[part["params"] == params])
    within = holdout_minima(part[part["train_flops"] <= own["train_flops"].max() * (1 + 1e-9)])
    if within.empty:
        return np.nan, None
    of = _ladder(within)
    loss = np.array([np.mean(column[~np.isnan(column)]) for column in of.loss.T])
    return float(of.params[np.argmin(loss)]), of


def wasted(tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int) -> Answer:
    """Mean over runs of f minus f of the smallest equal size, where that is a smaller one; `rate` is not used.

    Rows: one for each setting and size. lo and hi of a row are between replicates, of one replicate by Newcombe.
    """
    evals = rows_at(tables.evals, at)
    minima = holdout_minima(evals)
    minima = minima[minima["n_memorized"].notna() & (minima["n_generated"] > 0)].reset_index(drop=True)
    lost = evals["run_id"].nunique() - len(minima)
    lost = f"{several(lost, 'run')} without hold-out loss or counts left out" if lost else ""
    if minima.empty:
        return not_answerable(
            "wasted", sentences("no run has a hold-out loss and counts", lost), level=level, unit=UNIT
        )
    label, words = settings(evals)
    evals = evals.assign(_setting=label, _replicate=replicates(evals))
    options: dict[str, Any] = {"level": level, "draws": draws, "seed": seed}
    rows, values, clusters = [], [], []
    for setting, part in evals[evals["run_id"].isin(minima["run_id"])].groupby("_setting"):
        of = _ladder(holdout_minima(part))
        equal = smallest_equal(of)
        rows += [_row(words[setting], of, k, int(equal[k]), part, options) for k in range(len(of.params))]
        for k in np.flatnonzero(equal < np.arange(len(equal))):
            apart = of.rate[:, k] - of.rate[:, equal[k]]
            known = np.flatnonzero(~np.isnan(apart))
            values += list(apart[known])
            clusters += [f"{setting} {r}" for r in known]
    if not values:
        return not_answerable(
            "wasted", sentences(NONE_EQUAL, lost),
            level=level, unit=UNIT, rows=rows,
        )  # fmt: skip
    mean = clustered_mean(values, np.array(clusters), **options)
    why = sentences(
        f"mean over {several(len(values), 'run')} of "
        f"{several(mean.clusters, 'setting and seed', 'settings and seeds')}, "
        f"of sizes that have a smaller one of equal hold-out loss (within 2 standard errors); each at its lowest "
        f"hold-out loss",
        "compute-optimal: the size of lowest mean loss within the train_flops that a size has spent at its own minimum",
        "one setting and seed: no interval, train other seeds" if mean.clusters < 2 else "",
        lost,
    )
    return Answer("wasted", True, mean.value, plain(mean.lo), plain(mean.hi), level, UNIT, False, why, rows)


def _ladder(rows: "DataFrame") -> Ladder:
    columns = {"loss": "holdout_loss", "loss_se": "holdout_loss_se", "hits": "n_memorized", "trials": "n_generated"}
    values = {name: rows[source].to_numpy(float) for name, source in columns.items()}
    return ladder(rows["params"].to_numpy(float), rows["_replicate"].to_numpy(), values)


def _row(setting: str, of: Ladder, k: int, equal: int, part: "DataFrame", options: Mapping[str, Any]) -> dict[str, Any]:
    params = float(of.params[k])
    row = {
        "setting": setting,
        "params": params,
        "n_runs": int(np.sum(~np.isnan(of.loss[:, k]))),
        "holdout_loss": float(np.nanmean(of.loss[:, k])),
        "rate": float(np.nanmean(of.rate[:, k])),
        "params_equal": float(of.params[equal]),
        "params_wasted": params - float(of.params[equal]),
    }
    row |= _named(difference(of, k, of, equal, options), "value", "lo", "hi")
    optimal, within = compute_optimal(part, params)
    beyond = None
    if within is not None and optimal != params:
        beyond = difference(of, k, within, int(np.flatnonzero(within.params == optimal)[0]), options)
    row |= {"params_optimal": plain(optimal), "params_beyond_optimal": plain(params - optimal)}
    return row | _named(beyond, "beyond_optimal", "beyond_lo", "beyond_hi")


def _named(mean: Mean | None, *names: str) -> dict[str, Any]:
    return dict.fromkeys(names) if mean is None else dict(zip(names, map(plain, mean[:3]), strict=True))


def difference(of: Ladder, k: int, other: Ladder, j: int, options: Mapping[str, Any]) -> Mean | None:
    """f of size k of one ladder minus f of size j of another, by replicate; None: the same place, or none has both."""
    _, mine, theirs = np.intersect1d(of.replicate, other.replicate, return_indices=True)
    apart = of.rate[mine, k] - other.rate[theirs, j]
    known = ~np.isnan(apart)
    if (other is of and k == j) or not known.any():
        return None
    found = clustered_mean(apart[known], of.replicate[mine][known], **options)
    if np.isfinite(found.lo):
        return found
    # One replicate, or equal ones (no hit anywhere): the interval is that of these runs' samples, not of their sizes.
    mine, theirs = mine[known], theirs[known]
    ends = newcombe(
        of.hits[mine, k].sum(),
        of.trials[mine, k].sum(),
        other.hits[theirs, j].sum(),
        other.trials[theirs, j].sum(),
        options["level"],
    )
    return Mean(found.value, float(ends.lo), float(ends.hi), found.clusters)
