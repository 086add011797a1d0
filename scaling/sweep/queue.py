"""What starts next, whoever runs it: the cells that wait, those that ended, the budget, retries and cells of others.

A failed cell is kept as failed and the others go on. A cell whose worker died goes on from its checkpoint, and fails
when it died three times at the same place. A cell that somebody else is writing is left to them and looked at again.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scaling import lock
from scaling.forecasts.forecast import makespan
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.store_errors import StoreError
from scaling.sweep.grid import Cell

RETRIES = 2  # of a cell whose worker died, since it last went further than before
BUSY_SECONDS = 5.0  # between two looks at a cell that somebody else is writing


@dataclass
class Job:
    """A cell on its way. seconds, flops, disk (bytes): forecasts; rank: the lower starts first.

    shape: which others may train beside it (scaling.sweep.packs); None: none. saved: the part of `seconds` that their
    company saves. reached: images seen when its worker died.
    """

    cell: Cell
    seconds: float
    train_id: str
    rank: int = 0
    flops: float = 0.0
    disk: int = 0
    shape: str | None = None
    saved: float = 0.0
    kills: int = 0
    reached: int = 0
    not_before: float = 0.0

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.cell.config.runtime.out) / self.cell.run_id


@dataclass(frozen=True)
class Event:
    """kind: done, failed, killed, waiting, interrupted; of a job, or of a `node` (then there is none)."""

    kind: str
    job: Job | None
    text: str
    status: dict = field(default_factory=dict)


class Queue:
    """`take` hands a job out; `answer` or `died` bring it back. tell(event) is called on every end of a cell."""

    def __init__(self, jobs: Sequence[Job], tell: Callable[[Event], None], budget_seconds: float | None = None) -> None:
        # of equal rank the longest first: the end is then balanced
        self.pending = sorted(jobs, key=lambda job: (job.rank, -job.seconds))
        self.tell, self.budget_seconds = tell, budget_seconds
        self.done: list[Job] = []
        self.failed: list[tuple[Job, str]] = []
        self.started = time.monotonic()

    def seconds_left(self, running: Sequence[float], workers: int) -> float:
        """running: seconds left of what runs."""
        return makespan(running, [job.seconds for job in self.pending], workers)

    def anything_left(self) -> bool:
        """False if no cell will start any more."""
        return any(self._affordable(job) for job in self.pending)

    def take(self, in_training: Collection[str]) -> Job | None:
        """The first cell that may start now. in_training: train_id of all that runs."""
        for job in list(self.pending):
            # A run that shares its training with a running one waits: it can then measure those weights.
            if job.not_before > time.monotonic() or job.train_id in in_training or not self._affordable(job):
                continue
            self.pending.remove(job)
            if not self._elsewhere(job):
                return job
        return None

    def alike(self, job: Job) -> list[Job]:
        """Those that wait and may train beside this one; a job whose worker died goes on alone: it may be at fault."""
        if job.shape is None or job.kills:
            return []
        return [other for other in self.pending if other.shape == job.shape and not other.kills]

    def take_beside(self, job: Job, count: int, in_training: Collection[str]) -> list[Job]:
        """Up to `count` of those alike that may start now, as `take` gives them. in_training: with this job's."""
        found, busy = [], set(in_training)
        for other in self.alike(job):
            if len(found) == count:
                break
            if other.train_id in busy or other.not_before > time.monotonic() or not self._affordable(other):
                continue
            self.pending.remove(other)
            if not self._elsewhere(other):
                found.append(other)
                busy.add(other.train_id)
        return found

    def answer(self, job: Job, kind: str, content: object) -> None:
        """What its worker said at the end (scaling.sweep.worker): done, failed, busy; or interrupted."""
        if kind == "done":
            self._finish(job, content)
        elif kind == "failed":
            self._fail(job, content)
        elif kind == "busy":
            self._put_off(job, content)
        else:
            self.interrupted(job)

    def interrupted(self, job: Job) -> None:
        """Back among the pending: the job goes on from its checkpoint."""
        self.tell(Event("interrupted", job, ""))
        self.pending.append(job)

    def returned(self, job: Job) -> None:
        """It did not begin: its place was none."""
        self.pending.insert(0, job)

    def died(self, job: Job, why: str) -> None:
        """Its worker did, in the middle: it goes to the front, or fails if it did so too often without progress."""
        reached = _images_seen(job)
        job.kills, job.reached = (1, reached) if reached > job.reached else (job.kills + 1, job.reached)
        if job.kills <= RETRIES:
            self.tell(Event("killed", job, why))
            self.pending.insert(0, job)
            return
        why = f"{why} ({job.kills} times)"
        with suppress(StoreError), RunStore.open(job.cell.config) as store:  # where it cannot be kept, it is still told
            store.set_status("failed", reason=why)
        self._fail(job, why)

    def _affordable(self, job: Job) -> bool:
        spent = time.monotonic() - self.started
        return self.budget_seconds is None or spent + job.seconds <= self.budget_seconds

    def _elsewhere(self, job: Job) -> bool:
        """True if somebody else has finished the cell, or is at it (then it is looked at again later)."""
        try:
            status = RunStore.finished(job.cell.config)
        except StoreError as error:
            self._fail(job, str(error))
            return True
        if status is not None:
            self._finish(job, status)
            return True
        found = lock.owner(job.folder)
        if found is not None and found.alive:
            self._put_off(job, f"process {found.pid} on {found.host} is at it")
            return True
        return False

    def _put_off(self, job: Job, why: str) -> None:
        if job.not_before == 0:
            self.tell(Event("waiting", job, why))
        job.not_before = time.monotonic() + BUSY_SECONDS
        self.pending.append(job)

    def _finish(self, job: Job, status: dict) -> None:
        self.done.append(job)
        self.tell(Event("done", job, "", status))

    def _fail(self, job: Job, why: str) -> None:
        self.failed.append((job, why))
        self.tell(Event("failed", job, why))


def _images_seen(job: Job) -> int:
    """How far the run is by its own status; 0 where that says nothing."""
    try:
        return read_status(job.folder).get("images_seen") or 0
    except StoreError:
        return 0
