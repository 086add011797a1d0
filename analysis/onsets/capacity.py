"""How many images a model memorizes: EMM and N* of each setting and images_seen (measures.md 3.2, Gu et al. 2023)."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import numbers
from analysis.onsets.crossing import Crossing, falling, generalized_from, memorized_up_to, redrawn, spread
from analysis.onsets.run_setting import config, constant_rate, weights
from analysis.replicates import REPLICATE_KEYS, without

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
OF_SETTING = ("family", "width", "params", "design", "copies", "batch_size")
NOT_OF_CURVE = (*REPLICATE_KEYS, "data.n_unique", "data.n_train", "train.images", "train.epochs", "evaluate.at")


def capacities(
    evals: "DataFrame", eps: float = 0.1, *, draws: int = 300, level: float = 0.95, rng: np.random.Generator
) -> "DataFrame":
    """A row for each images_seen > 0 and configuration (but for n_unique, replicate, length) with >= 2 sizes.

    Columns OF_SETTING, weights, images_seen, n_sizes, n_runs; emm and n_star with _status, _a, _b, _lo, _hi;
    `interval`: runs (redrawn within each n) where every n has two or more, else samples.
    f pools the counts of the runs of one n.
    """
    import pandas

    rows, seen = [], constant_rate(evals)
    seen = seen[(seen["images_seen"] > 0) & seen["n_memorized"].notna() & (seen["n_generated"] > 0)]
    keys = [_but_sizes(row) for row in seen[["config", "params", "copies"]].to_dict("records")]
    for (_, images_seen), part in seen.groupby([np.array(keys, object), "images_seen"], sort=True):
        n, x, b = (numbers(part, name, "evals") for name in ("n_unique", "n_memorized", "n_generated"))
        sizes, per_size = np.unique(n, return_counts=True)
        if len(sizes) < 2:
            continue
        by_run = per_size.min() > 1
        curves = _by_runs(n, x, b, draws, rng) if by_run else redrawn(x, b, draws, rng)
        row = {name: part[name].iloc[0] for name in OF_SETTING} | {"weights": weights(part.iloc[0])}
        row |= {"images_seen": images_seen, "n_sizes": len(sizes), "n_runs": len(part)}
        for name, found, level_at, reached in (
            ("emm", memorized_up_to(n, x / b, eps=eps, weights=b), eps - 1, False),
            ("n_star", generalized_from(n, x / b, eps=eps, weights=b), -eps, True),
        ):
            row |= _named(name, found)
            smooth = np.stack([-falling(n, curve, b)[1] for curve in curves])
            row[f"{name}_lo"], row[f"{name}_hi"] = spread(sizes, smooth, level_at, reached=reached, coverage=level)
        rows.append(row | {"interval": "runs" if by_run else "samples"})
    return pandas.DataFrame(rows)


def _named(name: str, found: Crossing) -> dict[str, Any]:
    ends = {f"{name}_a": found.a, f"{name}_b": found.b}
    return {name: found.value, f"{name}_status": str(found.status), **ends}


def _by_runs(n: Array, x: Array, b: Array, draws: int, rng: np.random.Generator) -> Array:
    """Rates [draws rows]: each row's place taken by a run of the same n."""
    rates = np.empty((draws, len(n)))
    for size in np.unique(n):
        rows = np.flatnonzero(n == size)
        rates[:, rows] = (x / b)[rng.choice(rows, size=(draws, len(rows)))]
    return rates


def _but_sizes(row: dict[str, Any]) -> str:
    """What must agree between the runs of one curve over n_unique."""
    found = without(config(row), NOT_OF_CURVE)
    return json.dumps([found, row["params"], row["copies"]], sort_keys=True)
