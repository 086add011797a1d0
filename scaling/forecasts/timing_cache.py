"""Timed runs beyond the life of their folders: a JSON file in the user's cache folder, which can be deleted.

So a sweep in a new folder starts from what earlier ones took.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from scaling.atomic import replace_bytes
from scaling.data.cache import cache_folder
from scaling.forecasts.cost_model import Timing
from scaling.forecasts.run_work import TERMS
from scaling.forecasts.timed_runs import NEWEST, Run, kind
from scaling.identity import SCIENCE_VERSION, TRAINING_VERSION
from scaling.limits import parse_json, read_bytes
from scaling.machine import machine_name
from scaling.runtime import RuntimeConfig

LARGEST = 2**24  # bytes of a cache
SHORTEST = 10.0  # seconds of a run that the cache keeps: shorter ones say more of the moment than of the machine


def cache_file(runtime: RuntimeConfig) -> Path | None:
    """One a host, kind of device and number of threads; None without a home."""
    folder = cache_folder()
    return folder and folder / f"seconds-{machine_name()}-{kind(runtime)}-{runtime.threads}.json"


def remember(runs: Iterable[Run], runtime: RuntimeConfig) -> None:
    """Adds these runs to the cache, the newest kept; a cache that cannot be written is none, and nothing is lost."""
    path, long = cache_file(runtime), [run for run in runs if run.seconds >= SHORTEST]
    if path is None or not long:
        return
    known = {run.run_id: run for run in [*cached(runtime), *long]}
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


def cached(runtime: RuntimeConfig) -> list[Run]:
    """The runs in the cache; none where it is missing, damaged or of another version."""
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
