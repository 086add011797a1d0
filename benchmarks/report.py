"""A whole report of a simulated study of 500 runs, and what a command costs before it reads its table.

    python -m benchmarks.report [--times 3]

Processor seconds of a process of its own, one core; the report is everything: tables read, fits by run, answers,
verdicts, figures, page. Imports: over an interpreter that does nothing.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from analysis.planning.planned import plan
from analysis.planning.simulated_study import simulated
from analysis.simulate import write_tables
from benchmarks.table import Row

COMMANDS = ("fit", "compare", "pareto", "double_descent", "onset", "ask", "simulate", "report")
STUDY = {
    "name": "five hundred runs",
    "grid": {"params": [2743, 10405, 40489, 159697, 357625], "n_unique": [128, 256, 512, 1024], "design": "spectrum",
             "levels": 4, "images": 204800, "at": 5, "samples": 512, "seeds": 25},
    "truth": {
        "rate": {"law": "logistic", "x": ["params", "copies", "images_seen", "n_unique"],
                 "parameters": {"b_0": -20, "b_params": 0.6, "b_copies": 0.9, "b_images_seen": 1.1, "b_n_unique": -0.5},
                 "luck_run": 0.2, "overdispersion": 0.01},
        "holdout_loss": {"E": 0.5, "A": 2, "alpha": 0.25, "B": 10, "beta": 0.4, "overfit": 0.02, "overfit_epochs": 100},
    },
}  # fmt: skip


def seconds(*arguments: str) -> float:
    """Processor seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), simulated(plan(STUDY), 0))
        took = [seconds("-m", "analysis.report", folder, "--out", f"{folder}/report") for _ in range(asked.times)]
    least = {name: min(seconds("-c", f"import analysis.{name}") for _ in range(asked.times)) for name in COMMANDS}
    nothing = min(seconds("-c", "pass") for _ in range(asked.times))
    slowest = max(least, key=least.__getitem__)
    shown = f"{median(took):.1f} ({min(took):.1f} to {max(took):.1f}, {len(took)} times)"
    print(Row("the report of 500 runs, seconds", shown, "< 30").line(), flush=True)
    print(
        Row(f"import of a command (the slowest, {slowest}), seconds", f"{least[slowest] - nothing:.2f}", "< 0.3").line()
    )


if __name__ == "__main__":
    main()
