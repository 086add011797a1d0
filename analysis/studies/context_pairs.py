"""Two contexts compared cell by cell: the same copies, size and draw of images in both."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.studies.mantel_haenszel import Counts, common_log_odds
from analysis.studies.over_runs import SEED, mean_of_runs

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
Told = tuple[float, float, float]
HITS, TRIALS, FLIPS = "n_basin_recovered", "n_basin", 2000
CELL = ["copies", "params", "draw"]  # what both contexts of a comparison share


@dataclass(frozen=True)
class Pairs:
    """Counts of both contexts a cell, and what these share: copies, params, draw [k]."""

    counts: Counts
    copies: Array
    params: Array
    draw: Array

    def at(self, which: Array) -> "Pairs":
        """The cells `which` [k]."""
        return Pairs(self.counts.at(which), self.copies[which], self.params[which], self.draw[which])

    def flipped(self, which: Array) -> "Pairs":
        """The contexts of the cells `which` [k] exchanged."""
        return Pairs(self.counts.exchanged(which), self.copies, self.params, self.draw)


def paired(rows: "DataFrame", of: str, to: str) -> Pairs:
    """The cells that have both contexts; raises ValueError where there is none."""
    sums = rows.groupby(["context", *CELL])[[HITS, TRIALS]].sum()
    there = [name for name in (of, to) if name in sums.index.get_level_values(0)]
    if there != [of, to]:
        raise ValueError(f"contexts {of} and {to} are asked; these rows have {', '.join(there) or 'neither'}")
    both = sums.loc[to].add_suffix("_to").join(sums.loc[of].add_suffix("_of"), how="inner")
    columns = [both[f"{name}_{which}"].to_numpy(float) for which in ("to", "of") for name in (HITS, TRIALS)]
    cells = both.reset_index()
    return Pairs(Counts(*columns), *(cells[name].to_numpy(float) for name in CELL))


def estimands(pairs: Pairs) -> tuple[Told, Told, Told]:
    """(value, lo, hi) of the common log-odds, of its slope in ln params, and of the difference of the recovered shares.

    Means over the draws that tell one, with Student's t over them; NaN where none does. A draw in which one context
    recovers nothing tells no log-odds (they are infinite), but it tells the difference.
    """
    by_draw = np.array([_of_one(pairs, pairs.draw == draw) for draw in np.unique(pairs.draw)])
    odds, slope, difference = (over_draws(column) for column in by_draw.T)
    return odds, slope, difference


def over_draws(values: Array) -> Told:
    """Mean of a value a draw [n] with its 95 % interval over the draws that tell one; NaN where none does."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan, np.nan
    one = mean_of_runs(known)
    return one.value, one.lo, one.hi


def _of_one(pairs: Pairs, mine: Array) -> tuple[float, float, float]:
    """Log-odds and slope of the cells `mine` over sizes, weighted by what each size's counts tell; their difference."""
    difference = _difference(pairs.counts.at(mine))
    sizes = np.unique(pairs.params[mine])
    each = np.array([common_log_odds(pairs.counts.at(mine & (pairs.params == size))) for size in sizes])
    known = np.isfinite(each).all(axis=1)
    value, weight, x = each[known, 0], 1 / each[known, 1], np.log(sizes[known])
    if not len(value):
        return np.nan, np.nan, difference
    mean, away = np.average(value, weights=weight), x - np.average(x, weights=weight)
    slope = np.sum(weight * away * value) / np.sum(weight * away**2) if len(value) > 1 else np.nan
    return float(mean), float(slope), difference


def _difference(counts: Counts) -> float:
    """Mean over the cells of the recovered share in the one context minus that in the other."""
    return float(np.mean(counts.hits / counts.trials - counts.hits_beside / counts.trials_beside))


def size_log_odds(pairs: Pairs) -> dict[float, Told]:
    """Size -> (value, lo, hi) of the common log-odds over its copies, mean over the draws that tell them."""
    return _by_size(pairs, lambda counts: common_log_odds(counts)[0])


def size_difference(pairs: Pairs) -> dict[float, Told]:
    """Size -> (value, lo, hi) of the difference of the recovered shares, mean over its copies and draws."""
    return _by_size(pairs, _difference)


def _by_size(pairs: Pairs, of: Callable[[Counts], float]) -> dict[float, Told]:
    draws, found = np.unique(pairs.draw), {}
    for size in np.unique(pairs.params):
        cells = [(pairs.draw == draw) & (pairs.params == size) for draw in draws]
        found[float(size)] = over_draws(np.array([of(pairs.counts.at(which)) for which in cells if which.any()]))
    return found


def exchanged(pairs: Pairs) -> tuple[float, float, float]:
    """p-values of the estimands: how often contexts exchanged at random within the pairs give as much.

    NaN where the estimand is not told; an exchange that does not tell it counts as giving as much.
    """
    rng = np.random.default_rng(SEED)

    def each(one: Pairs) -> Array:
        return np.abs([told[0] for told in estimands(one)])

    seen = each(pairs)
    null = np.array([each(pairs.flipped(rng.random(len(pairs.params)) < 0.5)) for _ in range(FLIPS)])
    p = (1 + np.sum(~(null < seen - 1e-12), axis=0)) / (1 + FLIPS)
    odds, slope, difference = (float(one) for one in np.where(np.isfinite(seen), p, np.nan))
    return odds, slope, difference
