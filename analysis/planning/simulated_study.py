"""A simulated study in exactly the schema of scaling.schema: `simulated(plan, seed)` draws the tables whose truth
`simulated_curves.truth(plan)` tells. Counts are drawn, never ratios; what is not simulated is empty.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from analysis.planning import simulated_curves as curves
from analysis.planning.planned import StudyPlan
from analysis.planning.planned_grid import Cell
from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
STRICTER, LOOSER, CALIBRATED = 0.8, 0.02, 0.1  # memorized that stay so at 1/4; others that become so at 1/2, calibrated
KID_OF_LOSS = 0.5  # kid = KID_OF_LOSS x (hold-out loss - E): quality follows generalization
KID_SE = 0.01


@dataclass(frozen=True)
class Layout:
    """All that is the same in every study of a plan: rows of both tables without what is drawn. e rows, s strata."""

    plan: StudyPlan
    evals: "dict[str, Array]"  # column -> [e]
    strata: "dict[str, Array]"  # column -> [s]
    run: Array  # [e] number of the run
    run_draw: Array  # [runs] number of its draw of images
    place: Array  # [e] which of its run's evaluations, 0 first
    per_run: Array  # [runs] how many evaluations
    row: Array  # [s] the evals row of each stratum
    position: Array  # [s] its place among the row's strata
    logit: Array  # [s] without luck
    share: Array  # [s] of training draws
    holdout: Array  # [e] true hold-out loss without luck
    seen: Array  # [e]


def layout(plan: StudyPlan) -> Layout:
    """Rows in order of cell, seed, images_seen, copies."""
    heights = curves.bump_heights(plan)
    parts = [_cell_rows(plan, cell, heights[cell.group]) for cell in plan.cells]
    blocks = [part for part in parts for _ in range(plan.seeds)]
    n_evals = [len(block["evals"]["images_seen"]) for block in blocks]
    seeds = np.tile(np.arange(plan.seeds), len(plan.cells))
    cells = [cell for cell in plan.cells for _ in range(plan.seeds)]
    start = np.concatenate([[0], np.cumsum(n_evals)[:-1]])
    joined = {
        table: {name: np.concatenate([block[table][name] for block in blocks]) for name in blocks[0][table]}
        for table in ("evals", "strata", "true")
    }
    row = np.concatenate([block["row"] + first for block, first in zip(blocks, start, strict=True)])
    run = np.repeat(np.arange(len(blocks)), n_evals)
    ids = np.array([curves.digest(cell.config, int(seed)) for cell, seed in zip(cells, seeds, strict=True)])
    configs = np.array([json.dumps(json.loads(cell.config) | {"seed": int(seed)}, sort_keys=True)
                        for cell, seed in zip(cells, seeds, strict=True)])  # fmt: skip
    evals = joined["evals"] | {"run_id": ids[run], "train_id": ids[run], "config": configs[run], "seed": seeds[run],
                               "draw": seeds[run]}  # fmt: skip
    true = joined["true"]
    return Layout(plan, evals, joined["strata"], run, seeds, np.concatenate([np.arange(n) for n in n_evals]),
                  np.array(n_evals), row, true["position"], true["logit"], true["share"],
                  np.concatenate([block["holdout"] for block in blocks]),
                  np.concatenate([block["seen"] for block in blocks]))  # fmt: skip


def _cell_rows(plan: StudyPlan, cell: Cell, height: float) -> dict[str, Any]:
    """The rows of one run of the cell."""
    t = np.array(cell.points)
    copies, images = np.array(cell.strata).T
    same = {
        "cell_id": curves.digest(cell.config), "data_sha256": curves.digest(plan.name), "family": "unet",
        "width": cell.width, "params": cell.params, "n_unique": cell.n_unique, "n_train": cell.n_train,
        "design": cell.design, "conditioning": "none", "rotate": 0, "n_generated": cell.samples,
        "schema_version": schema.SCHEMA_VERSION, "science_version": 1, "code_version": "simulated",
        "commit": "simulated",
        "protocol": "fixed_images", "dataset": "simulated", "n_holdout": plan.n_holdout,
        "n_duplicated": int(images[copies > 1].sum()), "copies": int(copies.max()), "fraction": cell.fraction,
        "duplication_rate": 1 - cell.n_unique / cell.n_train, "near": "exact", "batch_size": cell.batch_size,
        "n_nonfinite": 0, "feature_space": "simulated", "holdout_loss_se": plan.loss.se, "seen_loss_se": plan.loss.se,
        "n_basin": plan.n_basin * len(copies), "n_null_basin": plan.n_basin, "kid_se": KID_SE,
    }  # fmt: skip
    evals = {name: np.full(len(t), value) for name, value in same.items() if value is not None}
    evals |= {name: np.full(len(t), np.nan) for name, value in same.items() if value is None}
    evals |= {"images_seen": t, "train_flops": 6.0 * cell.params * t, "epochs": t / cell.n_train}
    logit = curves.stratum_logit(plan, cell, t)
    shape = logit.shape

    def full(values: Array) -> Array:
        return np.broadcast_to(values, shape).ravel()

    strata = {"copies": full(copies), "exposures": (t[:, None] * copies / cell.n_train).ravel(),
              "n_images": full(images), "n_basin": np.full(logit.size, plan.n_basin)}  # fmt: skip
    true = {"logit": logit.ravel(), "share": full(curves.shares(cell)), "position": full(np.arange(len(copies)))}
    return {
        "evals": evals, "strata": strata, "true": true, "row": np.repeat(np.arange(len(t)), len(copies)),
        "holdout": curves.holdout_loss(plan, cell, t, height), "seen": curves.seen_loss(plan, cell, t),
    }  # fmt: skip


def simulated(plan: StudyPlan, seed: int) -> dict[str, "DataFrame"]:
    """The five tables of one study, every column of the schema; noise_levels, prompts and images have no rows."""
    return drawn(layout(plan), np.random.default_rng(seed))


def drawn(study: Layout, rng: np.random.Generator) -> dict[str, "DataFrame"]:
    """One study of the layout."""
    import pandas

    plan, runs, evaluations = study.plan, len(study.run_draw), len(study.run)
    luck = plan.rate.luck_run * rng.standard_normal(runs)
    luck += (plan.rate.luck_draw * rng.standard_normal(plan.seeds))[study.run_draw]
    f = _rates(expit(study.logit + luck[study.run][study.row]), plan.rate.overdispersion, rng)
    strata = _stratum_counts(study, f, rng)
    evals = _counts(study, strata, rng) | _losses(study, rng)
    kept = study.place < _kept(study.per_run, plan.ended_early, rng)[study.run]
    evals, strata = study.evals | evals, study.strata | strata
    strata |= {c.name: evals[c.name][study.row] for c in schema.IDENTITY if c.name in evals}
    whole = {"evals": (evals, np.arange(evaluations)[kept]), "strata": (strata, np.flatnonzero(kept[study.row]))}
    found = {}
    for table, columns in schema.TABLES.items():
        names = [c.name for c in columns]
        values, rows = whole.get(table, ({}, []))
        given = pandas.DataFrame({name: values[name][rows] for name in names if name in values})
        found[table] = given.reindex(columns=names)
    return found


def _rates(f: Array, c: float, rng: np.random.Generator) -> Array:
    """Beta-distributed about f [s] with correlation c of two trials; c = 0 is f itself (measures.md 3.1)."""
    if c == 0:
        return f
    # Beyond 1e-9 of an end the beta parameters underflow; the rate is the end for every count there is.
    inside = np.clip(f, 1e-9, 1 - 1e-9)
    drawn = rng.beta(inside * (1 - c) / c, (1 - inside) * (1 - c) / c)
    return np.where((f > 1e-9) & (f < 1 - 1e-9), drawn, np.round(f))


def _stratum_counts(study: Layout, f: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Basin chains are binomial in f; each sample falls on one stratum (share x f) or on none: multinomial."""
    rows, strata = len(study.run), int(study.position.max()) + 1
    chance = np.zeros((rows, strata + 1))
    chance[study.row, study.position] = study.share * f
    chance[:, -1] = np.maximum(1 - chance.sum(1), 0)
    samples = study.evals["n_generated"]
    hits = rng.multinomial(samples, chance)[study.row, study.position]
    null = rng.binomial(samples, study.plan.rate.null)
    null_hits = rng.multinomial(null, _padded(study, rows, strata))[study.row, study.position]
    return {
        "n_basin_recovered": rng.binomial(study.strata["n_basin"], f),
        "n_hits": hits,
        "n_memorized_14": rng.binomial(hits, STRICTER),
        "n_null_memorized": null_hits,
        "n_extracted": distinct(hits, study.strata["n_images"], rng),
    }


def _padded(study: Layout, rows: int, strata: int) -> Array:
    """Shares of unique images [rows strata]: a null sample's nearest image has the copies of a random one."""
    n = np.zeros((rows, strata))
    n[study.row, study.position] = study.strata["n_images"]
    return n / n.sum(1, keepdims=True)


def distinct(hits: Array, images: Array, rng: np.random.Generator) -> Array:
    """How many of `images` [s] are met by `hits` [s] uniform throws: one throw at a time, all rows together."""
    found = np.zeros(len(hits), np.int64)
    for throw in range(int(hits.max(initial=0))):
        rows = np.flatnonzero((hits > throw) & (found < images))
        if not rows.size:
            break
        found[rows] += rng.random(rows.size) >= found[rows] / images[rows]
    return found


def _counts(study: Layout, strata: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The evaluation's counts: sums over its strata, thresholds nested, and the nulls."""
    total = {name: np.bincount(study.row, values).astype(np.int64) for name, values in strata.items()}
    samples, memorized = study.evals["n_generated"], total["n_hits"]
    return {
        "n_memorized": memorized,
        "n_memorized_14": total["n_memorized_14"],
        "n_memorized_12": memorized + rng.binomial(samples - memorized, LOOSER),
        "n_calibrated": memorized + rng.binomial(samples - memorized, CALIBRATED),
        "n_null_calibrated": rng.binomial(samples, CALIBRATED),
        "n_null_memorized": total["n_null_memorized"],
        "n_extracted": total["n_extracted"],
        "n_basin_recovered": total["n_basin_recovered"],
        "n_null_basin_recovered": rng.binomial(study.evals["n_null_basin"], study.plan.rate.null),
    }


def _losses(study: Layout, rng: np.random.Generator) -> dict[str, Array]:
    """True losses, the luck of run and draw (shared by a run's evaluations), and each measurement's own error."""
    own, runs, rows = study.plan.loss, len(study.run_draw), len(study.run)
    luck = own.sd_run * rng.standard_normal(runs)
    luck += (own.sd_draw * rng.standard_normal(study.plan.seeds))[study.run_draw]
    error = luck[study.run] + own.se * rng.standard_normal(rows)
    seen = study.seen + luck[study.run] + own.se * rng.standard_normal(rows)
    kid = KID_OF_LOSS * (study.holdout - own.E) + KID_SE * rng.standard_normal(rows)
    return {
        "holdout_loss": study.holdout + error,
        "seen_loss": seen,
        "train_loss": np.where(study.place > 0, seen, np.nan),  # nothing was optimised before the first evaluation
        "kid": kid,
    }


def _kept(per_run: Array, share: float, rng: np.random.Generator) -> Array:
    """Evaluations each run reaches [runs]: all, or for this share of runs fewer (2 or more where there are)."""
    early = (rng.random(len(per_run)) < share) & (per_run > 2)
    return np.where(early, rng.integers(2, np.maximum(per_run, 3)), per_run)
