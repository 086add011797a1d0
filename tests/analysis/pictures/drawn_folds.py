"""A study of what galleries and scores are drawn from: images left out in turn, pixels, samples, prompts, spurious.

Log-density of image k in the run of seed s, without chance: k / 10, ± .5 by run, and if the run trained on the image
0, 2 or 5 nats for 1, 2 or 4 copies.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas

from analysis.summary import last_evaluations
from analysis.table import Tables, validated
from scaling import schema
from tests.analysis.pictures.drawn_study import drawn_tables

LEVELS, HELD_OUT = 3, 8
IMAGES = 32  # of a stratum
IN = ((0, 1), (2, 3), (0, 2), (1, 3))  # the seeds that train on images k, k + 4, …: each on half of every stratum
PLAN = {
    "draw": 0, "fold_of": 2, "fold_index": 0,
    "n_unique": IMAGES * LEVELS // 2, "n_train": IMAGES * (2**LEVELS - 1) // 2,
}  # fmt: skip
GAIN = {1: 0.0, 2: 2.0, 4: 5.0}
SPURIOUS = (30, 20, 6)  # samples of the groups of the first run; each other run has one group, of 1, 2, … samples


def folded_tables() -> Tables:
    """Four runs at their last evaluation, each image in training in two of them; counts and images, no losses."""
    study = drawn_tables((40489,), len(IN), (LEVELS,))
    last = last_evaluations(study.evals)
    empty = {name: getattr(study, name).iloc[:0] for name in ("strata", "noise_levels", "prompts")}
    unmeasured = [c.name for c in schema.EVALS if "loss" in c.name]
    evals = last.assign(
        **PLAN, fold_split=last["seed"], n_flagged=5, n_spurious=3, **dict.fromkeys([*unmeasured, "kid"], np.nan),
    )  # fmt: skip
    rows = [row for run in study.images.drop_duplicates("run_id").to_dict("records") for row in _images(run)]
    ids = [f"{k:016x}" for k in range(IMAGES * LEVELS)] + [f"held{k:012x}" for k in range(HELD_OUT)]
    return replace(
        study, **empty, evals=evals, images=validated(pandas.DataFrame(rows), "images", "images")[0],
        pixels=dict(zip(ids, map(pattern, range(len(ids))), strict=True)),
        gallery={run: own | _spurious(place) for place, (run, own) in enumerate(study.gallery.items())},
    )  # fmt: skip


def pattern(k: int) -> np.ndarray:
    """Pixels [1 8 8] of image k."""
    y, x = np.indices((8, 8))
    return np.uint8(127 + 120 * np.sin(0.05 * k * x + 0.3) * np.cos(0.03 * k * y))[None]


def write_folded(folder: Path) -> Path:
    """The study's tables as scaling.collect writes them."""
    tables = folded_tables()
    folder.mkdir(parents=True)
    for name in schema.TABLES:
        getattr(tables, name).to_parquet(folder / f"{name}.parquet")
    arrays = {f"{run}.{name}": array for run, own in tables.gallery.items() for name, array in own.items()}
    ids, pixels = np.array(list(tables.pixels)), np.stack(list(tables.pixels.values()))
    np.savez(folder / "gallery.npz", **arrays, **dict(zip(schema.IMAGE_GALLERY, (ids, pixels), strict=True)))
    return folder


def _images(run: dict) -> Iterator[dict]:
    """Rows of the pool and the hold-out of one run."""
    identity = {c.name: run[c.name] for c in schema.IDENTITY}
    own = identity | PLAN | {"fold_split": run["seed"]}
    for k in range(IMAGES * LEVELS):
        copies, inside = 2 ** (k // IMAGES), run["seed"] in IN[k % len(IN)]
        counts = {
            "leverage": (5 * k % 96) / 96, "n_hits": (7 * k % 13) * copies // 2,
            "n_basin_recovered": max(0, copies - k % 3), "best_ratio": 0.1 + (17 * k % 96) / 100,
        }  # fmt: skip
        yield own | (counts if inside else {}) | {
            "image_id": f"{k:016x}", "role": "train" if inside else "left_out", "in_training": inside, "copies": copies,
            "distance_10": (11 * k % 96) / 96,
            "log_density_bound": k / 10 + GAIN[copies] * inside + 0.5 * np.sin(7 * k + 3 * run["seed"]),
        }  # fmt: skip
    for k in range(HELD_OUT):
        yield own | {
            "image_id": f"held{k:012x}", "role": "holdout", "in_training": False, "copies": 0, "log_density_bound": 3.0,
        }  # fmt: skip


def _spurious(place: int) -> dict[str, np.ndarray]:
    sizes = SPURIOUS if place == 0 else (place,)
    nearest = np.stack([pattern(20 * place + 7 * k) for k in range(len(sizes))])
    ratio = np.linspace(0.4, 0.9, len(sizes), dtype=np.float32)
    return dict(zip(schema.SPURIOUS_GALLERY, (nearest[..., ::-1], nearest, ratio, np.array(sizes)), strict=True))
