"""What a sweep shows while it works: a live table on a terminal, a plain line every ten seconds elsewhere."""

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scaling.fields import DataConfig
from scaling.sweep.local import Event, Pool, Worker
from scaling.training.progress import clock

LINE_SECONDS = 10.0


class Board:
    """A context manager around `Pool.run`; its `show` and `tell` are the pool's."""

    def __init__(self, console: Console, cells: int, done_before: int) -> None:
        self.console, self.cells, self.done_before = console, cells, done_before
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.last = 0.0

    def __enter__(self) -> "Board":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.update("", refresh=True)
            self.live.stop()

    def show(self, pool: Pool) -> None:
        if self.live:
            self.live.update(self._table(pool), refresh=True)
        elif time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            running = "; ".join(_short(worker) for worker in pool.workers if worker.job)
            self.console.print(f"sweep: {self._counts(pool)}; {running}", soft_wrap=True, highlight=False, markup=False)

    def tell(self, event: Event) -> None:
        self.console.print(f"sweep: {line(event)}", soft_wrap=True, highlight=False, markup=False)

    def _counts(self, pool: Pool) -> str:
        failed = f", {len(pool.failed)} failed" if pool.failed else ""
        left = "stopping after the checkpoints" if pool.signum is not None else f"{clock(pool.seconds_left)} left"
        return f"{self.done_before + len(pool.done)} of {self.cells} cells done{failed}, {left}"

    def _table(self, pool: Pool) -> Table:
        table = Table(caption=self._counts(pool), expand=False)
        for name in ("run", "cell", "width", "copies", "images", "images/s", "memorized", "time left"):
            table.add_column(name, justify="left" if name in ("run", "cell") else "right", no_wrap=name != "cell")
        for worker in pool.workers:
            table.add_row(*map(Text, _row(worker)))  # Text: a label may hold [brackets]
        return table


def line(event: Event) -> str:
    """One line on the end of a cell."""
    name = f"{event.job.cell.run_id} {event.job.cell.label}".strip()
    if event.kind == "done":
        seconds = event.status.get("wall_seconds")
        took = "" if seconds is None else f" in {clock(seconds)}"
        return f"done {name}{took}{_memorized(event.status, ', memorized ')}"
    if event.kind == "killed":
        return f"again {name}: {event.text}"
    return f"{event.kind} {name}" + (f": {event.text}" if event.text else "")


def _memorized(state: dict, before: str = "") -> str:
    if state.get("n_memorized") is None or not state.get("n_generated"):
        return ""
    return f"{before}{state['n_memorized']}/{state['n_generated']}"


def design(data: DataConfig) -> str:
    """The duplication of a cell in a word: spectrum 6, uniform 8, none."""
    duplication = data.duplication
    amount = duplication.copies or (duplication.levels if isinstance(duplication.levels, int) else None)
    amount = amount or (f"rate {duplication.rate}" if duplication.rate is not None else "")
    return f"{duplication.design} {amount}".strip()


def _short(worker: Worker) -> str:
    state, cell = worker.state, worker.job.cell
    share = f"{state['images_seen'] / state['images_total']:.0%}" if state.get("images_total") else "starting"
    return f"{cell.run_id} {cell.label} {share}{_memorized(state, ' memorized ')}"


def _row(worker: Worker) -> list[str]:
    if worker.job is None:
        return ["idle", *[""] * 7]
    state, cell = worker.state, worker.job.cell
    seen = f"{state['images_seen']:,} of {state['images_total']:,}" if state.get("images_total") else "starting"
    speed = f"{state['images_per_second']:,.0f}" if state.get("images_per_second") else ""
    width, copies = str(cell.config.model.width), design(cell.config.data)
    return [cell.run_id, cell.label, width, copies, seen, speed, _memorized(state), clock(worker.seconds_left)]
