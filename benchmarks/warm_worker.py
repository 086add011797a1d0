"""What a run costs beside its steps and instruments in a worker that has imported everything: seconds a run.

    OMP_NUM_THREADS=1 python -m benchmarks.warm_worker [--runs 6]

Tiny runs go through scaling.sweep.worker.outcome. Taken off the clock: their steps at the speed of a bare loop, and
the time inside measure(). What stays: reading the configuration, data, locks, Lightning's start, checkpoints, records.
"""

import argparse
import tempfile
import time
from statistics import median

from benchmarks.loops import Subject
from benchmarks.table import Row
from scaling.config import build
from scaling.sweep.worker import outcome
from scaling.training import laboratory
from scaling.training.points import total_steps


def tree(out: str, seed: int) -> dict:
    """The smallest run: 2 steps, evaluated before and after."""
    return {
        "seed": seed,
        "data": {"n_unique": 64, "holdout": 64},
        "model": {"width": 2},
        "train": {"images": 128},
        "evaluate": {"at": 1, "measures": ["loss"]},
        "runtime": {"out": out, "device": "cpu"},
    }


class Clock:
    """A function with the seconds spent in it."""

    def __init__(self, function) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: object, **named: object) -> object:
        started = time.monotonic()
        try:
            return self.function(*args, **named)
        finally:
            self.seconds += time.monotonic() - started


def run(out: str, seed: int) -> tuple[float, float]:
    """Seconds of one run, and those of them inside the instruments."""
    laboratory.measure = clock = Clock(getattr(laboratory.measure, "function", laboratory.measure))
    started = time.monotonic()
    kind, content = outcome(build(tree(out, seed)))
    seconds = time.monotonic() - started
    if kind != "done":
        raise SystemExit(f"the run was {kind}: {content}")
    return seconds, clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        run(out, 0)  # pays the imports
        subject = Subject(build(tree(out, 0)))
        steps = total_steps(subject.config.train, subject.data.n_train)
        overheads = []
        for seed in range(1, asked.runs + 1):
            stepping = subject.module_seconds(steps)
            seconds, measuring = run(out, seed)
            overheads.append(seconds - measuring - stepping)
            inside = f"measuring {measuring:.3f}, {steps} steps {stepping:.3f}"
            print(f"run {seed}: {seconds:.3f} s, of it {inside}", flush=True)
    text = f"{median(overheads):.3f} s ({min(overheads):.3f} to {max(overheads):.3f}, {asked.runs} runs)"
    print(Row("a warm worker's overhead per run", text, "< 0.5 s").line())


if __name__ == "__main__":
    main()
