"""What finished runs of this machine say about the cost of the next ones: from a run folder, and from a small cache.

Only runs of this host, kind of device and number of threads count (a GPU says nothing of a CPU), of the code's present
science version, and of those that share a training only the first: the others measured its weights. The cache is a JSON
file in the user's cache folder, so that a sweep in a new folder starts from what earlier ones took; it can be deleted.
"""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean

import numpy as np

from scaling.atomic import replace_bytes
from scaling.columns import SchemaError
from scaling.config import ConfigError, build
from scaling.data.cache import cache_folder
from scaling.forecasts.cost_model import CostModel, Seconds, Timing, fit
from scaling.forecasts.run_work import TERMS, run_work
from scaling.forecasts.server_core import START_SECONDS
from scaling.identity import SCIENCE_VERSION, TRAINING_VERSION
from scaling.limits import parse_json, read_bytes
from scaling.machine import gpus, machine_name
from scaling.records import RECORDS, records
from scaling.runtime import RuntimeConfig
from scaling.status_file import read_status
from scaling.store_errors import StoreError

NEWEST = 300  # runs that are read at most: reading more would cost more than it tells
LARGEST = 2**24  # bytes of a cache
SHORTEST = 10.0  # seconds of a run that the cache keeps: shorter ones say more of the moment than of the machine
REPLICATE_SD, REPLICATES = 0.1, 4  # sd of ln seconds between equal runs before any were seen, worth so many of them


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


@dataclass(frozen=True, eq=False)
class Calibration:
    """The runs, the cost model fitted to them, and what replicates of a cell took."""

    runs: Mapping[str, Run]
    model: CostModel
    replicates: Mapping[str, Sequence[float]]  # cell_id -> seconds
    replicate_sd: float

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Calibration":
        """Of these runs, the later of two with one run_id."""
        found = {run.run_id: run for run in runs}
        replicates: dict[str, list[float]] = {}
        for run in found.values():
            replicates.setdefault(run.cell_id, []).append(run.seconds)
        logs = [np.log(seconds) for seconds in replicates.values()]
        squares = sum(float(((one - one.mean()) ** 2).sum()) for one in logs)
        freedom = sum(len(one) - 1 for one in logs)
        sd = sqrt((REPLICATES * REPLICATE_SD**2 + squares) / (REPLICATES + freedom))
        return cls(found, fit([run.timing for run in found.values()]), replicates, sd)

    def seconds(self, cell: str, amounts: np.ndarray) -> Seconds:
        """Of a run of this cell that does so much work: as its replicates took, else as the model says."""
        if not (known := self.replicates.get(cell)):
            return self.model.seconds(amounts)
        return Seconds.of(exp(fmean(map(log, known))) + START_SECONDS, self.replicate_sd * sqrt(1 + 1 / len(known)))

    @property
    def words(self) -> str:
        """Whose speed a forecast by it rests on."""
        count = len(self.runs)
        if not count:
            return "the speed of a plain CPU core: no run of this machine is finished yet"
        return f"{count} finished run{'s' * (count > 1)} of this machine"


def calibrate(out: Path, runtime: RuntimeConfig, names: Sequence[str] | None = None) -> Calibration:
    """From the cache and the newest finished runs in `out`, or those of these names; runtime: of the next ones."""
    here = finished_runs(out, runtime, newest(out) if names is None else names)
    return Calibration.of([*_cached(runtime), *here])


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


# -- the cache ---------------------------------------------------------------------------------------------------------


def cache_file(runtime: RuntimeConfig) -> Path | None:
    """One a host, kind of device and number of threads; None without a home."""
    folder = cache_folder()
    return folder and folder / f"seconds-{machine_name()}-{kind(runtime)}-{runtime.threads}.json"


def remember(runs: Iterable[Run], runtime: RuntimeConfig) -> None:
    """Adds these runs to the cache, the newest kept; a cache that cannot be written is none, and nothing is lost."""
    path, long = cache_file(runtime), [run for run in runs if run.seconds >= SHORTEST]
    if path is None or not long:
        return
    known = {run.run_id: run for run in [*_cached(runtime), *long]}
    rows = [
        {"run_id": run.run_id, "cell_id": run.cell_id, "amounts": run.timing.amounts.tolist(),
         "seconds": run.timing.seconds.tolist()}
        for run in list(known.values())[-NEWEST:]
    ]  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, json.dumps({"version": _version(), "runs": rows}, allow_nan=False).encode())
    except OSError:
        return


def _version() -> list[object]:
    """What a timing's meaning rests on."""
    return [SCIENCE_VERSION, TRAINING_VERSION, list(TERMS)]


def _cached(runtime: RuntimeConfig) -> list[Run]:
    path = cache_file(runtime)
    if path is None:
        return []
    try:
        content = parse_json(read_bytes(path, LARGEST))
        if content["version"] != _version():
            return []
        return [_checked(row) for row in content["runs"]]
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one: it is only a cache
        return []


def _checked(row: Mapping[str, object]) -> Run:
    amounts, seconds = np.array(row["amounts"], float), np.array(row["seconds"], float)
    good = amounts.ndim == 2 and amounts.shape == (len(seconds), len(TERMS)) and len(seconds) > 0
    if (
        not good
        or not (np.isfinite(amounts) & (amounts >= 0)).all()
        or not (np.isfinite(seconds) & (seconds > 0)).all()
    ):
        raise ValueError("no timing")
    return Run(str(row["run_id"]), str(row["cell_id"]), Timing(amounts, seconds))
