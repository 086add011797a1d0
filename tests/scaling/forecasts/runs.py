"""Finished run folders as the store writes them, with the seconds of a machine of known costs. No training."""

import json
from pathlib import Path

import numpy as np

from scaling.config import build
from scaling.forecasts.run_work import TERMS, run_work
from scaling.forecasts.server_core import SECONDS
from scaling.identity import canonical, cell_id, run_id, train_id
from scaling.schema import SCHEMA_VERSION
from scaling.store import RunStore

KNOWN = np.array([SECONDS[term] for term in TERMS])


def configured(out: Path, width=8, seed=0, **more):
    sections = {"model": {"width": width, "family": more.pop("family", "unet")}, "data": {"n_unique": 128}}
    sections["train"] = {"images": more.pop("images", 20_000), "batch_size": more.pop("batch", 64)}
    return build({**sections, "seed": seed, "runtime": {"out": str(out), "device": "cpu"}, **more})


def finish(config, costs=KNOWN, **status):
    """Leaves the run `done`; returns its folder. status: fields of status.json to differ in."""
    work = run_work(config)
    seconds = np.cumsum(work.stretches() @ costs)
    identity = {"run_id": run_id(config), "cell_id": cell_id(config), "seed": config.seed}
    with RunStore.open(config) as store:
        for step, wall in zip(work.steps, seconds.tolist(), strict=True):
            row = {**identity, "schema_version": SCHEMA_VERSION, "images_seen": step * work.batch_size}
            row |= {"wall_seconds": wall, "config": canonical(config), "channels": 1, "train_id": train_id(config)}
            store.append({"evals": row})
        store.set_status("done", images_seen=work.images, images_total=work.images, wall_seconds=float(seconds[-1]))
        path = store.folder / "status.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **status}))
        return store.folder
