"""In which order the cells of a sweep start, what is left for another time, and how the forecast learns on the way."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scaling.forecasts.calibration import Calibration
from scaling.forecasts.disk import check_room, free_bytes, size
from scaling.forecasts.timed_runs import read_run
from scaling.forecasts.timing_cache import remember
from scaling.identity import train_id
from scaling.sweep.named_first import named_first
from scaling.sweep.packs import Packs, shape_of
from scaling.sweep.plan import Outlook, Planned, cell_seconds
from scaling.sweep.priority import design, order
from scaling.sweep.queue import Event, Job, Queue
from scaling.training.progress import clock

REFIT = 1.1  # the cost model is fitted again when it knows so many times the runs


@dataclass(eq=False)
class Agenda:
    """cells: those that are not done, in the order of their start; later: those of them that the budget leaves.

    ranked: whether that order is more than the longest first; fitted: runs behind the forecast that the jobs have now.
    """

    cells: list[Planned]
    later: list[Planned]
    notes: list[str]
    ranked: bool
    budget_seconds: float | None
    calibration: Calibration
    fitted: int
    jobs: dict[str, tuple[Planned, Job]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        planned: Sequence[Planned],
        calibration: Calibration,
        workers: int,
        budget_seconds: float | None = None,
        first: Path | None = None,
    ) -> "Agenda":
        """first: a file that names cells (named_first). Raises ConfigError on one that names none."""
        named, notes = named_first(first, planned) if first is not None else ([], [])
        left = [at for at, one in enumerate(planned) if one.state != "done"]
        if budget_seconds is not None:
            found = design([one.cell.config for one in planned])
            seconds = np.array([one.seconds for one in planned])
            done = [*(at for at, one in enumerate(planned) if one.state == "done"), *named]
            rest = order(found, seconds, done, budget_seconds * workers - seconds[named].sum())
        else:
            rest = sorted(set(left) - set(named), key=lambda at: -planned[at].seconds)
        cells = [planned[at] for at in [*named, *rest]]
        later = [] if budget_seconds is None else _unaffordable(cells, workers, budget_seconds)
        ranked = bool(named) or budget_seconds is not None
        return cls(cells, later, notes, ranked, budget_seconds, calibration, len(calibration.runs))

    @property
    def now(self) -> list[Planned]:
        """The cells that will run within the budget."""
        later = {one.cell.run_id for one in self.later}
        return [one for one in self.cells if one.cell.run_id not in later]

    def cost(self, workers: int) -> str:
        """FLOPs and bytes of all cells to run."""
        whole = Outlook.of(self.cells, workers)
        return f"{whole.train_flops / 1e12:,.1f} TFLOP of training, {size(whole.disk)} of disk"

    def forecast(self, workers: int, out: Path) -> list[str]:
        """Lines for a dry run."""
        lines = [f"{Outlook.of(self.cells, workers).time} with {workers} workers, by {self.calibration.words}"]
        if self.later:
            hours, now = f"{self.budget_seconds / 3600:g} hours", Outlook.of(self.now, workers)
            part = f"{len(self.now)} cells, the first of these; {now.time}, {size(now.disk)} of disk"
            lines.append(f"within {hours}: {part}; {len(self.later)} are left for later")
        lines.append(f"{size(free_bytes(out))} are free in {out}")
        return lines

    def check_room(self, workers: int, out: Path) -> str | None:
        """As `disk.check_room`, for the cells within the budget."""
        return check_room(Outlook.of(self.now, workers).disk, out)

    def make_jobs(self) -> list[Job]:
        """For an engine, which starts them by rank, and the longest first of equal rank."""
        for rank, one in enumerate(self.cells):
            job = Job(
                one.cell, one.seconds, train_id(one.cell.config), rank=rank * self.ranked,
                flops=one.share * one.trains * one.forecast.work.train_flops, disk=one.forecast.disk.kept,
            )  # fmt: skip
            self.jobs[one.cell.run_id] = one, job
        return [job for _, job in self.jobs.values()]

    def learn(self, event: Event) -> None:
        """On an engine's event: a finished run tells what the others will take."""
        if event.kind != "done" or event.job.cell.run_id in self.calibration.runs:
            return
        config, run_id = event.job.cell.config, event.job.cell.run_id
        run = read_run(Path(config.runtime.out) / run_id, config.runtime, set())
        if run is None or not self.jobs[run_id][0].trains:
            return
        self.calibration.runs[run_id] = run
        if len(self.calibration.runs) < REFIT * self.fitted:
            return
        self.calibration = Calibration.of(self.calibration.runs.values())
        self.fitted = len(self.calibration.runs)
        for one, job in self.jobs.values():
            whole = cell_seconds(one.cell.config, one.forecast, one.trains, self.calibration)
            job.seconds = one.share * whole.value * (1 - job.saved)

    def pack(self, packs: Packs) -> None:
        """Lets jobs train side by side, and takes what that saves from their forecasts."""
        groups: dict[str, list[tuple[Planned, Job]]] = {}
        for one, job in self.jobs.values():
            job.shape = shape_of(one.cell.config) if one.trains else None
            if job.shape is not None:
                groups.setdefault(job.shape, []).append((one, job))
        for group in groups.values():
            config, model = group[0][0].cell.config, self.calibration.model
            together = packs.size(config, len(group), sum(job.seconds for _, job in group))
            for one, job in group:
                work = one.forecast.work
                measuring = model.seconds(work.total(trains=False)).value / model.seconds(work.total()).value
                job.saved = (1 - measuring) * (1 - 1 / packs.speed(config, together))
                job.seconds *= 1 - job.saved

    def keep(self) -> None:
        """Lets later sweeps in other folders know what these runs took."""
        if self.jobs:
            remember(self.calibration.runs.values(), next(iter(self.jobs.values()))[0].cell.config.runtime)


def _unaffordable(cells: Sequence[Planned], workers: int, budget: float) -> list[Planned]:
    """Those that no worker can end in time, when each free worker takes the first that it can."""
    free, waiting = [0.0] * workers, list(cells)
    while waiting and free:
        start = heapq.heappop(free)
        fitting = next((one for one in waiting if start + one.seconds <= budget), None)
        if fitting is None:  # nor can any worker that is free later
            break
        waiting.remove(fitting)
        heapq.heappush(free, start + fitting.seconds)
    return waiting


def left_over(queue: Queue) -> str:
    """Why cells are left when the budget is spent, and what to do."""
    work = clock(sum(job.seconds for job in queue.pending))
    return (
        f"--budget-hours={queue.budget_seconds / 3600:g} leaves {len(queue.pending)} cells, {work} of work: each would "
        f"have ended later; the same command goes on with them"
    )
