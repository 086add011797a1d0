"""All benchmarks one after another, one table, kept in benchmarks/results/speed.md if none was left out.

    python -m benchmarks [--only NAME ...] [--peers .venv-bench/bin/python]

Those that stand beside others' code run in the interpreter of --peers, made by `make bench`.
"""

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.table import Row
from scaling.code_version import commit
from scaling.machine import cores

OURS = (
    "lightning", "step", "workers", "warm_worker", "evaluation_share", "instruments", "forecast", "scale",
    "fits", "report",
)  # fmt: skip
PEERS = ("peers", "neighbors")
RESULTS = Path(__file__).parent / "results" / "speed.md"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=OURS + PEERS, default=OURS + PEERS)
    parser.add_argument("--peers", type=Path, default=Path(".venv-bench/bin/python"))
    asked = parser.parse_args()
    rows, failed = [], 0
    for name in asked.only:
        python = asked.peers if name in PEERS else Path(sys.executable)
        print(f"-- {name}", flush=True)
        found = run(python, name) if python.exists() else []
        if not found:
            failed += 1
            why = "failed, see above" if python.exists() else f"{python} is missing: run `make bench`"
            found = [Row(name, f"not measured ({why})", "")]
        rows += found
    text = report(rows, asked.peers)
    print(text)
    if set(asked.only) == {*OURS, *PEERS}:  # part of the table does not replace the whole
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text)
    return int(failed > 0)


def run(python: Path, name: str) -> list[Row]:
    """The rows that this benchmark prints, [] if it fails; all it says is shown on the way."""
    command = [str(python), "-m", f"benchmarks.{name}"]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        rows = []
        for line in process.stdout:
            print(line, end="", flush=True)
            rows.append(Row.parse(line.rstrip("\n")))
    return [row for row in rows if row] if process.returncode == 0 else []


def report(rows: list[Row], peers: Path) -> str:
    head = ["what | ratio | goal", "--- | --- | ---"]
    versions = f"torch {torch.__version__}"
    if peers.exists():
        theirs = subprocess.run(
            [str(peers), "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True
        )
        versions += f" (beside others' code {theirs.stdout.strip()})"
    machine = f"{cores()} cores, {cpu()}, {versions}, Python {platform.python_version()}, code {commit()}"
    table = "\n".join(f"| {line} |" for line in head + [row.line() for row in rows])
    made = "Written by `python -m benchmarks`: medians, ratios from interleaved pairs, one thread a process."
    return f"# Speed\n\n{made}\n\n{table}\n\n{machine}\n"


def cpu() -> str:
    """The processor's name as Linux gives it, else the platform's."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
