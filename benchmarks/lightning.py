"""What Lightning costs: seconds a step of our module under its trainer over those of its steps alone, one thread.

OMP_NUM_THREADS=1 python -m benchmarks.lightning [--pairs 7] [--steps 150] [--width 16]
"""

import argparse

from benchmarks.loops import Subject, experiment
from benchmarks.table import Row, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"pairs": 7, "steps": 150, "width": 16}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    subject = Subject(experiment(asked.width))
    subject.module_seconds(10), subject.lightning_seconds(10)  # warm up
    ratios = []
    for pair in range(asked.pairs):
        ways = [subject.module_seconds, subject.lightning_seconds]
        order = ways if pair % 2 == 0 else ways[::-1]  # a drift of the machine falls on both
        seconds = {way.__name__: way(asked.steps) for way in order}
        ratios.append(seconds["lightning_seconds"] / seconds["module_seconds"])
        rates = ", ".join(f"{name[:-8]} {1000 * value / asked.steps:.1f} ms a step" for name, value in seconds.items())
        print(f"pair {pair}: {rates}", flush=True)
    print(
        Row(
            f"Lightning over the module's steps alone, time a step (width {asked.width})", spread(ratios), "≤ 1.05"
        ).line()
    )


if __name__ == "__main__":
    main()
