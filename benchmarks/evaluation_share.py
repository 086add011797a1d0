"""Evaluations' share of a run's time at the default settings, from the seconds of one evaluation and of one step.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation_share [--widths 16 4 32] [--repeats 3]

An evaluation is all that a run does at one: instruments, weights, arrays, record.
"""

import argparse
import tempfile
import time
from statistics import median

import torch

from benchmarks.loops import CPU, Subject, experiment
from benchmarks.table import Row
from scaling.config import build
from scaling.store import RunStore
from scaling.training.bench import Bench
from scaling.training.laboratory import Laboratory
from scaling.training.points import evaluation_steps, total_steps

STEPS = 20


def share(width: int, repeats: int) -> tuple[float, str]:
    """The share, and how it came about; steps and evaluations take turns."""
    with tempfile.TemporaryDirectory() as out:
        tree = experiment(width).model_dump(mode="json")
        subject = Subject(build({**tree, "runtime": {**tree["runtime"], "out": out}}))
        config, data = subject.config, subject.data
        n_evaluations = len(evaluation_steps(config.evaluate, config.train, data.n_train))
        n_steps = total_steps(config.train, data.n_train)
        sums = torch.tensor([0, 0, 0, -1], dtype=torch.float64)
        with RunStore.open(config) as store:
            bench = Bench.of(config, data, subject.images, CPU)
            laboratory = Laboratory(config, data, bench, store, subject.denoiser())
            weights, evaluating, stepping = subject.member(n_steps).measured_weights(), [], []
            for repeat in range(repeats + 1):
                stepping.append(subject.module_seconds(STEPS) / STEPS)
                started = time.monotonic()
                laboratory(repeat, weights, sums, sums)
                evaluating.append(time.monotonic() - started)
    evaluation, step = median(evaluating[1:]), median(stepping[1:])  # the first ones warm up
    share = n_evaluations * evaluation / (n_evaluations * evaluation + n_steps * step)
    return share, f"{n_evaluations} x {evaluation:.2f} s, {n_steps} steps x {1000 * step:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 4, 32])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    for width in asked.widths:
        part, how = share(width, asked.repeats)
        default = " (the default)" if width == experiment(16).model.width else ""
        what = f"evaluations' share of a run, width {width}{default}"
        print(Row(what, f"{part:.1%} ({how})", "≤ 25 %").line(), flush=True)


if __name__ == "__main__":
    main()
