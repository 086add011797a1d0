"""What all engines share: the loop that gives free workers their next cells, and what a signal does.

One signal ends the workers after their checkpoints, a second one at once.
"""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from scaling.sweep.queue import Job, Queue

TICK_SECONDS = 0.5


@dataclass
class Worker:
    """One place where a cell runs. state: the last progress of its job; host: where there may be several.

    company: what else runs there, side by side with its job.
    """

    job: Job | None = None
    state: dict = field(default_factory=dict)
    since: float = 0.0
    host: str = ""
    company: list["Worker"] = field(default_factory=list)

    @property
    def runs(self) -> list["Worker"]:
        """Itself and its company, as far as they have a job."""
        return [self, *self.company] if self.job is not None else []

    @property
    def seconds_left(self) -> float:
        """Of its run: as the run itself says, else as was forecast."""
        known = self.state.get("seconds_left")
        return known if known is not None else max(self.job.seconds - (time.monotonic() - self.since), 0.0)


class Engine(ABC):
    """`run` works through the queue; `show(engine)` is called twice a second."""

    def __init__(self, queue: Queue, show: Callable[["Engine"], None]) -> None:
        self.queue, self.show = queue, show
        self.workers: list[Worker] = []
        self.signum: int | None = None

    @property
    def seconds_left(self) -> float:
        """Until the sweep ends."""
        running = [max(run.seconds_left for run in worker.runs) for worker in self.workers if worker.job]
        return self.queue.seconds_left(running, max(len(self.workers), 1))

    def run(self) -> None:
        """Returns when nothing is left, the budget is spent, or after a signal (`signum`) when all workers ended."""
        with self._signals():
            try:
                self._begin()
                while self._assign() or any(worker.job for worker in self.workers):
                    self._listen()
                    self.show(self)
            finally:
                self._end()

    def _assign(self) -> bool:
        """Gives free workers their next cells; False if no cell will start any more."""
        if self.signum is not None:
            return False
        for worker in self.workers:
            if worker.job is None and (job := self._take()) is not None:
                worker.job, worker.state, worker.since = job, {}, time.monotonic()
                self._give(worker)
        return self.queue.anything_left()

    def _take(self) -> Job | None:
        return self.queue.take(self._in_training())

    def _in_training(self) -> set[str]:
        """train_id of all that runs."""
        return {run.job.train_id for worker in self.workers for run in worker.runs}

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(signum: int, frame: object) -> None:
            again, self.signum = self.signum is not None, signum
            self._stop(again)

        before = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @abstractmethod
    def _begin(self) -> None:
        """Makes the first workers."""

    @abstractmethod
    def _give(self, worker: Worker) -> None:
        """Starts `worker.job` there."""

    @abstractmethod
    def _listen(self) -> None:
        """Waits a tick at most; takes in progress, answers and deaths."""

    @abstractmethod
    def _stop(self, again: bool) -> None:
        """In a signal's handler: ends what runs after its checkpoint, at once if it is the second signal."""

    @abstractmethod
    def _end(self) -> None:
        """Returns when nothing runs any more, also after an error in the loop."""
