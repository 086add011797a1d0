"""python -m scaling.status [SWEEP.yaml]: what is done, running, failed and why, and when it ends."""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.command import command_line
from scaling.config import ConfigError
from scaling.limits import printable
from scaling.overview import Overview, Run, of_folder, of_sweep
from scaling.sweep.grid import expand
from scaling.training.progress import clock

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

PURPOSE = "What is done, running (a living writer holds it), stale (its writer died), interrupted, failed and why."
FLAGS = "Further flags --key=value are those that the sweep was run with."
ROWS = 20  # runs shown; of more than so many only those that are running
REASONS = 8  # shown, the most frequent ones
WATCH_SECONDS = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """0, also where runs failed; 2 on wrong usage; 130 where --watch was ended by Ctrl-C."""
    parser = command_line(
        "scaling.status", "[SWEEP.yaml] [options] [--key=value …]", PURPOSE, "sweeps/quickstart.yaml --watch", FLAGS
    )
    parser.add_argument("sweep", metavar="SWEEP.yaml", nargs="?", type=Path, help="default: every run of the folder")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: the sweep's, else runs)")
    parser.add_argument("--all", action="store_true", help=f"every run, not only what is going on (beyond {ROWS} runs)")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object: counts, seconds_left, writers, reasons, runs"
    )
    parser.add_argument(
        "--watch", metavar="SECONDS", nargs="?", type=_seconds, const=WATCH_SECONDS,
        help=f"look again every SECONDS (default {WATCH_SECONDS:g}) until nothing is left to do",
    )  # fmt: skip
    options, flags = parser.parse_known_args(argv)
    try:
        if options.watch is not None:
            return _watch(_looker(options, flags), options)
        with _kept_to_the_end():
            overview = _looker(options, flags)()
    except ConfigError as error:
        print(f"scaling.status: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(as_json(overview, everything=options.all), allow_nan=False))
    elif not overview.runs:
        print("scaling.status: no runs")
    else:
        _console().print(_shown(overview, everything=options.all), highlight=False, markup=False)
    return 0


@contextmanager
def _kept_to_the_end() -> Iterator[None]:
    """No garbage collection: all that is read stays, and looking through it again takes a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text}: seconds from 0.1 to 86400 (a sweep file comes before --watch)")
    return seconds


def _looker(options: argparse.Namespace, flags: Sequence[str]) -> Callable[[], Overview]:
    """What looks at the runs that were asked for; raises ConfigError."""
    if options.sweep is not None:
        cells = expand(options.sweep, flags).cells
        return lambda: of_sweep(cells, options.out)
    if flags:
        raise ConfigError(f"{flags[0]}: flags belong to a sweep; name its file, or use --out DIR")
    out = options.out or Path("runs")
    if not out.is_dir():
        raise ConfigError(f"{out}: no such folder; name the folder of the runs with --out DIR")
    return lambda: of_folder(out)


def _watch(look: Callable[[], Overview], options: argparse.Namespace) -> int:
    """A live table on a terminal, elsewhere a line each time, until nothing waits and nobody works."""
    from rich.live import Live

    console = _console()
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not options.json else None
    try:
        with live or nullcontext():
            while True:
                overview = look()
                if options.json:
                    print(json.dumps(as_json(overview, everything=options.all), allow_nan=False), flush=True)
                elif live:
                    live.update(_shown(overview, everything=False), refresh=True)
                else:
                    print(f"{datetime.now():%H:%M:%S} {headline(overview)}", flush=True)
                if not set(overview.counts) - {"done", "failed"}:
                    return 0
                time.sleep(options.watch)
    except KeyboardInterrupt:
        return 130


def _console():
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)


def headline(overview: Overview) -> str:
    """Counts, and when it ends, in a line."""
    counts = ", ".join(f"{count:,} {state}" for state, count in overview.counts.items())
    return f"{len(overview.runs):,} runs: {counts}{_end(overview)}"


def _end(overview: Overview) -> str:
    going_on = overview.counts.keys() - {"done", "failed"}
    if overview.seconds_left is None or not going_on:
        return ""
    end = datetime.now() + timedelta(seconds=overview.seconds_left)
    day = "" if end.date() == datetime.now().date() else f"{end:%Y-%m-%d} "
    left, writers = f"{clock(overview.seconds_left)} left", f"{overview.writers} writer{'s' * (overview.writers != 1)}"
    if "running" not in going_on:
        return f"; nobody is at it ({left} with {writers})"
    return f"; {left} with {writers}, until {day}{end:%H:%M}"


def _shown(overview: Overview, *, everything: bool) -> "Group":
    """Headline, runs, reasons: a screenful, unless everything is asked for."""
    from rich.console import Group
    from rich.text import Text

    every = everything or len(overview.runs) <= ROWS
    chosen = list(overview.runs) if every else overview.of("running")
    shown = chosen if every else chosen[:ROWS]
    parts: list = [Text(headline(overview))]
    if shown:
        parts.append(_table(shown))
    if len(shown) < len(chosen):
        parts.append(Text(f"and {len(chosen) - len(shown):,} more that are running; --all shows every run"))
    reasons = overview.reasons
    for why, runs in reasons if everything else reasons[:REASONS]:
        parts.append(Text(f"{len(runs):,} failed, as {_name(runs[0])}: {printable(why)}"))
    if not everything and len(reasons) > REASONS:
        rest = sum(len(runs) for _, runs in reasons[REASONS:])
        parts.append(Text(f"{rest:,} failed for {len(reasons) - REASONS:,} further reasons; --all shows them"))
    parts += map(Text, overview.notes)
    return Group(*parts)


def _name(run: Run) -> str:
    return printable(f"{run.run_id} {run.label}".strip())


def _table(runs: Sequence[Run]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    made = Table(expand=False)
    columns = ("run", "cell", "state", "images seen", "memorized", "time", "time left", "updated", "host", "reason")
    for name in columns:
        made.add_column(name, no_wrap=name not in ("cell", "reason"))
    for run in runs:
        cells = (printable(run.run_id), printable(run.label), run.state, *_cells(run))
        made.add_row(*map(Text, cells))  # Text: a label may hold [brackets]
    return made


def _cells(run: Run) -> list[str]:
    status = run.status

    def known(name: str, text: str = "{:,}") -> str:
        return "" if status.get(name) is None else printable(text.format(status[name]))

    seen = known("images_seen") + (f" of {known('images_total')}" if known("images_total") else "")
    seen += f", {run.share:.0%}" if run.share is not None and run.state != "done" else ""
    memorized = (
        f"{known('n_memorized', '{}')}/{known('n_generated', '{}')}"
        if known("n_memorized") and known("n_generated")
        else ""
    )
    took = "" if status.get("wall_seconds") is None else clock(status["wall_seconds"])
    left = "" if run.seconds_left is None else clock(run.seconds_left)
    updated = f"{clock(run.silent)} ago" if status.get("updated") else ""
    return [seen, memorized, took, left, updated, known("host", "{}"), known("reason", "{}")]


def as_json(overview: Overview, *, everything: bool) -> dict[str, object]:
    """For machines; runs: those that are not done, with everything all of them."""
    runs = [
        {"run_id": run.run_id, "label": run.label, "state": run.state, "share": run.share, **_kept(run)}
        for run in overview.runs
        if everything or run.state not in ("done", "pending")
    ]
    reasons = [{"reason": why, "count": len(failed), "run_id": failed[0].run_id} for why, failed in overview.reasons]
    return {
        "counts": overview.counts,
        "seconds_left": overview.seconds_left,
        "writers": overview.writers,
        "reasons": reasons,
        "notes": overview.notes,
        "runs": runs,
    }


def _kept(run: Run) -> dict[str, object]:
    names = ("images_seen", "images_total", "wall_seconds", "n_memorized", "n_generated", "updated", "host", "reason")
    return {name: run.status.get(name) for name in names}


if __name__ == "__main__":
    raise SystemExit(main())
