"""Where a sweep or a folder of runs stands: the state of every run, why runs failed, and when it will end."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from scaling.forecasts.calibration import Calibration, calibrate
from scaling.forecasts.forecast import forecast, makespan
from scaling.identity import RUN_ID
from scaling.machine import default_workers
from scaling.strangers import mixed_versions, no_runs
from scaling.sweep.grid import SECTIONS, Cell
from scaling.sweep.plan import cell_seconds, state_of

STATES = ("done", "running", "pending", "interrupted", "stale", "failed")
FEW = 40  # finished runs that the end is forecast from: a status is asked for often


@dataclass(frozen=True)
class Run:
    """status: what the run says of itself, {} where it has not begun; label: what its sweep varies."""

    run_id: str
    label: str
    state: str
    status: Mapping[str, object]

    @property
    def share(self) -> float | None:
        """Of its images seen; None where it does not say."""
        seen, total = self.status.get("images_seen"), self.status.get("images_total")
        return min(seen / total, 1.0) if seen is not None and total else None

    @property
    def seconds_left(self) -> float | None:
        """Of a running one, at the speed it had so far; None before it can say."""
        took = self.status.get("wall_seconds")
        if self.state != "running" or not self.share or took is None:
            return None
        return max(took / self.share * (1 - self.share) - self.silent, 0.0)

    @property
    def silent(self) -> float:
        """Seconds since its status was written."""
        return max(time.time() - (self.status.get("updated") or time.time()), 0.0)


@dataclass(frozen=True)
class Overview:
    """All runs in their order, and the seconds until all are done with so many writers (None: not known).

    writers: those that are at it now; where nobody is, as many as this machine would start.
    """

    runs: Sequence[Run]
    seconds_left: float | None
    writers: int
    left_out: Sequence[str] = ()  # a line on what lies in the folder and is no run

    @property
    def notes(self) -> list[str]:
        """Lines on what does not belong with the rest."""
        return [*self.left_out, *mixed_versions(run.status for run in self.runs)]

    @property
    def counts(self) -> dict[str, int]:
        """Runs by state, states without a run left out."""
        found = Counter(run.state for run in self.runs)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def reasons(self) -> list[tuple[str, Sequence[Run]]]:
        """Why runs failed, the most frequent reason first; each once, with its runs."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            if run.state == "failed":
                found.setdefault(str(run.status.get("reason") or "no reason given"), []).append(run)
        return sorted(found.items(), key=lambda item: -len(item[1]))

    def of(self, state: str) -> list[Run]:
        """The runs in this state."""
        return [run for run in self.runs if run.state == state]


def of_folder(out: Path) -> Overview:
    """Every run in a folder; when a sweep ends that has not begun them all, the folder does not know."""
    # os.path: a Path for each of 100,000 names takes as long as reading a status
    found = os.listdir(out)
    names = sorted(name for name in found if RUN_ID.fullmatch(name) and os.path.exists(f"{out}/{name}/config.yaml"))
    runs = [Run(name, "", *state_of(out / name)) for name in names]
    left = [run.seconds_left for run in runs if run.state == "running"]
    known = bool(left) and None not in left
    return Overview(runs, max(left) if known else None, len(left), no_runs(out, found, names))


def of_sweep(cells: Sequence[Cell], out: Path | None = None) -> Overview:
    """Every cell of a sweep; `out` instead of the folder that the cells name."""
    folders = {name: out or Path(name) for name in {cell.config.runtime.out for cell in cells}}
    runs = [
        Run(cell.run_id, cell.label, *state_of(folders[cell.config.runtime.out] / cell.run_id)) for cell in cells
    ]  # fmt: skip
    waiting = [(cell, run) for cell, run in zip(cells, runs, strict=True) if run.state not in ("done", "failed")]
    if not waiting:
        return Overview(runs, 0.0, 0)
    config = cells[0].config
    done = nlargest(FEW, (run for run in runs if run.state == "done"), key=lambda run: run.status.get("updated") or 0.0)
    calibration = calibrate(folders[config.runtime.out], config.runtime, [run.run_id for run in done])
    whole = _seconds([cell for cell, _ in waiting], calibration)
    running, pending = [], []
    for (_, run), seconds in zip(waiting, whole, strict=True):
        if run.state == "running":
            running.append(seconds if run.seconds_left is None else run.seconds_left)
        else:
            pending.append(seconds * (1 - (run.share or 0.0)))
    writers = (
        len(running) or default_workers({cell.config.runtime.device for cell, _ in waiting}, config.runtime.threads)[0]
    )
    return Overview(runs, makespan(running, pending, writers), writers)


def _seconds(cells: Iterable[Cell], calibration: Calibration) -> list[float]:
    """Forecast of each cell; cells that differ in their seed alone share it (as they share their sections)."""
    known: dict[tuple[int, ...], float] = {}
    made = []
    for cell in cells:
        kind = tuple(id(getattr(cell.config, name)) for name in SECTIONS)
        if kind not in known:
            known[kind] = cell_seconds(cell.config, forecast(cell.config), True, calibration).value
        made.append(known[kind])
    return made
