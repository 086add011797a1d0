"""Faults at random moments, from a seeded schedule, on a sweep that somebody starts again whenever it ended.

A fault comes as soon as the grid's work is due for it, so a storm has as many on a slow machine as on a fast one. Files
are damaged under the run's own lock, taken from a killed worker: nobody writes them meanwhile, as after a crash.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from scaling import lock
from scaling.identity import canonical
from tests.faults.disturbed import LOST, PATIENCE, POLL, DisturbedSweep, signalled, until
from tests.faults.grid import BASE, Study

YEAR = 365 * 86400.0


class Storm(DisturbedSweep):
    """`rage(schedule)` injects every fault that is named there, as often as it says."""

    def __init__(self, study: Study, folder: Path, *, workers: int, seed: int) -> None:
        super().__init__(study, folder, workers=workers, seed=seed)
        self.hit: defaultdict[str, list[set[str]]] = defaultdict(list)  # fault: the runs that each of its kind hit
        self.said: list[str] = []
        self.again: list[str] = []  # finished runs whose folders were removed, to be trained again

    def rage(self, schedule: Mapping[str, int], *, work: float = 0.9) -> None:
        """All these faults, in a random order, spread over this share of the work."""
        names = [name for name, count in schedule.items() for _ in range(count)]
        self.rng.shuffle(names)
        self.driver = self.start_driver()
        for at, name in enumerate(names):
            due = self.study.images * work * at / len(names)
            self.come_to(due)
            self.hit[name].append(until(lambda name=name: self._injected(name))[0])
            self.said.append(f"{time.strftime('%X')} {name} at {self.images_seen():,} of {self.study.images:,}")

    def _injected(self, name: str) -> tuple[set[str]] | None:
        self._keep_in_work()
        self.alive_driver()
        hit = getattr(self, name)()
        return None if hit is None else (hit,)

    def _keep_in_work(self) -> None:
        """Where the grid is done before its faults are dealt, folders of finished runs are removed: trained again.

        A fast machine would else leave nothing for the last faults to hit. The driver sees it when it starts next.
        """
        done = [cell.run_id for cell in self.study.good if self.state(cell.run_id).get("state") == "done"]
        if len(self.study.good) - len(done) < self.workers:
            self.again.append(self.rng.choice(done))
            self._remove(self.again[-1])

    def _remove(self, run: str) -> None:
        moved = self.runs / f".removed-{uuid.uuid4().hex}"
        (self.runs / run).rename(moved)  # at once, as `rm -r` is not
        shutil.rmtree(moved)

    def told(self) -> str:
        """What was done to the sweep, for somebody who looks for the reason of a failure."""
        return "\n".join(self.said)

    # -- faults: each returns the runs that it hit, None where it found no victim -----------------------------------

    def sigkill_worker(self) -> set[str] | None:
        return self._to_worker(signal.SIGKILL)

    def sigterm_worker(self) -> set[str] | None:
        return self._to_worker(signal.SIGTERM)

    def _to_worker(self, signum: int) -> set[str] | None:
        owners = {owner.pid: run for run in self.in_training() if (owner := lock.owner(self.runs / run))}
        in_their_middle = self.rng.random() < 0.75  # the others wherever they are, also at their start
        workers = list(owners) if in_their_middle else self.worker_pids()
        if not workers or not signalled(pid := self.rng.choice(workers), signum):
            return None
        return {owners[pid]} if pid in owners else set()

    def sigkill_driver(self) -> set[str]:
        hit = set(self.in_training())
        self.driver.kill()
        self.driver.wait(PATIENCE)
        return hit

    def sigterm_driver(self) -> set[str]:
        until(self.worker_pids)
        hit = set(self.in_training())
        self.driver.terminate()
        self.driver.wait(PATIENCE)
        return hit

    def power_cut(self) -> set[str]:
        """Driver and workers at once, with no time for a word."""
        until(self.worker_pids)
        hit = set(self.in_training())
        for pid in self.alive():
            signalled(pid, signal.SIGKILL)
        self.driver.wait(PATIENCE)
        return hit

    def second_driver(self) -> set[str]:
        """Two at once; then the first is told to end, and the second goes on alone."""
        first, second = self.driver, self.start_driver()
        hit = set(self.in_training())
        self.driver = second
        until(lambda: self.worker_pids() or second.poll() is not None)
        first.terminate()
        first.wait(PATIENCE)
        return hit

    def sigkill_training_child(self) -> set[str] | None:
        return self._to_child(signal.SIGKILL)

    def sigterm_training_child(self) -> set[str] | None:
        return self._to_child(signal.SIGTERM)

    def _to_child(self, signum: int) -> set[str] | None:
        """`scaling.train` on a cell of the grid, as a W&B agent starts it beside the sweep, hit in its training."""
        free = [cell for cell in self.study.good if self.state(cell.run_id).get("state") in (None, "interrupted")]
        if not free:
            return None
        cell = self.rng.choice(free)
        file = self.folder / f"{cell.run_id}.yaml"
        file.write_text(canonical(cell.config))
        runtime = [f"--runtime.{key}={value}" for key, value in {**BASE["runtime"], "out": self.runs}.items()]
        child = self.start([sys.executable, "-m", "scaling.train", f"--config={file}", *runtime])
        before = self.images_of(cell.run_id)

        def trains() -> bool:
            owner = lock.owner(self.runs / cell.run_id)
            return owner is not None and owner.pid == child.pid and self.images_of(cell.run_id) > before

        until(lambda: child.poll() is not None or trains())
        hit = child.poll() is None
        child.send_signal(signum)
        child.wait(PATIENCE)
        return {cell.run_id} if hit else None

    def full_disk(self) -> set[str] | None:
        """No room for some seconds."""
        hit, end = set(self.in_training()), time.monotonic() + self.rng.uniform(1, 4)
        if not hit:
            return None
        if self.runs.is_mount():
            self._fill(end)
        else:
            self._forbid_growth(end)
        return hit

    def _fill(self, end: float) -> None:
        """A filler takes the small file system that the runs are on, and what others free meanwhile."""
        filler = self.runs / ".filler"
        with open(filler, "wb", buffering=0) as file:
            while time.monotonic() < end:
                try:
                    file.write(bytes(4096))
                except OSError:
                    time.sleep(0.01)
        filler.unlink()

    def _forbid_growth(self, end: float) -> None:
        """Where mounting is not allowed: no process may write a file beyond its first byte (EFBIG for ENOSPC)."""
        while time.monotonic() < end:
            self._limit_files(1)
            time.sleep(POLL)
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, soft: int) -> None:
        for pid in self.alive():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def torn_record(self) -> set[str] | None:
        with self.orphaned("evals.jsonl") as folder:
            if folder is None:
                return None
            path = folder / "evals.jsonl"
            whole = path.read_bytes()
            os.truncate(path, self.rng.randrange(whole.rstrip(b"\n").rfind(b"\n") + 1, len(whole)))
            return {folder.name}

    def truncated_checkpoint(self) -> set[str] | None:
        return self._damage("safetensors", lambda content: content[: self.rng.randrange(len(content))])

    def flipped_bit(self) -> set[str] | None:
        def flip(content: bytes) -> bytes:
            made = bytearray(content)
            made[self.rng.randrange(len(made))] ^= 1 << self.rng.randrange(8)
            return bytes(made)

        return self._damage("safetensors", flip)

    def torn_sheet(self) -> set[str] | None:
        return self._damage("json", lambda content: content[: self.rng.randrange(len(content))])

    def _damage(self, kind: str, change: Callable[[bytes], bytes]) -> set[str] | None:
        """The newest checkpoint of a run whose writer was killed."""
        with self.orphaned(f"checkpoints/[0-9]*.{kind}") as folder:
            if folder is None:
                return None
            path = max(folder.glob(f"checkpoints/[0-9]*.{kind}"), key=lambda path: int(path.stem))
            path.write_bytes(change(path.read_bytes()))
            return {folder.name}

    def clock_back(self) -> set[str] | None:
        return self._clock(-10 * YEAR)

    def clock_forward(self) -> set[str] | None:
        return self._clock(10 * YEAR)

    def _clock(self, seconds: float) -> set[str] | None:
        """All times of a living run's files are far from now, as after a jump of the clock."""
        runs = self.in_training()
        if not runs:
            return None
        run = self.rng.choice(runs)
        for path in [*(self.runs / run).iterdir(), *(self.runs / run).glob("checkpoints/*")]:
            with suppress(FileNotFoundError):
                beat = path.stat().st_mtime + seconds
                os.utime(path, (beat, beat))
        return {run}

    def removed_folder(self) -> set[str] | None:
        """A user removes the folder of a living run."""
        runs = self.in_training()
        if not runs:
            return None
        run = self.rng.choice(runs)
        self._remove(run)
        return {run}

    def owner_on_a_lost_host(self) -> set[str] | None:
        """A worker of another machine died long ago and left its lock."""
        with self.orphaned("lock.guard") as folder:
            if folder is None:
                return None
            content = json.loads((folder / "lock.json").read_text()) | {"host": LOST, "machine": "another boot"}
        try:
            with open(folder / "lock.json", "x") as file:
                file.write(json.dumps(content))
        except FileExistsError:  # a worker was quicker
            return None
        os.utime(folder / "lock.json", (1, 1))
        return {folder.name}
