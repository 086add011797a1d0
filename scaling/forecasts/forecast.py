"""What a cell will ask of machine and disk, and when a whole sweep will end. No torch.

Seconds of that work are cost_model.py's, learned from runs by calibration.py.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.fields import ExperimentConfig
from scaling.forecasts.disk import Disk, run_disk
from scaling.forecasts.run_work import RunWork, run_work


@dataclass(frozen=True, eq=False)
class Forecast:
    """Of one run."""

    work: RunWork
    disk: Disk


def forecast(config: ExperimentConfig) -> Forecast:
    """Raises ConfigError on duplication that cannot be made."""
    work = run_work(config)
    return Forecast(work, run_disk(config, work))


def makespan(running: Sequence[float], pending: Sequence[float], workers: int) -> float:
    """Seconds until all is done: seconds left of the running, and each pending one taken by the next free worker."""
    free = [*running, *[0.0] * max(workers - len(running), 0)]
    heapq.heapify(free)
    for seconds in sorted(pending, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free, default=0.0)
