"""python -m scaling.sweep SWEEP.yaml: every pending cell of a W&B grid file, with progress, forecast and resume."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scaling.config import ConfigError, train_id
from scaling.store import RunStore, StoreError
from scaling.sweep.grid import Cell, Grid, expand

PURPOSE = "Train and measure every cell of a W&B grid sweep file that is not done yet."
FLAGS = "Further flags --key=value set a configuration key in every cell, as in scaling.train."


def main(argv: Sequence[str] | None = None) -> int:
    """0: all cells done (or the budget spent); 1: some failed; 2: wrong usage; 130, 143: interrupted by a signal."""
    options, flags = _parser().parse_known_args(argv)
    try:
        grid = expand(options.sweep, flags)
        if options.dry_run:
            return _dry_run(grid, options.workers)
        return _run(grid, options)
    except (ConfigError, StoreError) as error:
        print(f"scaling.sweep: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m scaling.sweep", description=PURPOSE, epilog=FLAGS, allow_abbrev=False)
    parser.add_argument("sweep", metavar="SWEEP.yaml", type=Path)
    parser.add_argument(
        "--engine", choices=["local"], default="local", help="who runs the cells: workers on this machine"
    )
    parser.add_argument("--workers", type=_positive, help="default: as many as CPU cores (on GPUs: up to 4 each)")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the cells, what is done and a forecast; run nothing"
    )
    parser.add_argument("--budget-hours", type=float, help="start no cell that would end later than this")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1")
    return int(text)


def _resources(cells: Sequence[Cell], workers: int | None) -> tuple[int, list[str], int]:
    """(workers, GPUs, threads of each)."""
    from scaling.sweep.machine import default_workers

    threads = max(cell.config.runtime.threads for cell in cells)
    default, gpus = default_workers({cell.config.runtime.device for cell in cells}, threads)
    return workers or default, gpus, threads


def _dry_run(grid: Grid, workers: int | None) -> int:
    from rich.console import Console

    from scaling.sweep.forecast import makespan
    from scaling.sweep.plan import plan_cells, table
    from scaling.training.progress import clock

    workers, _, _ = _resources(grid.cells, workers)
    planned = plan_cells(grid.cells)
    left = [one for one in planned if one.state != "done"]
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(planned))
    for note in grid.notes:
        print(note)
    for one in planned:
        if one.reason:
            print(f"{one.state} {one.cell.run_id} {one.cell.label}: {one.reason}")
    done, flops = len(planned) - len(left), sum(one.forecast.train_flops for one in left)
    time_left = clock(makespan([], [one.seconds for one in left], workers))
    print(f"{len(planned)} cells: {done} done, {len(left)} to run; {flops / 1e12:,.1f} TFLOP of training")
    basis = "finished runs" if done else "the speed of a CPU core"
    print(f"about {time_left} with {workers} workers, by {basis}")
    return 0


def _run(grid: Grid, options: argparse.Namespace) -> int:
    for note in grid.notes:
        print(f"sweep: {note}")
    if all(RunStore.finished(cell.config) for cell in grid.cells):
        print(f"sweep: all {len(grid.cells)} cells are done")
        return 0
    from scaling.sweep.plan import plan_cells

    planned = plan_cells(grid.cells)
    for one in planned:
        if one.state == "failed":
            print(f"sweep: failed before, tried again: {one.cell.run_id} {one.cell.label}: {one.reason}")
    return _work(grid, planned, options)


def _work(grid: Grid, planned: Sequence, options: argparse.Namespace) -> int:
    from rich.console import Console

    from scaling.sweep.board import Board
    from scaling.sweep.local import Job, Pool

    workers, gpus, threads = _resources(grid.cells, options.workers)
    jobs = [Job(one.cell, one.seconds, train_id(one.cell.config)) for one in planned if one.state != "done"]
    logs = Path(grid.cells[0].config.runtime.out) / ".workers"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{logs}: cannot be written ({error.strerror}); give another --runtime.out=DIR") from None
    budget = None if options.budget_hours is None else options.budget_hours * 3600
    shape = {"logs": logs, "threads": threads, "gpus": gpus, "budget_seconds": budget}
    with Board(Console(), len(grid.cells), len(grid.cells) - len(jobs)) as board:
        pool = Pool(jobs, workers, **shape, show=board.show, tell=board.tell)
        pool.run()
    return _conclude(grid, pool)


def _conclude(grid: Grid, pool) -> int:
    from scaling.training.progress import clock

    left = len(pool.pending)
    done = len(grid.cells) - left - len(pool.failed)
    took = clock(time.monotonic() - pool.started)
    print(f"sweep: {len(grid.cells)} cells: {done} done, {len(pool.failed)} failed, {left} left; {took}")
    for job, why in pool.failed:
        print(f"sweep: failed {job.cell.run_id} {job.cell.label}: {why}")
    if pool.signum is not None:
        print("sweep: interrupted; the same command goes on where it stopped")
        return 128 + pool.signum
    return 1 if pool.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
