"""Run folders as a grid of thousands of cells leaves them, made without training: what measuring at scale is done on.

Every file follows scaling.schema and is read like any other; only the numbers are drawn. A folder has a record for each
of EVALUATIONS (4 strata, 33 noise levels and 4 prompts rows each; 13 kB, as an ordinary run of digits writes), the
rows of IMAGES images, a small gallery, its configuration and its status.
"""

import io
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import yaml

from scaling.identity import SCIENCE_VERSION, canonical, cell_id, train_id
from scaling.schema import EVALS, IDENTITY, SCHEMA_VERSION, Column, own_columns
from scaling.status_file import STATUS
from scaling.sweep.grid import Cell
from scaling.tables import complete_record, complete_row, typed

EVALUATIONS = (0, 38_400, 76_800)
IMAGES = 16
WIDTHS, LEVELS = (4, 8, 16, 24, 32), (1, 2, 3, 4)
TRIALS = 256
REASONS = (
    "Diverged: the loss was not finite at step 310",
    "RuntimeError: out of memory",
    "killed by SIGKILL (3 times)",
)
RUN_ID, CELL_ID, SEED = "r" * 12, "c" * 12, 0x5EED_5EED_5EED  # in a template: what differs between seeds
NESTED_ROWS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "strata": [{"copies": 2**level} for level in range(4)],
    "noise_levels": [
        {"kind": kind, "sigma": 0.002 * 1.5**at}
        for kind, count in (("loss", 16), ("sampler", 17))
        for at in range(count)
    ],
    "prompts": [{"copies": 2**level, "context": "1/2", "rounds": 10} for level in range(4)],
}


def sweep(path: Path, cells: int, out: Path) -> None:
    """A sweep file of at least so many cells: widths x spectra x seeds."""
    seeds = -(-cells // (len(WIDTHS) * len(LEVELS)))
    parameters = {
        "model.width": {"values": list(WIDTHS)},
        "data.duplication.levels": {"values": list(LEVELS)},
        "seed": {"values": list(range(seeds))},
    }
    flags = [
        "--data.duplication.design=spectrum",
        "--data.n_unique=120",
        "--train.images=76800",
        f"--runtime.out={out}",
    ]
    command = ["${env}", "${interpreter}", "-m", "scaling.train", *flags, "${args}"]
    path.write_text(yaml.safe_dump({"method": "grid", "command": command, "parameters": parameters}))


def state_at(position: int) -> str:
    """Of 100 cells 90 are done, 4 pending, 3 failed, 2 interrupted, 1 stale."""
    at = position % 100
    return (
        "done" if at < 90 else "pending" if at < 94 else "failed" if at < 97 else "interrupted" if at < 99 else "stale"
    )


def make_runs(cells: Iterable[Cell], out: Path) -> None:
    """The folders of these cells, each in the state of its position; pending ones get none."""
    out.mkdir(parents=True, exist_ok=True)
    templates: dict[str, Mapping[str, bytes]] = {}
    samples = _samples()
    for position, cell in enumerate(cells):
        state = state_at(position)
        if state == "pending":
            continue
        kind = cell.label.rpartition(" ")[0]  # without the seed, which comes last
        if kind not in templates:
            templates[kind] = _template(cell)
        _write(out / cell.run_id, cell, templates[kind], samples, state, position)


def _write(folder: Path, cell: Cell, template: Mapping[str, bytes], samples: bytes, state: str, position: int) -> None:
    seed, replicates = cell.config.seed, template["cell_id"]
    ids = ((RUN_ID.encode(), cell.run_id.encode()), (CELL_ID.encode(), replicates))

    def made(name: str, old: bytes, new: bytes) -> bytes:
        content = template[name]
        for before, after in (*ids, (old, new)):
            content = content.replace(before, after)
        return content

    os.mkdir(folder)
    text = str(SEED).encode(), str(seed).encode()
    evals = made("evals.jsonl", *text)
    files = {
        "config.yaml": made("config.yaml", *text),
        "evals.jsonl": evals if state == "done" else evals[: evals.index(b"\n") + 1],
        "images.parquet": made("images.parquet", SEED.to_bytes(8, "little"), seed.to_bytes(8, "little")),
        "samples.npz": samples,
        "status.json": _status(cell, state, position),
        "lock.guard": b"",
    }
    for name, content in files.items():
        with open(folder / name, "wb") as file:
            file.write(content)


def _status(cell: Cell, state: str, position: int) -> bytes:
    seen = EVALUATIONS[-1] if state == "done" else EVALUATIONS[1]
    status = dict.fromkeys(STATUS) | {
        "state": "running" if state == "stale" else state,
        "reason": REASONS[position % len(REASONS)] if state == "failed" else None,
        "updated": time.time(),
        "images_seen": seen,
        "images_total": EVALUATIONS[-1],
        "wall_seconds": 20.0 + cell.config.model.width,
        "n_memorized": position % TRIALS,
        "n_generated": TRIALS,
        "host": "node",
        "science_version": SCIENCE_VERSION,
        "run_id": cell.run_id,
    }
    return json.dumps(status).encode()


def _template(cell: Cell) -> dict[str, bytes]:
    """The files of one cell with placeholders for what differs between its seeds."""
    config, rng = cell.config, np.random.default_rng(cell.config.seed)
    identity = {
        "run_id": RUN_ID, "cell_id": CELL_ID, "seed": SEED, "draw": SEED, "family": "unet", "design": "spectrum",
        "width": config.model.width, "params": 100 * config.model.width, "n_unique": 120, "n_train": TRIALS,
        "conditioning": "none", "data_sha256": "d" * 64, "n_generated": TRIALS,
    }  # fmt: skip
    other = {
        "schema_version": SCHEMA_VERSION, "science_version": SCIENCE_VERSION, "code_version": "0" * 12,
        "commit": "0" * 12,
        "train_id": train_id(config), "config": canonical(config), "protocol": "fixed_images", "dataset": "digits",
    }  # fmt: skip
    lines = []
    for images_seen in EVALUATIONS:
        evals = _filled(EVALS, identity | other | {"images_seen": images_seen}, rng)
        nested = {table: [_filled(own_columns(table), row, rng) for row in rows] for table, rows in NESTED_ROWS.items()}
        lines.append(json.dumps(complete_record({"evals": evals, **nested})).encode() + b"\n")
    shared = {column.name: evals[column.name] for column in IDENTITY}
    rows = [
        complete_row("images", shared | _filled(own_columns("images"), {"image_id": f"{at:016x}"}, rng))
        for at in range(IMAGES)
    ]
    images = io.BytesIO()
    parquet.write_table(typed("images", rows), images, write_statistics=False, store_schema=False)  # as write_parquet
    tree = config.model_dump(mode="json", exclude={"runtime"}) | {"seed": SEED}
    return {
        "evals.jsonl": b"".join(lines),
        "images.parquet": images.getvalue(),
        "config.yaml": yaml.safe_dump(tree, sort_keys=False).encode(),
        "cell_id": cell_id(config).encode(),
    }


def _filled(columns: Sequence[Column], known: Mapping[str, object], rng: np.random.Generator) -> dict[str, object]:
    """The row with every column drawn that is not known; counts lie within their trials."""
    draw = {
        int: lambda column: int(rng.integers(0, 100)) if column.trials else TRIALS,
        float: lambda column: float(rng.random()),
        str: lambda column: "drawn",
        bool: lambda column: bool(rng.integers(2)),
    }
    optional = {"noise_draws", "fold_index", "fold_of", "fold_split", "rotate"}
    return {
        column.name: known[column.name] if column.name in known
        else None if column.name in optional
        else draw[column.type](column)
        for column in columns
    }  # fmt: skip


def _samples() -> bytes:
    """samples.npz with a gallery of eight 8x8 images."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    pixels = rng.integers(0, 256, (2, 8, 1, 8, 8), dtype=np.uint8)
    np.savez_compressed(
        buffer,
        gallery_samples=pixels[0],
        gallery_nearest=pixels[1],
        gallery_ratio=rng.random(8, dtype=np.float32),
        gallery_copies=np.ones(8, np.int64),
    )
    return buffer.getvalue()
