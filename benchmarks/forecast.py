"""How far off a forecast is: a designed list of shapes is trained and measured, and each is forecast from the others.

    OMP_NUM_THREADS=1 python -m benchmarks.forecast [--shapes N] [--keep]

Written to benchmarks/results/forecast.md. Columns: what a cell took, from its start to `done`; its forecast before any
run of this machine, by the constants of scaling/forecasts/server_core.py; after runs of FEW and of all other shapes
(never its own). --keep: those constants become what was measured here, so "before any run" then says nothing until they
meet another machine or other code.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import torch

from benchmarks.__main__ import cpu
from benchmarks.table import Row
from scaling.code_version import commit
from scaling.config import build
from scaling.fields import ExperimentConfig
from scaling.forecasts import server_core
from scaling.forecasts.cost_model import CostModel, Seconds, Timing, fit
from scaling.forecasts.run_work import run_work
from scaling.forecasts.timed_runs import read_run
from scaling.store import RunStore
from scaling.training.run import train

RESULTS = Path(__file__).parent / "results" / "forecast.md"
FEW = 4
GOAL = 0.2
# (name, images, tree): widths, batches, image sizes, families, instruments; each some seconds on a server core
SHAPES: list[tuple[str, int, dict]] = [
    ("unet 8", 25_600, {"model": {"width": 8}}),
    ("unet 32", 6_400, {"model": {"width": 32}}),
    ("unet 4, batch 16", 6_400, {"model": {"width": 4}, "train": {"batch_size": 16}}),
    ("mlp 128", 102_400, {"model": {"family": "mlp", "width": 128}}),
    ("unet 16, batch 256", 25_600, {"model": {"width": 16}, "train": {"batch_size": 256}}),
    ("unet 8, 16x16", 9_600, {"model": {"width": 8}, "data": {"image_size": 16}}),
    ("dit 32, 2 blocks", 12_800, {"model": {"family": "dit", "width": 32, "blocks": 2}}),
    ("dit 16, 4 blocks", 12_800, {"model": {"family": "dit", "width": 16, "blocks": 4}}),
    ("unet 8, batch 16", 6_400, {"model": {"width": 8}, "train": {"batch_size": 16}}),
    ("unet 2", 32_000, {"model": {"width": 2}}),
    ("unet 16, 512 images, 1,024 samples", 6_400, {
        "model": {"width": 16}, "data": {"n_unique": 512}, "evaluate": {"samples": 1024, "at": 1},
    }),
    ("unet 48, loss alone", 6_400, {"model": {"width": 48}, "evaluate": {"measures": ["loss"], "at": 3}}),
    ("unet 12, (w, 2w, 4w)", 9_600, {"model": {"width": 12, "channel_mult": [1, 2, 4]}}),
    ("unet 16, attention", 9_600, {"model": {"width": 16, "attention": True}}),
    ("unet 6, prompts", 6_400, {
        "model": {"width": 6}, "evaluate": {"at": 1, "measures": ["loss", "prompts"], "prompts": 32, "rounds": 4},
    }),
    ("unet 24, 2 blocks, batch 32", 4_800, {"model": {"width": 24, "blocks": 2}, "train": {"batch_size": 32}}),
    ("mlp 512, batch 256", 51_200, {"model": {"family": "mlp", "width": 512}, "train": {"batch_size": 256}}),
    ("unet 4, density", 6_400, {"model": {"width": 4}, "evaluate": {"at": 2, "measures": ["loss", "density"]}}),
]  # fmt: skip


class Measured(NamedTuple):
    name: str
    config: ExperimentConfig
    timing: Timing
    seconds: float  # of the whole cell

    def forecast(self, model: CostModel) -> Seconds:
        return model.seconds(run_work(self.config).total())

    def error(self, found: Seconds) -> float:
        return found.value / self.seconds - 1


def configured(images: int, tree: dict, out: str) -> ExperimentConfig:
    evaluate = {"at": 2, "samples": 128} | tree.get("evaluate", {})
    data = {"n_unique": 128} | tree.get("data", {})
    made = {"train": {"images": images, **tree.get("train", {})}, "evaluate": evaluate, "data": data}
    return build({**tree, **made, "runtime": {"out": out, "device": "cpu", "progress": False}})


def run(name: str, config: ExperimentConfig) -> Measured:
    started = time.monotonic()
    with RunStore.open(config) as store:
        train(config, store)
        folder = store.folder
    seconds = time.monotonic() - started
    found = read_run(folder, config.runtime, set())
    if found is None:
        raise SystemExit(f"{name}: its run folder tells no seconds")
    print(f"{name}: {seconds:.1f} s", flush=True)
    return Measured(name, config, found.timing, seconds)


def table(runs: Sequence[Measured]) -> tuple[list[str], dict[str, list[float]], int]:
    """Lines, the errors by column, and how many shapes lay within the last column's range."""
    known, lines, inside = fit([]), [], 0
    errors: dict[str, list[float]] = {"before any run": [], f"after {FEW} others": [], "after all others": []}
    for at, one in enumerate(runs):
        others = [other.timing for other in [*runs[:at], *runs[at + 1 :]]]
        forecasts = [one.forecast(model) for model in (known, fit(others[:FEW]), fit(others))]
        last, cells = forecasts[-1], []
        for column, found in zip(errors.values(), forecasts, strict=True):
            column.append(one.error(found))
            cells += [f"{found.value:.1f}", f"{column[-1]:+.0%}"]
        inside += last.lo <= one.seconds <= last.hi
        lines.append(f"| {one.name} | {one.seconds:.1f} | {' | '.join(cells)} | {last.lo:.1f} to {last.hi:.1f} |")
    return lines, errors, inside


def report(runs: Sequence[Measured]) -> tuple[str, dict[str, list[float]]]:
    lines, errors, inside = table(runs)
    head = ["shape", "measured (s)"]
    for name in errors:
        head += [f"{name} (s)", "error"]
    head.append("80 % range (s)")
    summary = "; ".join(f"{name} {words(column)}" for name, column in errors.items())
    machine = f"{cpu()}, one thread, torch {torch.__version__}, Python {platform.python_version()}, code {commit()}"
    text = [
        "# Forecasts of new shapes", "", "Written by `python -m benchmarks.forecast`; seed 0; each shape is forecast "
        "without any run of it.", "", f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *lines, "",
        f"|error|, median and largest: {summary}. In their 80 % range: {inside} of {len(runs)}.", "", machine, "",
    ]  # fmt: skip
    return "\n".join(text), errors


def words(errors: Sequence[float]) -> str:
    sizes = [abs(error) for error in errors]
    return f"{median(sizes):.0%} and {max(sizes):.0%}"


def keep(runs: Sequence[Measured]) -> None:
    """The constants of server_core.py from these runs."""
    costs = fit([one.timing for one in runs]).costs
    start = fmean(one.seconds - float(one.timing.seconds.sum()) for one in runs)
    path = Path(server_core.__file__)
    lines = path.read_text().splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("SECONDS"))
    made = [f'    "{term}": {cost:.2e},' for term, cost in zip(server_core.SECONDS, costs, strict=True)]
    rest = [f"START_SECONDS = {start:.2f}" + lines[-1][lines[-1].index("  #") :]]
    path.write_text("\n".join([*lines[: first + 1], *made, "}", *rest, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="only so many of them; nothing is written")
    parser.add_argument("--keep", action="store_true", help="replace the constants of scaling/forecasts/server_core.py")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as out:
        run("warm-up", configured(640, {"seed": 1, "model": {"width": 2}}, out))
        runs = [run(name, configured(images, tree, out)) for name, images, tree in SHAPES[: asked.shapes]]
    text, errors = report(runs)
    if asked.shapes >= len(SHAPES):
        RESULTS.write_text(text)
    if asked.keep:
        keep(runs)
    print(text.replace(" | ", "  "))  # no row of the common table
    for name, column in errors.items():
        goal = f"≤ {GOAL:.0%}" if name == "after all others" else ""
        print(Row(f"error of a forecast of a new shape {name}, median and largest", words(column), goal).line())


if __name__ == "__main__":
    main()
