"""A study in which every figure of the report can be drawn, without chance: counts are the rounded expectations.

logit f = -11 + .6 ln params + .9 ln copies + 1.1 ln(images_seen / last) ± .1 by seed, of chains and prompts alike.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas

from analysis.pictures import curve_figures, instrument_figures, loss_and_gallery_figures
from analysis.pictures.scales import study_scale
from analysis.plots import ReportFigure
from analysis.summary import StudyFit
from analysis.table import Tables, validated
from scaling import schema

SIZES = (2743, 10405, 40489, 159697)
CLOCK = (0, 2_000, 8_000, 32_000, 128_000)
SIGMA = (0.02, 0.06, 0.2, 0.6, 2.0, 6.0)
UNIQUE, SAMPLES = 192, 512


def drawn_tables(sizes: tuple[int, ...] = SIZES, seeds: int = 2, levels: tuple[int, ...] = (6, 3)) -> Tables:
    """A run for each size, seed and number of equal strata (of 192 images, with 1, 2, 4, … copies)."""
    rows = {name: [] for name in schema.TABLES}
    gallery = {}
    for place, (params, seed, count) in enumerate((p, s, c) for p in sizes for s in range(seeds) for c in levels):
        run = _identity(params, seed, count)
        for images_seen in CLOCK:
            _evaluation(rows, {**run, "images_seen": images_seen}, count)
        rows["images"] += list(_images({**run, "images_seen": CLOCK[-1]}, count))
        gallery[run["run_id"]] = _pictures(place)
    frames = {name: validated(pandas.DataFrame(some), name, where=name)[0] for name, some in rows.items()}
    return Tables(**frames, gallery=gallery)


def _rate(run: dict, copies: float) -> float:
    logit = -11 + 0.6 * np.log(run["params"]) + 0.9 * np.log(copies) + 0.2 * (run["seed"] - 0.5)
    return 1 / (1 + np.exp(-logit - 1.1 * np.log(max(run["images_seen"], 1) / CLOCK[-1])))


def _identity(params: int, seed: int, count: int) -> dict:
    key = hashlib.sha256(f"{params} {seed} {count}".encode()).hexdigest()[:12]
    return {
        "run_id": key, "cell_id": f"{params}-{count}", "seed": seed, "family": "unet", "width": 8, "params": params,
        "n_unique": UNIQUE, "n_train": UNIQUE // count * (2**count - 1), "design": "spectrum", "n_generated": SAMPLES,
    }  # fmt: skip


def _evaluation(rows: dict[str, list], run: dict, count: int) -> None:
    n, age, strata, hits = run["n_train"], np.log1p(run["images_seen"] / 2000), [], 0
    images = UNIQUE // count
    for copies in 2 ** np.arange(count):
        f, own = _rate(run, copies), run | {"copies": int(copies), "n_images": images}
        hit = round(SAMPLES * f * images * copies / n)
        hits += hit
        strata.append(own | {"exposures": run["images_seen"] * int(copies) / n, "n_hits": hit, "n_basin": 4 * images,
                             "n_basin_recovered": round(4 * images * f)})  # fmt: skip
        for context, share in (("1/2", 0.8), ("1/4", 0.3)):
            rows["prompts"].append(run | {
                "copies": int(copies), "context": context, "rounds": 10, "n_prompts": 64,
                "n_prompt_recovered": round(64 * share * f), "n_null_prompts": 64, "n_null_prompt_recovered": 1,
                "n_ideal_recovered": round(64 * share)})  # fmt: skip
    rows["strata"] += strata
    rows["noise_levels"] += list(_levels(run, age))
    rows["evals"].append(run | {
        "schema_version": schema.SCHEMA_VERSION, "science_version": 1, "dataset": "digits", "copies": 2 ** (count - 1),
        "duplication_rate": 1 - run["n_unique"] / n, "n_memorized": hits, "n_null_memorized": 4,
        "n_basin": 4 * run["n_unique"], "n_basin_recovered": sum(row["n_basin_recovered"] for row in strata),
        "n_null_basin": 128, "n_null_basin_recovered": 2, "train_loss": None if age == 0 else 1.05 - 0.15 * age,
        "train_loss_se": 0.02, "seen_loss": 1.05 - 0.13 * age, "seen_loss_se": 0.012,
        "holdout_loss": 1.05 - 0.13 * age + 0.02 * age**2 * np.log(run["params"] / 2000) / 3, "holdout_loss_se": 0.02,
        "kid": 0.4 / (1 + age), "kid_se": 0.01, "feature_space": "pixels"})  # fmt: skip


def _levels(run: dict, age: float) -> Iterator[dict]:
    depth = 0.05 * age * np.log(run["params"] / 1000) * (1 + 0.2 * run["seed"])
    for sigma in SIGMA:
        bump = np.exp(-(np.log(sigma / 0.3) ** 2) / 3)
        yield run | {"kind": "loss", "sigma": sigma, "seen_loss": 0.5, "seen_loss_se": 0.01,
                     "holdout_loss": 0.5 + depth * bump, "holdout_loss_se": 0.015,
                     "ideal_distance": 1.2 - 0.8 * depth * bump}  # fmt: skip
        yield run | {"kind": "sampler", "sigma": sigma, "trajectory_distance": 1.1 - 0.5 * depth * bump}


def _images(run: dict, count: int) -> Iterator[dict]:
    for k in range(UNIQUE):
        copies = 2 ** (k // (UNIQUE // count))
        expected = SAMPLES * _rate(run, copies) * copies / run["n_train"]
        yield run | {"image_id": f"{k:016x}", "in_training": True, "role": "train", "copies": copies,
                     "n_hits": int(expected * (1 + 0.9 * np.sin(k)) + 0.5)}  # fmt: skip


def _pictures(place: int) -> dict[str, np.ndarray]:
    """Eight samples of which four are copies, and six prompts in two contexts: smooth patterns of 8 by 8."""
    y, x = np.indices((8, 8))
    images = np.array([127 + 120 * np.sin(0.4 * (k + 1) * x + place) * np.cos(0.3 * (k + 2) * y) for k in range(8)])
    images = images.astype(np.uint8)[:, None]
    samples = np.concatenate([images[:4, :, ::-1], images[4:]])
    known = np.zeros((6, 8, 8), bool)
    known[:, :4] = True
    arrays = (samples, images, np.array([0.9, 0.8, 0.95, 0.7, 0.02, 0.05, 0.1, 0.2], np.float32), 2 ** np.arange(8))
    prompts = (
        np.array(["1/2", "1/2", "1/2", "1/4", "1/4", "1/4"]), known, images[:6],
        np.where(np.arange(6)[:, None, None, None] % 2, images[:6], images[:6, :, ::-1]),
        np.arange(6) % 2 == (0 if place < 8 else 1), 2 ** np.arange(6),
    )  # fmt: skip
    return dict(zip((*schema.GALLERY, *schema.PROMPT_GALLERY), (*arrays, *prompts), strict=True))


def write_drawn(folder: Path, **options) -> Path:
    """The study's tables as scaling.collect writes them."""
    tables = drawn_tables(**options)
    folder.mkdir(parents=True, exist_ok=True)
    for name in schema.TABLES:
        getattr(tables, name).to_parquet(folder / f"{name}.parquet")
    arrays = {f"{run}.{name}": array for run, own in tables.gallery.items() for name, array in own.items()}
    np.savez(folder / "gallery.npz", **arrays)
    return folder


def drawn_figures(tables: Tables, fits: Sequence[StudyFit], *names: str) -> dict[str, ReportFigure]:
    """Fresh figures by name (default: all)."""
    params, by_name, found = study_scale(tables, "params"), {one.name: one for one in fits}, []
    for build in dict.fromkeys(BUILDERS[name] for name in names or BUILDERS):
        by_instrument = build.__module__ == instrument_figures.__name__
        made = build(tables, 0.95) if by_instrument else build(tables, params, by_name, 0.95)
        found += [] if isinstance(made, str) else made
    return {figure.name: figure for figure in found if figure.name in (names or BUILDERS)}


BUILDERS = {
    "recovery_by_params": curve_figures.recovery, "recovery_by_copies": curve_figures.recovery,
    "efficiency_by_copies": curve_figures.efficiency, "memorized_by_params": curve_figures.memorized,
    "memorized_by_duplication": curve_figures.duplication, "memorized_over_training": loss_and_gallery_figures.growth,
    "losses": loss_and_gallery_figures.losses, "gallery": loss_and_gallery_figures.gallery,
    "noise_levels": instrument_figures.noise,
    "attack_budget": instrument_figures.budget, "prompted_recovery": instrument_figures.prompted,
    "prompts": instrument_figures.prompts,
}  # fmt: skip
