"""The local engine: warm workers on this machine take pending cells, longest first, until none is left.

A failed cell is kept as failed and the others go on. A worker that is killed is replaced, and its cell goes on from its
checkpoint. A cell that somebody else is writing is left to them and looked at again. One signal ends the workers after
their checkpoints, a second one at once.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from scaling import lock
from scaling.store import RunStore, StoreError
from scaling.sweep.forecast import makespan
from scaling.sweep.grid import Cell
from scaling.sweep.worker import main as work

RETRIES = 2  # of a cell whose worker was killed
BUSY_SECONDS = 5.0  # between two looks at a cell that somebody else is writing
TICK_SECONDS = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class Job:
    """A cell on its way. seconds: forecast."""

    cell: Cell
    seconds: float
    train_id: str
    kills: int = 0
    not_before: float = 0.0


@dataclass
class Worker:
    process: BaseProcess
    connection: Connection
    log: Path
    job: Job | None = None
    state: dict = field(default_factory=dict)  # the last progress of its job
    since: float = 0.0

    @property
    def seconds_left(self) -> float:
        known = self.state.get("seconds_left")
        return known if known is not None else max(self.job.seconds - (time.monotonic() - self.since), 0.0)


@dataclass(frozen=True)
class Event:
    """kind: done, failed, killed, waiting, interrupted."""

    kind: str
    job: Job
    text: str
    status: dict = field(default_factory=dict)


class Pool:
    """`run` works; `show(pool)` is called twice a second and `tell(event)` on every end of a cell.

    logs: the folder in which each worker's own words are kept.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: int,
        *,
        logs: Path,
        threads: int = 1,
        gpus: Sequence[str] = (),
        budget_seconds: float | None = None,
        show: Callable[["Pool"], None],
        tell: Callable[[Event], None],
    ) -> None:
        self.pending = sorted(jobs, key=lambda job: -job.seconds)  # the longest first: the end is then balanced
        self.size, self.threads, self.gpus = min(workers, len(jobs)), threads, gpus
        self.logs = logs
        self.show, self.tell, self.budget_seconds = show, tell, budget_seconds
        self.done: list[Job] = []
        self.failed: list[tuple[Job, str]] = []
        self.workers: list[Worker] = []
        self.signum: int | None = None
        self.started = time.monotonic()

    @property
    def seconds_left(self) -> float:
        running = [worker.seconds_left for worker in self.workers if worker.job]
        return makespan(running, [job.seconds for job in self.pending], self.size)

    def run(self) -> None:
        """Returns when nothing is left, the budget is spent, or after a signal (`signum`) when all workers ended."""
        with self._signals():
            try:
                self.workers = [self._start(place) for place in range(self.size)]
                while self._assign() or any(worker.job for worker in self.workers):
                    self._listen()
                    self.show(self)
            finally:
                self._end()

    # -- who does what -----------------------------------------------------------------------------------------------

    def _assign(self) -> bool:
        """Gives free workers their next cells; False if no cell will start any more."""
        if self.signum is not None:
            return False
        for worker in self.workers:
            if worker.job is None and (job := self._next()) is not None:
                worker.job, worker.state, worker.since = job, {}, time.monotonic()
                with suppress(BrokenPipeError):  # it died idle: `_listen` replaces it and puts the job back
                    worker.connection.send(job.cell.config.model_dump(mode="json"))
        return any(self._affordable(job) for job in self.pending)

    def _affordable(self, job: Job) -> bool:
        spent = time.monotonic() - self.started
        return self.budget_seconds is None or spent + job.seconds <= self.budget_seconds

    def _next(self) -> Job | None:
        """The first cell that may start now, taken out of `pending`."""
        in_training = {worker.job.train_id for worker in self.workers if worker.job}
        for job in list(self.pending):
            # A run that shares its training with a running one waits: it can then measure those weights.
            if job.not_before > time.monotonic() or job.train_id in in_training or not self._affordable(job):
                continue
            self.pending.remove(job)
            if not self._elsewhere(job):
                return job
        return None

    def _elsewhere(self, job: Job) -> bool:
        """True if somebody else has finished the cell, or is at it (then it is looked at again later)."""
        folder = Path(job.cell.config.runtime.out) / job.cell.run_id
        try:
            status = RunStore.finished(job.cell.config)
        except StoreError as error:
            self._fail(job, str(error))
            return True
        if status is not None:
            self._finish(job, status)
            return True
        found = lock.owner(folder)
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

    # -- what they say -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        ready = set(wait([worker.connection for worker in self.workers], timeout=TICK_SECONDS))
        for worker in [worker for worker in self.workers if worker.connection in ready]:
            try:
                kind, content = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                self._replace(worker)
                continue
            if kind == "progress":
                worker.state = content
                continue
            job, worker.job = worker.job, None
            if kind == "done":
                self._finish(job, content)
            elif kind == "failed":
                self._fail(job, content)
            else:
                self._put_off(job, content)

    def _replace(self, worker: Worker) -> None:
        """After a worker's death: its cell goes back to the front, and a new worker takes the place."""
        worker.process.join()
        worker.connection.close()
        place = self.workers.index(worker)
        job, code = self.workers.pop(place).job, worker.process.exitcode
        if job is not None and self.signum is not None:
            self.tell(Event("interrupted", job, ""))
            self.pending.append(job)
        elif job is not None:
            self._back(job, f"its worker was {_death(code)}; what it said last is in {worker.log}")
        if self.signum is None:
            self.workers.insert(place, self._start(place))

    def _back(self, job: Job, why: str) -> None:
        job.kills += 1
        if job.kills <= RETRIES:
            self.tell(Event("killed", job, why))
            self.pending.insert(0, job)
            return
        why = f"{why} ({job.kills} times)"
        with suppress(StoreError), RunStore.open(job.cell.config) as store:  # where it cannot be kept, it is still told
            store.set_status("failed", reason=why)
        self._fail(job, why)

    # -- beginning and end -------------------------------------------------------------------------------------------

    def _start(self, place: int) -> Worker:
        context = multiprocessing.get_context("spawn")  # a fork after torch would be unsafe, and no fork is needed
        log = self.logs / f"{os.getpid()}-{place}.log"
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, log, os.getpid()), name=f"worker-{place}")
        with _environment(self.threads, self.gpus[place % len(self.gpus)] if self.gpus else None):
            process.start()
        theirs.close()  # so that its death closes the pipe
        return Worker(process, ours, log)

    def _end(self) -> None:
        """Idle workers are dismissed; after a signal or an error here they are all told to stop, and waited for."""
        for worker in self.workers:
            with suppress(OSError):
                worker.connection.send(None)
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(signum: int, frame: object) -> None:
            again, self.signum = self.signum is not None, signum
            for worker in self.workers:
                (worker.process.kill if again else worker.process.terminate)()

        before = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"killed by {signal.Signals(-code).name}{hint}"


@contextmanager
def _environment(threads: int, gpu: str | None) -> Iterator[None]:
    """The variables that must be set before numpy and torch are imported, for the process started inside."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads)) | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
