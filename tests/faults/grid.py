"""A grid of tiny cells for the storms: what is trained, and what a run folder holds when nothing disturbed it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import yaml

from scaling.sweep.grid import Cell, expand

BASE = {
    "data": {"n_unique": 16, "holdout": 16},
    "model": {"width": 2},
    "train": {"images": 4096, "batch_size": 16, "warmup_images": 0},
    "evaluate": {
        "at": 4, "samples": 8, "sampler_steps": 4, "draws": 2, "basin_images": 4, "measures": ["loss", "neighbors"],
    },
    "runtime": {"checkpoint_every": 0.2, "progress": False},
}  # fmt: skip
FAILS = {"data": {"source": "idx:nowhere"}}  # found out when the images are read
DIVERGES = {"train": {"optimizer": "sgd", "lr": 1e18, "images": 1024}}
LIVING = {"lock.guard"}  # belongs to the locks, empty, stays


@dataclass(frozen=True)
class Study:
    """A sweep file and its cells: good ones end done, bad ones failed, for a reason that contains the given text."""

    sweep: Path
    good: list[Cell]
    bad: dict[str, str]  # run_id: part of the reason

    @property
    def images(self) -> int:
        """Of all good cells."""
        return sum(cell.config.train.images for cell in self.good)


def write_study(
    folder: Path, overlays: Sequence[Mapping[str, object]], seeds: int, *, bad: bool = True, images: int = 4096
) -> Study:
    """Every overlay on BASE with every seed, and (bad) one overlay that fails and one that diverges.

    images: the length of a cell, which must last until the faults that are meant for it have come.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trees = {f"cell{at}": tree for at, tree in enumerate(overlays)}
    trees |= {"fails": FAILS, "diverges": DIVERGES} if bad else {}
    base = {**BASE, "train": {**BASE["train"], "images": images}}
    for name, tree in {"base": base, **trees}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    command = ["${env}", "${interpreter}", "-m", "scaling.train", f"--config={folder / 'base.yaml'}", "${args}"]
    values = [str(folder / f"{name}.yaml") for name in trees]
    parameters = {"config": {"values": values}, "seed": {"values": list(range(seeds))}}
    sweep = folder / "sweep.yaml"
    sweep.write_text(yaml.safe_dump({"method": "grid", "command": command, "parameters": parameters}))
    cells = expand(sweep).cells
    wrong = {"config=fails": "nowhere", "config=diverges": "non-finite"}
    reasons = {cell.run_id: wrong[name] for cell in cells if (name := cell.label.split()[0]) in wrong}
    return Study(sweep, [cell for cell in cells if cell.run_id not in reasons], reasons)


def records(folder: Path) -> list[dict]:
    """All records without the clock on the wall, the one column that may differ."""
    lines = (folder / "evals.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b"", f"{folder.name}: a torn record"
    made = [json.loads(line) for line in lines]
    return [{**record, "evals": {**record["evals"], "wall_seconds": None}} for record in made]


def content(folder: Path) -> dict[str, object]:
    """File -> what it holds, of a finished run; without status and records, which tell the time."""
    made: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if name in LIVING | {"status.json", "evals.jsonl"}:
            made[name] = ""
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                made[name] = {key: (array.shape, array.tobytes()) for key, array in arrays.items()}
        elif path.suffix == ".parquet":
            made[name] = parquet.read_table(path).to_pylist()
        else:
            made[name] = path.read_bytes()
    return made
