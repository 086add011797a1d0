"""Cost of each instrument as a share of a default run, from the seconds of one evaluation of it alone.

    OMP_NUM_THREADS=1 python -m benchmarks.instruments [--width 16] [--repeats 3]

Instruments that share a pass (losses, samples) are timed together; leverage is measured once a run, the others at every
evaluation.
"""

import argparse
import time
from statistics import median

from benchmarks.evaluation_share import STEPS
from benchmarks.loops import CPU, Subject, experiment
from benchmarks.table import Row
from scaling.config import build
from scaling.training.bench import Bench
from scaling.training.measure import measure
from scaling.training.points import evaluation_steps, total_steps

TOGETHER = {
    "loss, membership, ideal": ["loss", "membership", "ideal"],
    "samples: neighbors, cliques, trajectory, quality": ["neighbors", "cliques", "trajectory", "quality"],
    "basin": ["basin"],
    "prompts, one context": ["prompts"],
    "keys": ["keys"],
    "cyclic, with its samples": ["cyclic"],
    "density and bits": ["density", "loss"],
    "leverage": ["leverage"],
}


def rows(width: int, repeats: int) -> list[Row]:
    tree = experiment(width).model_dump(mode="json")
    tree["data"]["keys"] = True
    subject = Subject(build(tree))
    config, data = subject.config, subject.data
    bench, denoiser = Bench.of(config, data, subject.images, CPU), subject.denoiser().eval()
    evaluations = len(evaluation_steps(config.evaluate, config.train, data.n_train))
    n_steps = total_steps(config.train, data.n_train)
    step = median(subject.module_seconds(STEPS) / STEPS for _ in range(repeats))
    made = []
    for name, measures in TOGETHER.items():
        asked, seconds = config.evaluate.model_copy(update={"measures": measures}), []
        for _ in range(repeats + 1):
            started = time.monotonic()
            measure(denoiser, bench, asked)
            seconds.append(time.monotonic() - started)
        one = median(seconds[1:])  # the first one warms up, and follows the ideal denoiser once for the whole run
        whole = one * (1 if name == "leverage" else evaluations)
        text = f"{whole / (whole + n_steps * step):.1%} ({one:.2f} s an evaluation, the first {seconds[0]:.2f} s)"
        made.append(Row(f"share of a run at width {width}: {name}", text, ""))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    for row in rows(asked.width, asked.repeats):
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
