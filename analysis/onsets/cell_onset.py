"""Onsets of more than one run: of a cell and of its strata (measures.md 3.2)."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

from analysis.columns import numbers
from analysis.onsets.crossing import Crossing, Status, first_crossing, redrawn, spread
from analysis.onsets.run_setting import constant_rate, ended_early, weights
from analysis.rates import wilson

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
OF_CELL = ("family", "width", "params", "n_unique", "n_train", "design", "copies", "batch_size")


def cell_onsets(
    evals: "DataFrame", eps: float = 0.01, *, draws: int = 300, level: float = 0.95, rng: np.random.Generator
) -> "DataFrame":
    """tau_mem of each cell from the counts of its runs added up: cell_id, …, n_runs, tau_mem, status, a, b, lo, hi.

    `interval`: "runs" = whole runs redrawn, never narrower than by their samples, which two runs that agree by chance
    would make it; "samples" = one run, its samples redrawn, which says nothing about another seed.
    """
    import pandas

    rows = []
    for cell, part in constant_rate(evals).groupby("cell_id", sort=False):
        x = part.pivot(index="run_id", columns="images_seen", values="n_memorized").astype(float)
        b = part.pivot(index="run_id", columns="images_seen", values="n_generated").astype(float)
        b, t, runs = b.where(x.notna()), x.columns.to_numpy(float), len(x)
        hits, trials = x.sum().to_numpy(), b.sum().to_numpy()
        early = all(ended_early(run.sort_values("images_seen").iloc[-1]) for _, run in part.groupby("run_id"))
        found = first_crossing(t, wilson(hits, trials).value, eps, ended_early=early)
        lo, hi = spread(t, redrawn(hits, trials, draws, rng), eps, coverage=level)
        if runs > 1:
            ends = _by_runs(t, x.to_numpy(), b.to_numpy(), found, eps, draws=draws, level=level, rng=rng)
            lo, hi = float(np.fmin(lo, ends[0])), float(np.fmax(hi, ends[1]))
        row = {"cell_id": cell} | {name: part[name].iloc[0] for name in OF_CELL}
        row |= {"weights": weights(part.iloc[0]), "n_runs": runs}
        rows.append(row | {"tau_mem": found.value, "status": str(found.status), "a": found.a, "b": found.b}
                    | {"lo": lo, "hi": hi, "interval": "runs" if runs > 1 else "samples"})  # fmt: skip
    return pandas.DataFrame(rows)


def _by_runs(
    t: Array, x: Array, b: Array, found: Crossing, eps: float, *, draws: int, level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Ends from drawing whole runs, x of b [runs n] at t [n]; arms stretched for few runs (Hesterberg 2015)."""
    runs = len(x)
    times = rng.multinomial(runs, np.full(runs, 1 / runs), size=draws)
    total = times @ np.nan_to_num(b)
    curves = np.divide(times @ np.nan_to_num(x), total, out=np.full(total.shape, np.nan), where=total > 0)
    lo, hi = spread(t, curves, eps, coverage=level)
    if found.status != Status.INTERP:
        return lo, hi
    wider = np.sqrt(runs / (runs - 1)) * stdtrit(runs - 1, (1 + level) / 2) / ndtri((1 + level) / 2)
    return found.value * (lo / found.value) ** wider, found.value * (hi / found.value) ** wider


def stratum_onsets(
    strata: "DataFrame", recovered: float = 0.5, *, draws: int = 300, level: float = 0.95, rng: np.random.Generator
) -> "DataFrame":
    """A row a run and copies: the exposures at which `recovered` of the basin chains come back, and the images_seen.

    Half of them by default, not eps: the null is up to .02. Columns exposures, images_seen, status, a, b, lo, hi (in
    exposures; chains of this run redrawn). Strata whose chains were never run are `missing`.
    """
    import pandas

    rows = []
    for (run, copies), part in strata.groupby(["run_id", "copies"], sort=False):
        part = part.sort_values("exposures")
        t, x, n = (numbers(part, name, "strata") for name in ("exposures", "n_basin_recovered", "n_basin"))
        found = first_crossing(t, wilson(x, n).value, recovered)
        lo, hi = spread(t, redrawn(x, n, draws, rng), recovered, coverage=level)
        seen = found.value * part["n_train"].iloc[0] / copies
        rows.append({"run_id": run, "cell_id": part["cell_id"].iloc[0], "copies": copies, "exposures": found.value,
                     "images_seen": seen, "status": str(found.status), "a": found.a, "b": found.b, "lo": lo,
                     "hi": hi})  # fmt: skip
    return pandas.DataFrame(rows)
