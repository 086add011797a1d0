"""Two contexts compared cell by cell: the same copies, size and draw of images in both."""

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
    """Counts of both contexts a cell: the same copies, size and draw of images; params, draw [k]."""

    counts: Counts
    params: Array
    draw: Array

    def flipped(self, which: Array) -> "Pairs":
        """The contexts of the pairs `which` [k] exchanged."""
        return Pairs(self.counts.exchanged(which), self.params, self.draw)


def paired(rows: "DataFrame", of: str, to: str) -> Pairs:
    """The cells that have both contexts; raises ValueError where there is none."""
    sums = rows.groupby(["context", *CELL])[[HITS, TRIALS]].sum()
    there = [name for name in (of, to) if name in sums.index.get_level_values(0)]
    if there != [of, to]:
        raise ValueError(f"contexts {of} and {to} are asked; these rows have {', '.join(there) or 'neither'}")
    both = sums.loc[to].add_suffix("_to").join(sums.loc[of].add_suffix("_of"), how="inner")
    columns = [both[f"{name}_{which}"].to_numpy(float) for which in ("to", "of") for name in (HITS, TRIALS)]
    cells = both.reset_index()
    return Pairs(Counts(*columns), cells["params"].to_numpy(float), cells["draw"].to_numpy())


def estimands(pairs: Pairs) -> tuple[Told, Told]:
    """(value, lo, hi) of the common log-odds and of its slope in ln params: means over draws, Student's t over them."""
    by_draw = [_of_one(pairs, pairs.draw == draw) for draw in np.unique(pairs.draw)]
    found = [mean_of_runs([one[k] for one in by_draw if np.isfinite(one[k])]) for k in (0, 1)]
    odds, slope = ((one.value, one.lo, one.hi) for one in found)
    return odds, slope


def _of_one(pairs: Pairs, mine: Array) -> tuple[float, float]:
    """Log-odds and slope of the cells `mine`: over sizes, weighted by what each size's counts tell."""
    sizes = np.unique(pairs.params[mine])
    each = np.array([common_log_odds(pairs.counts.at(mine & (pairs.params == size))) for size in sizes])
    known = np.isfinite(each).all(axis=1)
    value, weight, x = each[known, 0], 1 / each[known, 1], np.log(sizes[known])
    if not len(value):
        return np.nan, np.nan
    mean, away = np.average(value, weights=weight), x - np.average(x, weights=weight)
    spread = np.sum(weight * away**2)
    return float(mean), float(np.sum(weight * away * value) / spread) if spread > 0 else np.nan


def size_log_odds(pairs: Pairs) -> dict[float, Told]:
    """Size -> (value, lo, hi) of the common log-odds over its copies, mean over draws; without sizes that tell none."""
    found = {}
    for size in np.unique(pairs.params):
        mine = [(pairs.draw == draw) & (pairs.params == size) for draw in np.unique(pairs.draw)]
        values = [common_log_odds(pairs.counts.at(which))[0] for which in mine]
        known = [value for value in values if np.isfinite(value)]
        if known:
            one = mean_of_runs(known)
            found[float(size)] = one.value, one.lo, one.hi
    return found


def exchanged(pairs: Pairs) -> tuple[float, float]:
    """p-values of both estimands: how often contexts exchanged at random within the pairs give as much."""
    rng = np.random.default_rng(SEED)

    def both(one: Pairs) -> Array:
        return np.abs([told[0] for told in estimands(one)])

    seen = both(pairs)
    null = np.array([both(pairs.flipped(rng.random(len(pairs.params)) < 0.5)) for _ in range(FLIPS)])
    p_odds, p_slope = (1 + np.sum(null >= seen - 1e-12, axis=0)) / (1 + FLIPS)
    return float(p_odds), float(p_slope)
