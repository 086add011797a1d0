"""A simulated study in exactly the schema, with known truth: logit f = b_0 + b_params ln p + b_copies ln r."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

from scaling import schema

TRUTH = {"b_0": -11.0, "b_params": 0.6, "b_copies": 0.9}
WIDTHS = {2743: 2, 10405: 4, 40489: 8, 159697: 16}
DEFAULTS = {int: 1, float: 0.5, str: "text", bool: False}
CLOCK = (0, 2_000, 8_000, 32_000, 128_000)


def run_rows(params: int, seed: int, design: str, levels: int, rng: np.random.Generator, *, clock=CLOCK) -> list[dict]:
    """The records of one run: a spectrum of 32 images a stratum, 4 basin chains an image, 512 samples."""
    images, top, n_holdout = 32, 2 ** (levels - 1), 128
    n_unique, n_train = images * levels, images * (2**levels - 1)
    config = {
        "seed": seed,
        "model": {"width": WIDTHS[params]},
        "data": {"duplication": {"design": design, "levels": levels}},
    }
    run = hashlib.sha256(json.dumps(config).encode()).hexdigest()[:12]
    cell = hashlib.sha256(json.dumps({**config, "seed": 0}).encode()).hexdigest()[:12]
    luck = 0.15 * rng.standard_normal()
    identity = {
        **dict.fromkeys(c.name for c in schema.IDENTITY), "run_id": run, "cell_id": cell, "seed": seed,
        "data_sha256": "ab" * 32,
        "family": "unet", "width": WIDTHS[params], "params": params, "n_unique": n_unique, "n_train": n_train,
        "design": design, "conditioning": "none", "draw": seed, "rotate": 0, "n_generated": 512,
    }  # fmt: skip
    records = []
    for images_seen in clock:
        row = {**dict.fromkeys(c.name for c in schema.EVALS), **identity, "images_seen": images_seen}
        strata, hits = [], 0
        for copies in 2 ** np.arange(levels):
            logit = TRUTH["b_0"] + TRUTH["b_params"] * np.log(params) + TRUTH["b_copies"] * np.log(copies) + luck
            logit += 1.1 * np.log(max(images_seen, 1) / CLOCK[-1])
            f = 1 / (1 + np.exp(-logit))
            recovered, n_hits = int(rng.binomial(4 * images, f)), int(rng.binomial(512, f * images * copies / n_train))
            hits += n_hits
            strata.append({
                "copies": int(copies), "exposures": images_seen * int(copies) / n_train, "n_images": images,
                "n_extracted": min(n_hits, images), "n_hits": n_hits, "n_memorized_14": n_hits // 2,
                "n_memorized_12": n_hits,
                "n_calibrated": n_hits, "n_null_memorized": 0, "n_basin": 4 * images, "n_basin_recovered": recovered,
                "seen_loss": 0.5, "seen_loss_se": 0.01, "membership_auc": 0.6, "membership_auc_se": 0.03,
            })  # fmt: skip
        age = np.log1p(images_seen / 2000)
        row.update({
            "schema_version": schema.SCHEMA_VERSION, "science_version": 1, "code_version": "abc1234",
            "commit": "abc1234def56", "train_id": run,
            "config": json.dumps(config), "protocol": "fixed_images", "dataset": "digits", "image_size": 8,
            "channels": 1,
            "n_holdout": n_holdout, "n_duplicated": n_unique - images, "copies": int(top),
            "duplication_rate": 1 - n_unique / n_train, "near": "exact", "batch_size": 64, "lr": 1e-3,
            "weight_decay": 0.0,
            "ema": 0.05, "train_flops": 6.0 * params * images_seen, "epochs": images_seen / n_train,
            "wall_seconds": 1.0,
            "n_draws": 8, "n_nonfinite": 0, "train_loss": None if images_seen == 0 else 1.05 - 0.15 * age,
            "seen_loss": 1.05 - 0.13 * age, "seen_loss_se": 0.012,
            "holdout_loss": 1.05 - 0.13 * age + 0.02 * age**2 * np.log(params / 2000) / 3, "holdout_loss_se": 0.02,
            "n_memorized": hits, "n_memorized_14": hits // 2, "n_memorized_12": min(hits + 5, 512),
            "n_null_memorized": 1,
            "n_calibrated": min(hits + 40, 512), "n_null_calibrated": 40, "n_extracted": min(hits, n_unique),
            "n_basin": 4 * n_unique, "n_basin_recovered": sum(s["n_basin_recovered"] for s in strata),
            "n_null_basin": 128,
            "n_null_basin_recovered": 1, "kid": 0.4 / (1 + age) + 0.01 * rng.standard_normal(), "kid_se": 0.01,
            "kid_train": 0.002, "feature_space": "pixels", "ideal_distance": 0.9, "ideal_distance_se": 0.02,
            "ideal_distance_null": 1.1,
        })  # fmt: skip
        records.append({"evals": row, "strata": strata, "noise_levels": [], "prompts": []})
    return records


def gallery(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Eight samples, the last four near-copies of their nearest image."""
    nearest = rng.integers(0, 256, (8, 1, 8, 8)).astype(np.uint8)
    samples = nearest.copy()
    samples[:4] = rng.integers(0, 256, (4, 1, 8, 8))
    ratio = np.array([0.9, 0.8, 0.95, 0.7, 0.02, 0.05, 0.1, 0.2], np.float32)
    arrays = (samples, nearest, ratio, np.array([1, 1, 2, 4, 64, 128, 128, 64]))
    return dict(zip(schema.GALLERY, arrays, strict=True))


def write_runs(
    folder: Path, *, seeds: int = 2, levels: tuple[int, ...] = (8, 3), widths=tuple(WIDTHS), clock=CLOCK
) -> Path:
    """A RUNS folder: every size x number of strata x seed."""
    rng = np.random.default_rng(7)
    for params in widths:
        for level in levels:
            for seed in range(seeds):
                records = run_rows(params, seed, "spectrum", level, rng, clock=clock)
                run = folder / records[0]["evals"]["run_id"]
                run.mkdir(parents=True)
                (run / schema.RECORDS).write_text("".join(json.dumps(record) + "\n" for record in records))
                np.savez(run / "samples.npz", **gallery(rng))
    return folder


def write_tables(folder: Path, runs: Path, *, suffix: str = ".parquet") -> Path:
    """The TABLES folder of a RUNS folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list] = {"evals": [], "strata": [], "noise_levels": [], "prompts": []}
    arrays = {}
    for run in sorted(runs.iterdir()):
        for name, found in schema.rows(run).items():
            rows[name] += found
        with np.load(run / "samples.npz") as file:
            arrays.update({f"{run.name}.{name}": file[name] for name in file.files})
    for name, found in rows.items():
        frame = pandas.DataFrame(found, columns=[c.name for c in schema.TABLES[name]])
        frame.to_parquet(folder / f"{name}.parquet") if suffix == ".parquet" else frame.to_csv(
            folder / f"{name}.csv", index=False
        )
    np.savez(folder / "gallery.npz", **arrays)
    return folder


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("study") / "runs")


@pytest.fixture
def make_runs(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: write_runs(tmp_path / "runs", **options)


@pytest.fixture
def make_tables(tmp_path: Path) -> Callable[..., Path]:
    return lambda runs, **options: write_tables(tmp_path / "tables", runs, **options)
