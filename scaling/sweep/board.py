"""What a sweep shows while it works: a live table on a terminal, a plain line every ten seconds elsewhere."""

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scaling.fields import DataConfig
from scaling.forecasts.disk import size
from scaling.sweep.engine import Engine, Worker
from scaling.sweep.queue import Event
from scaling.training.progress import clock

LINE_SECONDS = 10.0


class Board:
    """A context manager around `Engine.run`; its `show` is the engine's, its `tell` the queue's."""

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

    def show(self, engine: Engine) -> None:
        """Looked at after each turn of the engine."""
        if self.live:
            self.live.update(self._table(engine), refresh=True)
        elif time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            running = "; ".join(_short(run) for worker in engine.workers for run in worker.runs)
            self._print(f"sweep: {self._counts(engine)}; {running}")

    def tell(self, event: Event) -> None:
        """Prints what happened to a cell or a machine."""
        self._print(f"sweep: {line(event)}")

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _counts(self, engine: Engine) -> str:
        failed = f", {len(engine.queue.failed)} failed" if engine.queue.failed else ""
        left = "stopping after the checkpoints" if engine.signum is not None else _left(engine)
        return f"{self.done_before + len(engine.queue.done)} of {self.cells} cells done{failed}, {left}"

    def _table(self, engine: Engine) -> Table:
        table = Table(caption=self._counts(engine), expand=False)
        for name in ("run", "cell", "width", "copies", "images", "images/s", "memorized", "time left"):
            table.add_column(name, justify="left" if name in ("run", "cell") else "right", no_wrap=name != "cell")
        hosts = [worker.host for worker in engine.workers]
        if any(hosts):
            table.add_column("host", no_wrap=True)
        for worker in engine.workers:
            for run in worker.runs or [worker]:
                row = [*_row(run), worker.host] if any(hosts) else _row(run)
                table.add_row(*map(Text, row))  # Text: a label may hold [brackets]
        return table


def _left(engine: Engine) -> str:
    """Time, FLOPs and bytes of what is not done."""
    jobs = [*engine.queue.pending, *(run.job for worker in engine.workers for run in worker.runs)]
    flops, disk = sum(job.flops for job in jobs), sum(job.disk for job in jobs)
    return f"{clock(engine.seconds_left)} left ({flops / 1e12:,.1f} TFLOP, {size(disk)})"


def line(event: Event) -> str:
    """One line on the end of a cell, or on a machine."""
    if event.job is None:
        return event.text
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
