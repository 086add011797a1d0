"""Room for one cell on a machine of a cluster, and what is seen of the cell from its run folder."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from scaling.sweep.engine import Worker


@dataclass(frozen=True)
class Share:
    """What one worker takes of a machine, in Ray's logical resources."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")

    def places(self, resources: Mapping[str, float]) -> int:
        """How many workers a machine with these resources has room for."""
        by_cpu = int(resources.get("CPU", 0) // self.cpus)
        if not self.gpus:
            return by_cpu
        gpus = resources.get("GPU", 0)
        # a share of one GPU cannot be taken half from another; 1e-6: three times 1/3 is a whole one
        by_gpu = gpus * int(1 / self.gpus + 1e-6) if self.gpus <= 1 else gpus // self.gpus
        return min(by_cpu, int(by_gpu))


@dataclass(kw_only=True)
class Place(Worker):
    """task: what Ray knows the running cell by; cancelled: 1 asked to end, 2 killed."""

    machine: str
    number: int
    task: object = None
    cancelled: int = 0
    _before: float | None = None  # `updated` of the status that an earlier attempt left
    _first: tuple[float, int] | None = None

    def begin(self, status: Mapping[str, object]) -> None:
        """A cell starts, its status being as an earlier attempt left it."""
        self.cancelled, self._first, self._before = 0, None, status.get("updated")

    def watch(self, status: Mapping[str, object]) -> None:
        """Takes in what the run's status says now; the speed is that since it was first seen to move."""
        if status.get("state") != "running" or status.get("updated") == self._before:
            return
        seen, total = status.get("images_seen"), status.get("images_total")
        if seen is None or not total:
            return
        now = time.monotonic()
        self._first = self._first or (now, seen)
        seconds, images = now - self._first[0], seen - self._first[1]
        self.state = {name: status.get(name) for name in ("images_seen", "images_total", "n_memorized", "n_generated")}
        if seconds > 0 and images > 0:
            self.state["images_per_second"] = images / seconds
            self.state["seconds_left"] = (total - seen) * seconds / images
