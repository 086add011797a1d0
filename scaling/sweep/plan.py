"""A sweep before it runs: its cells with what each will cost and what is done, and the table that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from scaling import lock
from scaling.config import ConfigError
from scaling.store import StoreError, read_status
from scaling.sweep.board import design
from scaling.sweep.forecast import Forecast, corrected, forecast
from scaling.sweep.grid import Cell
from scaling.training.progress import clock


@dataclass(frozen=True)
class Planned:
    """state: done, pending, running, failed, interrupted or stale; seconds: forecast, or what it took if done."""

    cell: Cell
    forecast: Forecast
    seconds: float
    state: str
    reason: str | None


def plan_cells(cells: Sequence[Cell]) -> list[Planned]:
    """Raises ConfigError on a cell whose data cannot be made."""
    forecasts = [_forecast(cell) for cell in cells]
    states = [state_of(Path(cell.config.runtime.out) / cell.run_id) for cell in cells]
    measured = {
        at: status["wall_seconds"]
        for at, (state, status) in enumerate(states)
        if state == "done" and status.get("wall_seconds") is not None
    }
    seconds = corrected([cell.config for cell in cells], forecasts, measured)
    return [
        Planned(cell, made, measured.get(at, seconds[at]), state, status.get("reason"))
        for at, (cell, made, (state, status)) in enumerate(zip(cells, forecasts, states, strict=True))
    ]


def _forecast(cell: Cell) -> Forecast:
    try:
        return forecast(cell.config)
    except ConfigError as error:
        raise ConfigError(f"{error} (cell {cell.label or cell.run_id})") from None


def state_of(folder: Path) -> tuple[str, dict]:
    """(state, status) of a run folder: as its status says, but `stale` where `running` has no living writer.

    A folder without status is `pending`, or `running` while somebody holds it.
    """
    try:
        status = read_status(folder)
    except StoreError as error:
        return "failed", {"reason": str(error)}
    owner = lock.owner(folder) if folder.exists() else None
    alive = owner is not None and owner.alive
    state = status.get("state")
    if alive and state != "done":
        return "running", status
    return ("stale" if state == "running" else state or "pending"), status


def table(planned: Sequence[Planned]) -> Table:
    """The cells of a dry run."""
    made = Table(expand=False)
    for name in ("run", "cell", "state", "width", "params", "copies", "n_unique", "n_train", "images", "TFLOP", "time"):
        made.add_column(
            name, justify="left" if name in ("run", "cell", "state", "copies") else "right", no_wrap=name != "cell"
        )
    for one in planned:
        cost, config = one.forecast, one.cell.config
        row = (
            one.cell.run_id,
            one.cell.label,
            one.state,
            str(config.model.width),
            f"{cost.params:,}",
            design(config.data),
            f"{cost.n_unique:,}",
            f"{cost.n_train:,}",
            f"{cost.images:,}",
            f"{cost.train_flops / 1e12:,.2f}",
            clock(one.seconds),
        )
        made.add_row(*map(Text, row))  # Text: a label may hold [brackets]
    return made
