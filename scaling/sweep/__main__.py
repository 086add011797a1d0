"""python -m scaling.sweep SWEEP.yaml: every pending cell of a W&B grid file, with progress, forecast and resume."""

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import inf
from pathlib import Path

from scaling.command import command_line
from scaling.config import ConfigError
from scaling.store import RunStore
from scaling.store_errors import StoreError
from scaling.sweep.grid import Cell, Grid, expand

PURPOSE = "Train and measure every cell of a W&B grid sweep file that is not done yet."
FLAGS = "Further flags --key=value set a configuration key in every cell, as in scaling.train."


def main(argv: Sequence[str] | None = None) -> int:
    """0: all cells done (or the budget spent); 1: some failed; 2: wrong usage; 130, 143: interrupted by a signal."""
    options, flags = _parser().parse_known_args(argv)
    try:
        _check(options)
        grid = expand(options.sweep, flags)
        if options.dry_run:
            return _dry_run(grid, options)
        return _run(grid, options)
    except (ConfigError, StoreError) as error:
        print(f"scaling.sweep: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = command_line(
        "scaling.sweep", "SWEEP.yaml [options] [--key=value …]", PURPOSE, "sweeps/quickstart.yaml --dry-run", FLAGS
    )
    parser.add_argument("sweep", metavar="SWEEP.yaml", type=Path, help="a W&B sweep file with method: grid")
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="who runs the cells: workers on this machine, or Ray on one or many (docs/cluster.md)",
    )
    parser.add_argument("--workers", type=_positive, help="default: as many as CPU cores (on GPUs: up to 4 each)")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="join this Ray cluster (default: start Ray here)")
    parser.add_argument(
        "--gpus-per-worker",
        type=_share_of_gpus,
        metavar="SHARE",
        help="Ray: 1/4 or .25 of a GPU, or several (default: 1/4 where cells may use one)",
    )
    parser.add_argument(
        "--pack",
        type=_positive,
        metavar="K",
        help="train K cells of one shape side by side in each worker; 1: never (default: where measured to be faster)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the cells, what is done and a forecast; run nothing"
    )
    parser.add_argument(
        "--rows", type=Path, metavar="F.csv", help="with --dry-run: the strata to come, for analysis.fit --predict"
    )
    parser.add_argument(
        "--budget-hours", type=_hours, help="the most informative cells first, and none that would end later than this"
    )
    parser.add_argument(
        "--first", type=Path, metavar="FILE.json", help="cells to run first, as `analysis.ask next --out` writes them"
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.rows and not options.dry_run:
        raise ConfigError(f"--rows={options.rows}: belongs to --dry-run")
    for name in ("ray_address", "gpus_per_worker"):
        if options.engine != "ray" and getattr(options, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}={getattr(options, name)}: belongs to --engine ray")
    if options.engine == "ray" and (options.pack or 1) > 1:
        raise ConfigError(f"--pack={options.pack}: belongs to --engine local; Ray's workers have one cell each")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1")
    return int(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours < inf:
        raise argparse.ArgumentTypeError(f"{text}: a number of hours above 0, as 1.5")
    return hours


def _share_of_gpus(text: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        share = -1.0
    if share < 0 or (share > 1 and not share.is_integer()):
        raise argparse.ArgumentTypeError(f"{text}: a share of one GPU like 1/4 or .25, or a whole number of them")
    return share


def _resources(cells: Sequence[Cell], workers: int | None) -> tuple[int, list[str], int]:
    """(workers, GPUs, threads of each)."""
    from scaling.machine import default_workers

    threads = max(cell.config.runtime.threads for cell in cells)
    default, gpus = default_workers({cell.config.runtime.device for cell in cells}, threads)
    return workers or default, gpus, threads


def _plan(grid: Grid, options: argparse.Namespace):
    """(workers, all cells with state and cost, those to run in their order)."""
    from scaling.forecasts.calibration import calibrate
    from scaling.sweep.agenda import Agenda
    from scaling.sweep.plan import plan_cells

    workers, _, _ = _resources(grid.cells, options.workers)
    runtime = grid.cells[0].config.runtime
    calibration = calibrate(Path(runtime.out), runtime)
    planned = plan_cells(grid.cells, calibration)
    budget = None if options.budget_hours is None else options.budget_hours * 3600
    return workers, planned, Agenda.of(planned, calibration, workers, budget, options.first)


def _dry_run(grid: Grid, options: argparse.Namespace) -> int:
    from rich.console import Console

    from scaling.sweep.plan import table

    workers, planned, agenda = _plan(grid, options)
    done = [one for one in planned if one.state == "done"]
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table([*done, *agenda.cells] if agenda.ranked else planned))
    for note in [*grid.notes, *agenda.notes]:
        print(note)
    for one in planned:
        if one.reason:
            print(f"{one.state} {one.cell.run_id} {one.cell.label}: {one.reason}")
    print(f"{len(planned)} cells: {len(done)} done, {len(agenda.cells)} to run; {agenda.cost(workers)}")
    for line in agenda.forecast(workers, Path(grid.cells[0].config.runtime.out)):
        print(line)
    if options.rows:
        from scaling.sweep.planned_rows import write_rows

        print(f"{write_rows(grid.cells, options.rows)} strata -> {options.rows}")
    return 0


def _run(grid: Grid, options: argparse.Namespace) -> int:
    for note in grid.notes:
        print(f"sweep: {note}")
    if all(RunStore.finished(cell.config) for cell in grid.cells):
        print(f"sweep: all {len(grid.cells)} cells are done")
        return 0
    workers, planned, agenda = _plan(grid, options)
    for note in agenda.notes:
        print(f"sweep: {note}")
    for one in planned:
        if one.state == "failed":
            print(f"sweep: failed before, tried again: {one.cell.run_id} {one.cell.label}: {one.reason}")
    if warning := agenda.check_room(workers, Path(grid.cells[0].config.runtime.out)):
        print(f"sweep: {warning}")
    return _work(grid, agenda, options)


def _work(grid: Grid, agenda, options: argparse.Namespace) -> int:
    from rich.console import Console

    from scaling.sweep.board import Board
    from scaling.sweep.queue import Event, Queue

    jobs = agenda.make_jobs()
    outs = sorted({Path(cell.config.runtime.out) for cell in grid.cells})
    for out in outs:
        try:
            (out / ".workers").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"{out / '.workers'}: cannot be written ({error.strerror})"
            raise StoreError(f"{why}; give another --runtime.out=DIR") from None
    # its own stdout: what Ray prints into the process goes elsewhere meanwhile
    with Board(Console(file=sys.stdout), len(grid.cells), len(grid.cells) - len(jobs)) as board:

        def tell(event: Event) -> None:
            if event.job is not None:
                agenda.learn(event)
            board.tell(event)

        queue = Queue(jobs, tell, agenda.budget_seconds)
        run = _on_ray if options.engine == "ray" else _locally
        try:
            signum = run(grid.cells, agenda, queue, outs, board.show, options)
        finally:
            agenda.keep()
    return _conclude(grid, queue, signum)


def _locally(cells: Sequence[Cell], agenda, queue, outs: Sequence[Path], show: Callable, options: argparse.Namespace):
    from scaling.sweep.local import Pool
    from scaling.sweep.packs import Packs

    workers, gpus, threads = _resources(cells, options.workers)
    packs = Packs(options.pack, workers, tell=lambda line: print(f"sweep: {line}", flush=True))
    agenda.pack(packs)
    pool = Pool(queue, workers, logs=outs[0] / ".workers", threads=threads, gpus=gpus, packs=packs, show=show)
    pool.run()
    return pool.signum


def _on_ray(cells: Sequence[Cell], agenda, queue, outs: Sequence[Path], show: Callable, options: argparse.Namespace):
    from scaling.machine import WORKERS_PER_GPU
    from scaling.sweep.cluster import Cluster
    from scaling.sweep.place import Share
    from scaling.sweep.ray_session import connected

    threads = max(cell.config.runtime.threads for cell in cells)
    may_use_gpu = any(cell.config.runtime.device != "cpu" for cell in cells)
    relative = any(_is_relative(cell.config.data.source) for cell in cells)
    log = outs[0] / ".workers" / f"{socket.gethostname()}-{os.getpid()}-ray.log"
    with connected(options.ray_address, threads, log) as ray:
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1 / WORKERS_PER_GPU if may_use_gpu and ray.cluster_resources().get("GPU", 0) else 0.0
        outs, share = [out.absolute() for out in outs], Share(threads, gpus)
        cluster = Cluster(ray, queue, options.workers, share, outs=outs, relative=relative, show=show)
        cluster.run()
    return cluster.signum


def _is_relative(source: str) -> bool:
    """Does this source of images name a relative path?"""
    kind, _, path = source.partition(":")
    return kind in ("folder", "parquet", "idx") and not Path(path).is_absolute()


def _conclude(grid: Grid, queue, signum: int | None) -> int:
    from scaling.sweep.agenda import left_over
    from scaling.training.progress import clock

    left = len(queue.pending)
    done = len(grid.cells) - left - len(queue.failed)
    took = clock(time.monotonic() - queue.started)
    print(f"sweep: {len(grid.cells)} cells: {done} done, {len(queue.failed)} failed, {left} left; {took}")
    for job, why in queue.failed:
        print(f"sweep: failed {job.cell.run_id} {job.cell.label}: {why}")
    if left and queue.budget_seconds is not None and signum is None:
        print(f"sweep: {left_over(queue)}")
    if signum is not None:
        print("sweep: interrupted; the same command goes on where it stopped")
        return 128 + signum
    return 1 if queue.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
