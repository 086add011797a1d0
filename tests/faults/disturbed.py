"""A sweep that is disturbed: its processes, its runs, and who starts it again."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scaling import lock
from tests.faults.grid import Study

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 400.0  # seconds until a fault must have found its victim, or the grid must have come on
POLL = 0.2
LOST = "lost"  # a host
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def environment() -> dict[str, str]:
    """For a process that finds the code and leaves the other cores alone."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path} | dict.fromkeys(THREADS, "1")


def sweep_command(study: Study, runs: Path, workers: int) -> list[str]:
    command = [sys.executable, "-m", "scaling.sweep", str(study.sweep)]
    # packs would be others after a fault than without it, and bits are promised only at the same column `packed`
    return [*command, f"--runtime.out={runs}", f"--workers={workers}", "--pack=1"]


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> object:
    """What the condition gives as soon as it is true; an assertion after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(POLL)
    return found


class DisturbedSweep:
    """The driver of a study, its workers and its runs, seen from outside. `finish` lets the grid end."""

    def __init__(self, study: Study, folder: Path, *, workers: int, seed: int) -> None:
        self.study, self.folder, self.runs, self.workers = study, folder, folder / "runs", workers
        self.runs.mkdir(parents=True)
        self.rng, self.mark = random.Random(seed), uuid.uuid4().hex
        self.starts = 0
        self.driver: subprocess.Popen | None = None

    # -- processes ---------------------------------------------------------------------------------------------------

    def start(self, command: list[str]) -> subprocess.Popen:
        with open(self.folder / "said.log", "ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment() | {"STORM": self.mark}, stdout=log, stderr=log
            )

    def start_driver(self) -> subprocess.Popen:
        self.starts += 1
        return self.start(sweep_command(self.study, self.runs, self.workers))

    def alive(self) -> list[int]:
        """Every process of this storm, by the mark in its environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (path / "environ").read_bytes() and lock.process_started(int(path.name)):
                    found.append(int(path.name))
        return found

    def end(self) -> None:
        """Nothing of this storm is left running."""
        for pid in self.alive():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def worker_pids(self) -> list[int]:
        found = []
        for pid in self.alive():
            with suppress(OSError):
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.driver.pid and b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return sorted(found)

    # -- runs --------------------------------------------------------------------------------------------------------

    def state(self, run: str) -> dict:
        try:
            return json.loads((self.runs / run / "status.json").read_bytes())
        except (OSError, ValueError):
            return {}

    def images_of(self, run: str) -> int:
        return self.state(run).get("images_seen") or 0

    def images_seen(self) -> int:
        """The work that is done."""
        return sum(self.images_of(cell.run_id) for cell in self.study.good)

    def in_training(self) -> list[str]:
        """Good runs in their middle, written by a worker of the driver."""
        workers, found = set(self.worker_pids()), []
        for run in (cell.run_id for cell in self.study.good):
            owner = lock.owner(self.runs / run)
            if owner and owner.alive and owner.pid in workers and self.images_of(run):
                found.append(run)
        return found

    @contextmanager
    def orphaned(self, wanted: str) -> Iterator[Path | None]:
        """A run in its middle that nobody writes, under its lock; None where there is none with such a file.

        One that waits for a worker where there is any, else one whose worker is killed for it.
        """
        begun = [cell.run_id for cell in self.study.good if self._unfinished(cell.run_id)]
        begun = [run for run in begun if list((self.runs / run).glob(wanted))]
        held = next(filter(None, map(self._taken, begun)), None)
        while held is None and (runs := [run for run in self.in_training() if run in begun]):
            run = self.rng.choice(runs)
            owner = lock.owner(self.runs / run)
            if owner is not None and signalled(owner.pid, signal.SIGKILL):
                until(lambda pid=owner.pid: lock.process_started(pid) is None)
                held = self._taken(run)  # unless another worker was quicker
        try:
            yield held.path.parent if held and list(held.path.parent.glob(wanted)) else None
        finally:
            if held:
                held.release()

    def _unfinished(self, run: str) -> bool:
        return self.state(run).get("state") in ("running", "interrupted") and self.images_of(run) > 0

    def _taken(self, run: str) -> lock.Lock | None:
        owner = lock.owner(self.runs / run)
        with suppress(lock.Held, FileNotFoundError):
            return None if owner and owner.host == LOST else lock.Lock.take(self.runs / run)
        return None

    # -- again and again ---------------------------------------------------------------------------------------------

    def alive_driver(self) -> None:
        if self.driver.poll() is not None:  # somebody, or a system service, starts the same command again
            assert self.driver.returncode in (0, 1, 2, -signal.SIGKILL, 128 + signal.SIGTERM), self.driver.returncode
            self.driver = self.start_driver()

    def come_to(self, due: float) -> None:
        end = time.monotonic() + PATIENCE
        while self.images_seen() < due:
            self.alive_driver()
            assert time.monotonic() < end, f"no progress: {self.images_seen():,} of {due:,.0f} images"
            time.sleep(POLL)

    def finish(self, seconds: float = 600) -> int:
        """Starts the sweep again until it has nothing left to do but to fail; returns its last exit status."""
        for _ in range(5):
            self.alive_driver()
            code = self.driver.wait(seconds)
            if code in (0, 1) and {self.state(cell.run_id).get("state") for cell in self.study.good} == {"done"}:
                until(lambda: not self.alive(), 60)
                return code
            self.driver = self.start_driver()
        raise AssertionError(f"the grid does not end: exit status {code}")


def signalled(pid: int, signum: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
        return True
    return False


def left_over(runs: Path, calm: Path) -> list[str]:
    """What the disturbed store holds and the undisturbed one does not; numbers of a failed run's checkpoints differ."""

    def names(store: Path) -> set[str]:
        paths = [str(path.relative_to(store)) for path in store.rglob("*")]
        return {re.sub(r"(?<=checkpoints/)\d+", "N", path) for path in paths if not path.startswith(".workers")}

    return sorted(names(runs) - names(calm))
