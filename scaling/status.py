"""python -m scaling.status [SWEEP.yaml]: what is done, running, failed and why."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scaling.config import ConfigError
from scaling.sweep.grid import expand
from scaling.sweep.plan import state_of
from scaling.training.progress import clock

PURPOSE = "What is done, running (a living writer holds it), stale (its writer died), interrupted, failed and why."
FLAGS = "Further flags --key=value are those that the sweep was run with."

STATES = ("done", "running", "pending", "interrupted", "stale", "failed")


def main(argv: Sequence[str] | None = None) -> int:
    """0, also where runs failed; 2 on wrong usage."""
    parser = argparse.ArgumentParser("python -m scaling.status", description=PURPOSE, epilog=FLAGS, allow_abbrev=False)
    parser.add_argument("sweep", metavar="SWEEP.yaml", nargs="?", type=Path, help="default: every run of the folder")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: the sweep's, else runs)")
    options, flags = parser.parse_known_args(argv)
    try:
        folders = _folders(options, flags)
    except ConfigError as error:
        print(f"scaling.status: {error}", file=sys.stderr)
        return 2
    if not folders:
        print("scaling.status: no runs")
        return 0
    _show({folder: (label, *state_of(folder)) for folder, label in folders.items()})
    return 0


def _folders(options: argparse.Namespace, flags: Sequence[str]) -> dict[Path, str]:
    """Run folder -> label of its cell."""
    if options.sweep is not None:
        cells = expand(options.sweep, flags).cells
        return {(options.out or Path(cell.config.runtime.out)) / cell.run_id: cell.label for cell in cells}
    if flags:
        raise ConfigError(f"{flags[0]}: flags belong to a sweep; name its file, or use --out DIR")
    out = options.out or Path("runs")
    if not out.is_dir():
        raise ConfigError(f"{out}: no such folder; name the folder of the runs with --out DIR")
    return {folder: "" for folder in sorted(out.iterdir()) if (folder / "config.yaml").exists()}


def _show(rows: dict[Path, tuple[str, str, dict]]) -> None:
    from rich.console import Console
    from rich.table import Table

    made = Table(expand=False)
    for name in ("run", "cell", "state", "images seen", "memorized", "time", "updated", "host", "reason"):
        made.add_column(name, no_wrap=name not in ("cell", "reason"))
    for folder, (label, state, status) in rows.items():
        made.add_row(folder.name, label, state, *_cells(status))
    Console(width=None if sys.stdout.isatty() else 200).print(made, highlight=False, markup=False)
    counts = Counter(state for _, state, _ in rows.values())
    print(f"{len(rows)} runs: " + ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]))


def _cells(status: dict) -> list[str]:
    def known(name: str, text: str = "{:,}") -> str:
        return "" if status.get(name) is None else text.format(status[name])

    seen = known("images_seen") + (f" of {known('images_total')}" if known("images_total") else "")
    memorized = (
        f"{status['n_memorized']}/{status['n_generated']}" if known("n_memorized") and known("n_generated") else ""
    )
    took = "" if status.get("wall_seconds") is None else clock(status["wall_seconds"])
    updated = f"{clock(max(time.time() - status['updated'], 0))} ago" if status.get("updated") else ""
    return [seen, memorized, took, updated, known("host", "{}"), known("reason", "{}")]


if __name__ == "__main__":
    raise SystemExit(main())
