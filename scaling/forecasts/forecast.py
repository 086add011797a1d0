"""What a cell will cost before it runs: images, FLOPs, seconds, bytes; and when a whole sweep will end. No torch.

`forecast` speaks from the constants of a server core; what finished runs of this machine add is calibration.py's.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from scaling.fields import ExperimentConfig
from scaling.forecasts.cost_model import CostModel, fit
from scaling.forecasts.disk import Disk, run_disk
from scaling.forecasts.run_work import RunWork, run_work


@dataclass(frozen=True, eq=False)
class Forecast:
    """seconds: of one run on one worker of a plain server core; copies: the most that an image has."""

    work: RunWork
    disk: Disk
    seconds: float

    @property
    def params(self) -> int:
        return self.work.params

    @property
    def n_unique(self) -> int:
        return self.work.n_unique

    @property
    def n_train(self) -> int:
        return self.work.n_train

    @property
    def copies(self) -> int:
        return self.work.copies[-1]

    @property
    def images(self) -> int:
        return self.work.images

    @property
    def train_flops(self) -> float:
        return self.work.train_flops


def forecast(config: ExperimentConfig) -> Forecast:
    """Raises ConfigError on duplication that cannot be made."""
    work = run_work(config)
    return Forecast(work, run_disk(config, work), uncalibrated().seconds(work.total()).value)


@cache
def uncalibrated() -> CostModel:
    return fit([])


def makespan(running: Sequence[float], pending: Sequence[float], workers: int) -> float:
    """Seconds until all is done: seconds left of the running, and each pending one taken by the next free worker."""
    free = [*running, *[0.0] * max(workers - len(running), 0)]
    heapq.heapify(free)
    for seconds in sorted(pending, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free, default=0.0)
