"""A small study in memory with known truth: logit f = b_0 + sum b_v ln v + luck of the run, in strata and in cells."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas

from analysis.table import Tables, validated

SPECTRUM = (256, (1, 4, 16, 64))
TRUTH = {"b_0": -11.0, "params": 0.6, "copies": 0.9}
SIZES = (2743, 10405, 40489, 159697)


def logit_f(truth: Mapping[str, float], **x: float) -> float:
    return truth["b_0"] + sum(b * np.log(x[name]) for name, b in truth.items() if name != "b_0" and name in x)


def study(
    rng: np.random.Generator, *, truth: Mapping[str, float] = TRUTH, params: Sequence[int] = SIZES,
    plans: Sequence[tuple] = (SPECTRUM,), seen: Sequence[int] = (128_000,), seeds: int = 3, luck: float = 0.15,
    chains: int = 128, samples: int = 512, **columns: object,
) -> Tables:  # fmt: skip
    """Every size x plan (n_unique, copies of its strata) x length x seed; a cell's rate: its largest copies."""
    evals, strata = [], []
    for k, (p, (n_unique, copies), t, seed) in enumerate(product(params, plans, seen, range(seeds))):
        same = {"run_id": f"run{k}", "cell_id": f"cell{k // seeds}", "seed": seed, "draw": seed, "params": p,
                "n_unique": n_unique, "images_seen": t, "n_generated": samples}  # fmt: skip
        own = luck * rng.standard_normal()

        def count(trials: int, r: int, own=own, same=same) -> int:
            x = {name: same[name] for name in ("params", "n_unique", "images_seen")}
            return int(rng.binomial(trials, 1 / (1 + np.exp(-own - logit_f(truth, copies=r, **x)))))

        hits = count(samples, max(copies))
        evals.append({**same, "copies": max(copies), "n_memorized": hits, "n_extracted": min(hits, n_unique),
                      "wall_seconds": 1e-7 * p * t, **columns})  # fmt: skip
        strata += [{**same, "copies": r, "n_basin": chains, "n_basin_recovered": count(chains, r)} for r in copies]
    return of_rows(evals, strata)


def of_rows(evals: list[dict], strata: Sequence[dict] = ()) -> Tables:
    frames = [
        validated(pandas.DataFrame(rows), name, where=name)[0]
        for name, rows in (("evals", evals), ("strata", strata), ("noise_levels", ()), ("prompts", ()), ("images", ()))
    ]
    return Tables(*frames)


def two_sizes_of_training_set(rng: np.random.Generator, truth: Mapping[str, float]) -> Tables:
    """Strata of 1 to 16 copies of 128 images in training sets of 256 and of 2,560; truth in params, copies, n_train."""
    rows = []
    for run, (params, n_train, seed) in enumerate(product((1e4, 4e4, 16e4), (256, 2_560), range(4))):
        for copies in (1, 2, 4, 8, 16):
            x = {"params": params, "copies": copies, "n_train": n_train}
            rate = 1 / (1 + np.exp(-(truth["b_0"] + sum(truth[name] * np.log(value) for name, value in x.items()))))
            rows.append({**x, "run_id": f"r{run}", "cell_id": f"c{run // 4}", "seed": seed, "draw": seed,
                         "n_unique": 128, "images_seen": 1e5, "n_basin": 256,
                         "n_basin_recovered": rng.binomial(256, rate)})  # fmt: skip
    return of_rows([dict(row) for row in rows if row["copies"] == 1], rows)
