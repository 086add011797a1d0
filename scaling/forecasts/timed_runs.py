"""Finished runs of this machine and the seconds of their stretches, as their folders tell.

Only runs of this host, kind of device and number of threads count (a GPU says nothing of a CPU), of the code's present
science version, and of those that share a training only the first: the others measured its weights.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.columns import SchemaError
from scaling.config import ConfigError, build
from scaling.forecasts.cost_model import Timing
from scaling.forecasts.run_work import run_work
from scaling.identity import SCIENCE_VERSION
from scaling.machine import gpus
from scaling.records import RECORDS, records
from scaling.runtime import RuntimeConfig
from scaling.status_file import read_status
from scaling.store_errors import StoreError

NEWEST = 300  # runs that are read at most: reading more would cost more than it tells


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run of this machine."""

    run_id: str
    cell_id: str
    timing: Timing

    @property
    def seconds(self) -> float:
        """From its first step to its last record."""
        return float(self.timing.seconds.sum())


def newest(out: Path) -> list[str]:
    """The runs of the folder that were written last."""
    sheets = {}
    for name in os.listdir(out) if out.is_dir() else []:
        try:
            sheets[name] = os.stat(f"{out}/{name}/status.json").st_mtime
        except OSError:  # no run, or removed meanwhile
            continue
    return sorted(sheets, key=sheets.get, reverse=True)[:NEWEST]


def finished_runs(out: Path, runtime: RuntimeConfig, names: Sequence[str]) -> list[Run]:
    """Those of these runs that are of this machine. What cannot be read is no concern of a forecast."""
    trained: set[str] = set()
    return [run for name in reversed(names) if (run := read_run(out / name, runtime, trained)) is not None]


def read_run(folder: Path, runtime: RuntimeConfig, trained: set[str]) -> Run | None:
    """The run if it is finished, trained here, and its training is not in `trained` (which learns it)."""
    try:
        status = read_status(folder)
        if status.get("state") != "done" or status.get("science_version") != SCIENCE_VERSION:
            return None
        if not same_machine(status, runtime) or status.get("train_id") in trained:
            return None
        rows = sorted((record["evals"] for record in records(folder / RECORDS)), key=lambda row: row["images_seen"])
        tree = json.loads(rows[0]["config"])
        tree["data"]["channels"] = rows[0]["channels"]
        config = build(tree)
        work = run_work(config)
        seconds = np.diff([0.0, *(float(row["wall_seconds"]) for row in rows)])
        points, packed = [row["images_seen"] for row in rows], max(row.get("packed") or 1 for row in rows)
    except (StoreError, SchemaError, ConfigError, ValueError, KeyError, TypeError, IndexError, OSError):
        return None
    whole = packed == 1 and points == [step * work.batch_size for step in work.steps]
    if not whole or not (np.isfinite(seconds) & (seconds > 0)).all():  # one of a pack took its share of their time
        return None
    trained.add(status["train_id"])
    return Run(folder.name, rows[0]["cell_id"], Timing(work.stretches(), seconds))


def same_machine(status: Mapping[str, object], runtime: RuntimeConfig) -> bool:
    """A status without device and threads (older code) counts where it could only have been one thread of a CPU."""
    device, threads = status.get("device"), status.get("threads")
    if device is None:
        device = None if gpus() else "cpu"
    return status.get("host") == socket.gethostname() and device == kind(runtime) and (threads or 1) == runtime.threads


def kind(runtime: RuntimeConfig) -> str:
    """cpu or cuda, as runtime.device will turn out here."""
    if runtime.device == "auto":
        return "cuda" if gpus() else "cpu"
    return runtime.device.partition(":")[0]
