"""Which cells train side by side in one worker, and how many of them. No torch.

Small networks leave most of a processor's time to the start of operations, which several of one shape can share. By
how much is measured once a shape on this machine (scaling.training.packing) and kept in a small cache, which can be
deleted. Packing changes the last bits of a run, never its run_id; the column `packed` says how many there were.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path

from scaling.atomic import replace_bytes
from scaling.code_version import code_version
from scaling.data.cache import cache_folder
from scaling.fields import ExperimentConfig
from scaling.forecasts.timed_runs import kind
from scaling.limits import parse_json, read_bytes
from scaling.machine import machine_name

WORTH = 1.1  # of alone: less would not pay for bits that depend on the company
SHORT_SECONDS = 120.0  # of all cells of a shape: for less, measuring would cost more than packing can save
LARGEST = 2**20  # bytes of the cache
Speeds = Mapping[int, float]  # runs together -> speed of a run's step relative to alone


def shape_of(config: ExperimentConfig) -> str | None:
    """What cells that train together have in common, as a short key; None for networks that cannot."""
    model, data, train = config.model, config.data, config.train
    if model.family == "dit" or model.attention:  # models/stacked.py
        return None
    if train.precision == "fp16":  # one scale for all: a step that one of them overflows would be skipped by all
        return None
    network = model.model_dump(mode="json", exclude={"prune", "params"})
    images = [data.source, data.image_size, data.channels, data.conditioning]
    labels = data.n_unique if data.conditioning == "unique" else None
    runtime = config.runtime
    common = [network, images, labels, train.batch_size, train.optimizer, train.precision]
    where = [kind(runtime), runtime.device, runtime.threads, runtime.compile]
    return hashlib.sha256(json.dumps([common, where], sort_keys=True).encode()).hexdigest()[:16]


def measure(config: ExperimentConfig) -> Speeds:
    """Ask a process of its own; {} where it fails: the cells themselves then say what is wrong."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(config.runtime.threads))
    command = [sys.executable, "-m", "scaling.training.packing"]
    tree = json.dumps(config.model_dump(mode="json"))
    done = subprocess.run(command, input=tree, capture_output=True, text=True, env=os.environ | threads, check=False)
    try:
        return {int(k): float(speed) for k, speed in json.loads(done.stdout).items()}
    except (ValueError, AttributeError):
        return {}


class Packs:
    """How many cells a worker takes at once. together: always so many (1: never pack); None: as measured."""

    def __init__(
        self,
        together: int | None,
        workers: int,
        tell: Callable[[str], None] = lambda line: None,
        measured: Callable[[ExperimentConfig], Speeds] = measure,
    ) -> None:
        self.together, self.workers, self.tell, self.measured = together, workers, tell, measured
        self._known: dict[str, Speeds] = {}

    def size(self, config: ExperimentConfig, alike: int, seconds: float) -> int:
        """Of `alike` cells of this one's shape that wait, with so many seconds of work in all: how many together."""
        if self.together is not None:
            return min(self.together, alike)
        most = ceil(alike / self.workers)  # or other workers would stand idle
        if most < 2 or seconds < SHORT_SECONDS:
            return 1
        worth = {k: speed for k, speed in self.speeds(config).items() if k <= most and speed >= WORTH}
        return max(worth, key=worth.get, default=1)

    def speed(self, config: ExperimentConfig, k: int) -> float:
        """Of a run's step among k relative to alone, as far as it is known; 1 otherwise."""
        return self._known.get(shape_of(config), {}).get(k, 1.0)

    def speeds(self, config: ExperimentConfig) -> Speeds:
        """By the cache, or measured now."""
        shape = shape_of(config)
        if shape not in self._known:
            kept = _read(path := _cache_file())
            if shape not in kept:
                self.tell(f"measuring once how width {config.model.width} trains side by side")
                kept = {**_read(path), shape: self.measured(config)}
                if kept[shape]:
                    _write(path, kept)
                else:  # not kept: what was missing may be there next time
                    self.tell(f"width {config.model.width} could not be measured: its cells train alone")
            self._known[shape] = kept[shape]
        return self._known[shape]


def _cache_file() -> Path | None:
    folder = cache_folder()
    return folder and folder / f"packing-{machine_name()}.json"


def _read(path: Path | None) -> dict[str, Speeds]:
    """{} for a missing or damaged cache, or one of another version of the code."""
    try:
        content = parse_json(read_bytes(path, LARGEST)) if path else {}
        if content.get("code_version") != code_version():
            return {}
        return {
            str(shape): {int(k): float(s) for k, s in speeds.items()} for shape, speeds in content["speeds"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path | None, speeds: Mapping[str, Speeds]) -> None:
    """A cache that cannot be written is none."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"code_version": code_version(), "speeds": {shape: dict(found) for shape, found in speeds.items()}}
        replace_bytes(path, json.dumps(content).encode())
    except OSError:
        return
