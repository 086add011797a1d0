"""One check, the answer it must give, and how the table of all checks is shown: as rows that appear, or as JSON."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scaling.store_errors import reason

WIDTH = 160  # columns where there is no terminal


class Given(NamedTuple):
    """What an instrument gave, and whether it is what it must give."""

    gave: float | str
    ok: bool


@dataclass(frozen=True)
class Check:
    """One row of the table: what an instrument must give and what it gave."""

    group: str
    instrument: str
    must_give: str
    gave: float | str
    ok: bool


@dataclass(frozen=True)
class Row:
    """A check before it is made: `measure` is asked on a device (or on whatever the rows of a group share)."""

    instrument: str
    must_give: str
    measure: Callable[[Any], Given]

    def check(self, group: str, on: object) -> Check:
        """The check made; an exception inside it is a miss that names it."""
        try:
            given = self.measure(on)
        except Exception as error:
            given = Given(reason(error), False)
        return Check(group, self.instrument, self.must_give, *given)


def within(value: float, low: float, high: float) -> Given:
    """ok iff low <= value <= high: never for NaN."""
    return Given(value, bool(low <= value <= high))


def near(values: float | Sequence[float], expected: float | Sequence[float], tolerance: float) -> Given:
    """ok iff every value is within the tolerance of the one expected."""
    many = isinstance(expected, Sequence)
    pairs = list(zip(values, expected, strict=True) if many else [(values, expected)])
    ok = all(abs(value - wanted) <= tolerance for value, wanted in pairs)
    return Given(shown(values) if many else values, ok)


def shown(values: Iterable[float]) -> str:
    """Numbers of a row in one cell."""
    return " ".join(number(value) for value in values)


def number(value: float) -> str:
    """To six digits."""
    return f"{value:.6g}"


def failed(group: str, error: Exception) -> Check:
    """The row of a group that could not even begin (an import fails)."""
    return Check(group, "the whole group", "to run", reason(error), False)


def as_json(checks: Sequence[Check], seconds: float) -> dict[str, object]:
    """{"checks": [{group, instrument, must_give, gave, ok}], "summary": {ok, miss, seconds}}; NaN as text."""
    rows = [asdict(check) for check in checks]
    for row in rows:
        if isinstance(row["gave"], float) and not isfinite(row["gave"]):
            row["gave"] = str(row["gave"])
    return {"checks": rows, "summary": {**counts(checks), "seconds": round(seconds, 1)}}


def counts(checks: Sequence[Check]) -> dict[str, int]:
    """{ok, miss}."""
    ok = sum(check.ok for check in checks)
    return {"ok": ok, "miss": len(checks) - ok}


class Printer:
    """The table on a console, row by row as the checks are made; coloured on a terminal, plain elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        if not self.console.is_terminal:
            self.console.width = WIDTH
        self.started = False

    def group(self, name: str) -> None:
        """The heading of a group, and above the first one the names of the columns."""
        if not self.started:
            self._line("", "instrument", "must give", "gave", style="bold")
            self.started = True
        self.console.print(Text(name, style="bold"))

    def show(self, check: Check) -> None:
        """One row."""
        gave = check.gave if isinstance(check.gave, str) else number(check.gave)
        verdict = Text("ok", "green") if check.ok else Text("miss", "bold red")
        self._line(verdict, check.instrument, check.must_give, gave)

    def end_group(self, name: str, checks: Sequence[Check], seconds: float) -> None:
        """How many of a group are ok."""
        self.console.print(Text(f"{name}: {summary(checks, seconds)}", style="dim"))

    def end(self, checks: Sequence[Check], seconds: float) -> None:
        """How many of all are ok."""
        self.console.print(Text(f"selfcheck: {summary(checks, seconds)}"))

    def _line(self, verdict: Text | str, *cells: str, style: str = "") -> None:
        """One row as a table of its own: equal widths make the rows one table that need not wait for its end."""
        line = Table(box=None, show_header=False, expand=True, style=style, padding=(0, 2, 0, 0))
        line.add_column(width=4)
        for share in (3, 6, 4):
            line.add_column(ratio=share, overflow="fold")
        line.add_row(verdict, *map(Text, cells))  # Text: a message may hold [brackets]
        self.console.print(line)


def summary(checks: Sequence[Check], seconds: float) -> str:
    """Counts and seconds in words."""
    tally = counts(checks)
    return f"{tally['ok']} ok, {tally['miss']} miss, {seconds:.1f} s"


def answered(group: str, rows: Iterable[Row], on: object) -> Iterator[Check]:
    """The checks of a group, one at a time as they are made."""
    return (row.check(group, on) for row in rows)
