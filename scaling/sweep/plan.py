"""A sweep before it runs: its cells with what each will cost and what is done, and the table that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from scaling import lock
from scaling.config import ConfigError
from scaling.fields import ExperimentConfig
from scaling.forecasts.calibration import Calibration, calibrate
from scaling.forecasts.cost_model import Seconds
from scaling.forecasts.disk import sweep_disk
from scaling.forecasts.forecast import Forecast, forecast, makespan
from scaling.identity import cell_id, train_id
from scaling.status_file import read_status
from scaling.store_errors import StoreError
from scaling.sweep.board import design
from scaling.sweep.grid import Cell
from scaling.training.progress import clock

ENDS = ("seconds", "seconds_lo", "seconds_hi")


@dataclass(frozen=True)
class Planned:
    """state: done, pending, running, failed, interrupted or stale; seconds: still to come, or what it took if done.

    share: of the run, still to come; trains: False where another run of this sweep trains its weights.
    """

    cell: Cell
    forecast: Forecast
    seconds: float
    state: str
    reason: str | None
    seconds_lo: float  # of an 80 % range
    seconds_hi: float
    share: float
    trains: bool


def plan_cells(cells: Sequence[Cell], calibration: Calibration | None = None) -> list[Planned]:
    """By the finished runs of the cells' run folder unless a calibration is given.

    Raises ConfigError on a cell whose data cannot be made.
    """
    known: dict[tuple, Forecast] = {}
    forecasts = [_forecast(cell, known) for cell in cells]
    states = [state_of(Path(cell.config.runtime.out) / cell.run_id) for cell in cells]
    if calibration is None and cells:
        calibration = calibrate(Path(cells[0].config.runtime.out), cells[0].config.runtime)
    trained = _trainings(cells, forecasts, [state for state, _ in states])
    return [_planned(*one, calibration) for one in zip(cells, forecasts, states, trained, strict=True)]


def _planned(
    cell: Cell, made: Forecast, found: tuple[str, Mapping[str, object]], trains: bool, calibration: Calibration
) -> Planned:
    state, status = found
    if state == "done" and status.get("wall_seconds") is not None:
        seconds, share = Seconds(*[status["wall_seconds"]] * 3), 0.0
    else:
        seen, total = status.get("images_seen"), status.get("images_total")
        share = 1 - min(seen / total, 1) if seen and total else 1.0
        seconds = Seconds(*(share * value for value in cell_seconds(cell.config, made, trains, calibration)))
    value, lo, hi = seconds
    return Planned(cell, made, value, state, status.get("reason"), lo, hi, share, trains)


def cell_seconds(config: ExperimentConfig, made: Forecast, trains: bool, calibration: Calibration) -> Seconds:
    """Of the whole run."""
    if not trains:
        return calibration.model.seconds(made.work.total(trains=False))
    return calibration.seconds(cell_id(config), made.work.total())


def _forecast(cell: Cell, known: dict[tuple, Forecast]) -> Forecast:
    """`known` keeps what replicates share."""
    fold = cell.config.data.fold
    key = (cell_id(cell.config), fold.index is None, fold.of)
    if key not in known:
        try:
            known[key] = forecast(cell.config)
        except ConfigError as error:
            raise ConfigError(f"{error} (cell {cell.label or cell.run_id})") from None
    return known[key]


def _trainings(cells: Sequence[Cell], forecasts: Sequence[Forecast], states: Sequence[str]) -> list[bool]:
    """Whether each cell trains; it does not where a run of the same training, done or earlier, kept all its points."""
    kept: dict[str, list[set[int]]] = {}
    trains = [True] * len(cells)
    for at in sorted(range(len(cells)), key=lambda at: (states[at] != "done", -len(forecasts[at].work.steps))):
        points = set(forecasts[at].work.steps)
        others = kept.setdefault(train_id(cells[at].config), [])
        trains[at] = not any(points <= other for other in others)
        others.append(points)
    return trains


@dataclass(frozen=True)
class Outlook:
    """What is left of a sweep: seconds until its end, FLOPs of training, bytes of disk."""

    seconds: Seconds
    train_flops: float
    disk: int

    @classmethod
    def of(cls, left: Sequence[Planned], workers: int) -> "Outlook":
        """Cells of one model err together, so the ends of their ranges are taken together too."""
        spans = [makespan([], [getattr(one, name) for one in left], workers) for name in ENDS]
        flops = sum(one.share * one.trains * one.forecast.work.train_flops for one in left)
        return cls(Seconds(*spans), flops, sweep_disk([one.forecast.disk for one in left], workers))

    @property
    def time(self) -> str:
        """With its 80 % range, in words."""
        return f"about {clock(self.seconds.value)} ({clock(self.seconds.lo)} to {clock(self.seconds.hi)})"


def state_of(folder: Path) -> tuple[str, dict]:
    """(state, status) of a run folder: as its status says, but `stale` where `running` has no living writer.

    A folder without status is `pending`, or `running` while somebody holds it.
    """
    try:
        status = read_status(folder)
    except StoreError as error:
        return "failed", {"reason": str(error)}
    state = status.get("state")
    if state == "done":  # whoever holds it; of a large study this is nearly every run
        return state, status
    owner = lock.owner(folder)
    if owner is not None and owner.alive:
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
        work, config = one.forecast.work, one.cell.config
        row = (
            one.cell.run_id,
            one.cell.label,
            one.state,
            str(config.model.width),
            f"{work.params:,}",
            design(config.data),
            f"{work.n_unique:,}",
            f"{work.n_train:,}",
            f"{work.images:,}",
            f"{work.train_flops / 1e12:,.2f}",
            clock(one.seconds),
        )
        made.add_row(*map(Text, row))  # Text: a label may hold [brackets]
    return made
