"""A grid of many cells: planning, one decision of the queue, status and collecting, on synthetic run folders.

    python -m benchmarks.scale [--cells 10000] [--folder DIR]

The folders (70 kB a cell) are made first and removed at the end; docs/scale.md has the numbers of 100,000. Each figure
is of a process of its own: seconds of the wall and of the processor, and the largest memory of all its processes
together. Files come from the page cache, unless the system lets it be dropped (then `cold` stands beside).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.synthetic_runs import make_runs, sweep
from benchmarks.table import Row
from scaling.sweep.grid import expand

GOALS = {"status of the folder": 5.0, "status of the sweep": 5.0, "collect": 60.0}  # seconds, of 100,000 cells
MEMORY = 2e9  # bytes
TICK = 0.1
DECIDE = """
import json, sys, time
from pathlib import Path
from scaling.sweep.grid import expand
from scaling.sweep.plan import plan_cells
from scaling.sweep.queue import Job, Queue
from scaling.config import train_id
took = {}
def timed(name, make):
    began = time.perf_counter()
    made = make()
    took[name] = time.perf_counter() - began
    return made
cells = timed("expanding the sweep", lambda: expand(sys.argv[1]).cells)
planned = timed("planning its cells", lambda: plan_cells(cells))
jobs = [Job(one.cell, one.seconds, train_id(one.cell.config)) for one in planned if one.state != "done"]
queue = timed("sorting what is left", lambda: Queue(jobs, lambda event: None))
timed("one decision of the queue", lambda: queue.take(set()))
timed("one forecast of the queue", lambda: queue.seconds_left([], 2))
print(json.dumps(took))
"""


def memory(pid: int) -> int:
    """Bytes of a process and its children, shared pages counted once."""
    total = 0
    with suppress(OSError, ProcessLookupError):  # one of them has just ended
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            sheet = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) * 1024 for line in sheet.splitlines() if line.startswith("Pss:"))
    return total


def measured(*arguments: str) -> tuple[float, float, int]:
    """(wall seconds, processor seconds, largest memory in bytes) of a Python process and its children."""
    before, began, most = os.times(), time.perf_counter(), 0
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(TICK)
    wall, after = time.perf_counter() - began, os.times()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {process.returncode}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent, most


def drop_cache() -> bool:
    """Whether the page cache could be dropped."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def show(what: str, cells: int, times: Sequence[tuple[float, float, int]], cold: float | None, goal: float) -> None:
    wall, spent, most = min(times)
    colder = "" if cold is None else f", cold {cold:.1f}"
    text = f"{wall:.1f} (processor {spent:.1f}{colder}), {most / 1e6:,.0f} MB"
    print(Row(f"{what}, {cells:,} cells, seconds", text, f"< {goal:g}, < {MEMORY / 1e9:g} GB").line(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the folders are made (default: a temporary one)")
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="also with the page cache dropped (slows everything else)")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=asked.folder, prefix="scale-"))
    try:
        runs, file = folder / "runs", folder / "sweep.yaml"
        sweep(file, asked.cells, runs)
        began = time.perf_counter()
        cells = expand(file).cells
        make_runs(cells, runs)
        size = sum(path.stat().st_size for path in next(runs.iterdir()).iterdir())
        print(f"{len(cells):,} cells made in {time.perf_counter() - began:.0f} s, {size / 1e3:.0f} kB each", flush=True)
        said = subprocess.run([sys.executable, "-c", DECIDE, str(file)], capture_output=True, text=True, check=True)
        for what, seconds in json.loads(said.stdout).items():
            print(Row(f"{what}, {len(cells):,} cells, seconds", f"{seconds:.3f}", "").line(), flush=True)
        commands = {
            "status of the folder": ("-m", "scaling.status", "--out", str(runs)),
            "status of the sweep": ("-m", "scaling.status", str(file)),
            "collect": ("-m", "scaling.collect", str(runs), "--out", str(folder / "tables")),
        }
        for what, command in commands.items():
            cold = measured(*command)[0] if asked.cold and drop_cache() else None
            show(what, len(cells), [measured(*command) for _ in range(asked.times)], cold, GOALS[what])
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
