"""The local engine: warm workers on this machine, each with one cell or several of one shape side by side.

A worker that is killed is replaced.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from scaling.sweep.engine import TICK_SECONDS, Engine, Worker
from scaling.sweep.packs import Packs
from scaling.sweep.queue import Job, Queue
from scaling.sweep.worker import main as work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(kw_only=True)
class Process(Worker):
    """A worker of this machine; log: what its runs print."""

    process: BaseProcess
    connection: Connection
    log: Path


class Pool(Engine):
    """logs: the folder in which each worker's own words are kept."""

    def __init__(
        self,
        queue: Queue,
        workers: int,
        *,
        logs: Path,
        threads: int = 1,
        gpus: Sequence[str] = (),
        packs: Packs | None = None,
        show: Callable[[Engine], None],
    ) -> None:
        super().__init__(queue, show)
        self.packs = packs or Packs(1, workers)
        self.size, self.threads, self.gpus, self.logs = min(workers, len(queue.pending)), threads, gpus, logs

    def _begin(self) -> None:
        self.workers = [self._start(place) for place in range(self.size)]

    def _give(self, worker: Process) -> None:
        worker.company = self._company(worker)
        trees = [run.job.cell.config.model_dump(mode="json") for run in worker.runs]
        with suppress(BrokenPipeError):  # it died idle: `_listen` replaces it and puts the jobs back
            worker.connection.send(trees)

    def _company(self, worker: Process) -> list[Worker]:
        alike = [worker.job, *self.queue.alike(worker.job)]
        together = self.packs.size(worker.job.cell.config, len(alike), sum(job.seconds for job in alike))
        if together == 1:
            return []
        beside = self.queue.take_beside(worker.job, together - 1, self._in_training())
        return [Worker(job=job, since=time.monotonic()) for job in beside]

    def _listen(self) -> None:
        ready = set(wait([worker.connection for worker in self.workers], timeout=TICK_SECONDS))
        for worker in [worker for worker in self.workers if worker.connection in ready]:
            try:
                kind, run_id, content = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                self._replace(worker)
                continue
            run = next(run for run in worker.runs if run.job.cell.run_id == run_id)
            if kind == "progress":
                run.state = content
            else:
                self.queue.answer(_leave(worker, run), kind, content)

    def _replace(self, worker: Process) -> None:
        """After a worker's death: its cells go back, and a new worker takes the place."""
        worker.process.join()
        worker.connection.close()
        place = self.workers.index(worker)
        code = self.workers.pop(place).process.exitcode
        for run in worker.runs:
            if self.signum is not None:
                self.queue.interrupted(run.job)
            else:
                self.queue.died(run.job, f"its worker was {_death(code)}; what it said last is in {worker.log}")
        if self.signum is None:
            self.workers.insert(place, self._start(place))

    def _start(self, place: int) -> Process:
        context = multiprocessing.get_context("spawn")  # a fork after torch would be unsafe, and no fork is needed
        log = self.logs / f"{os.getpid()}-{place}.log"
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, log, os.getpid()), name=f"worker-{place}")
        with _environment(self.threads, self.gpus[place % len(self.gpus)] if self.gpus else None):
            process.start()
        theirs.close()  # so that its death closes the pipe
        return Process(process=process, connection=ours, log=log)

    def _stop(self, again: bool) -> None:
        for worker in self.workers:
            (worker.process.kill if again else worker.process.terminate)()

    def _end(self) -> None:
        """Idle workers are dismissed; after a signal or an error here they are all told to stop, and waited for."""
        for worker in self.workers:
            with suppress(OSError):
                worker.connection.send(None)
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()


def _leave(worker: Process, run: Worker) -> Job:
    """The job of a run that ended; another of the worker's takes its place."""
    job = run.job
    if run is not worker:
        worker.company.remove(run)
    elif worker.company:
        next_one = worker.company.pop(0)
        worker.job, worker.state, worker.since = next_one.job, next_one.state, next_one.since
    else:
        worker.job = None
    return job


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
