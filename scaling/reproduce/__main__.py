"""python -m scaling.reproduce TABLES [--run RUN_ID] [--out DIR]: one run of a committed study again, and compared.

An ordinary run, as scaling.train makes it: interrupted it goes on, repeated it is only compared. The seed is the
committed one, so on the same kind of machine the bits are equal (but for `packed`); elsewhere the tolerance is what
replicates differ by (scaling/reproduce/comparison.py).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scaling.code_version import code_version
from scaling.columns import SchemaError
from scaling.command import command_line
from scaling.config import ConfigError
from scaling.data.pixels import SourceError
from scaling.fields import ExperimentConfig
from scaling.identity import run_id
from scaling.limits import Refused
from scaling.records import rows
from scaling.reproduce.choice import Choice, choose, named
from scaling.reproduce.committed import Run, committed_runs, configuration
from scaling.store_errors import StoreError
from scaling.train import train_one

PURPOSE = "Train one run of a study again, and compare it with the table within what its replicates differ by."
MORE = "Without --run: the cheapest run of a cell with 3 replicates where some is memorized and not all."
AGREES, MISSED, WRONG = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """0: every value agrees; 1: some do not, or the run failed; 2: wrong input; 3: another process trains the run."""
    parser = command_line("scaling.reproduce", "TABLES [options]", PURPOSE, "results/memorization", MORE)
    parser.add_argument(
        "tables", metavar="TABLES", type=Path, help="folder with evals.parquet or parts/*/evals.parquet"
    )
    parser.add_argument("--run", metavar="RUN_ID", help="this run of the table")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("out/reproduce"), help="for the run (default: out/reproduce)"
    )
    try:
        return reproduce(parser.parse_args(argv))
    except (ConfigError, Refused, SchemaError, SourceError, StoreError) as error:
        print(f"scaling.reproduce: {error}", file=sys.stderr)
        return WRONG


def reproduce(options: argparse.Namespace) -> int:
    """Raises what `main` turns into one line."""
    runs = committed_runs(options.tables)
    choice = named(runs, options.run) if options.run else choose(runs)
    committed = runs[choice.run]
    config = configuration(committed, options.out)
    _check_images(config, committed)
    print(f"reproduce: run {choice.run} of {options.tables}", flush=True)
    print(f"reproduce: why this one: {choice.why}", flush=True)
    if code := train_one(config):
        return code
    return _compared(runs, choice, rows(options.out / run_id(config))["evals"])


def _check_images(config: ExperimentConfig, committed: Run) -> None:
    """Raises StoreError where the source holds other images than it did: before an hour of training, not after it."""
    from scaling.data.sources import load_images

    found = load_images(config.data.source, config.data.image_size, config.data.channels).data_sha256
    if found != committed[-1]["data_sha256"]:
        raise StoreError(
            f"data.source={config.data.source}: other images than those of run {run_id(config)} "
            f"({found[:12]} here, {committed[-1]['data_sha256'][:12]} in the table); restore them"
        )


def _compared(runs: dict[str, Run], choice: Choice, again: Run) -> int:
    from scaling.reproduce.comparison import compare
    from scaling.reproduce.show import show

    committed, at = runs[choice.run], runs[choice.run][-1]["images_seen"]
    if at not in {row["images_seen"] for row in again}:
        raise StoreError(f"run {choice.run}: no evaluation at images_seen={at}, where the table ends")
    if others := {row["code_version"] for row in again} - {code_version()}:
        raise StoreError(
            f"run {choice.run} is there already, made by code {min(others)}, and this is code {code_version()}: "
            f"remove it, or give another --out"
        )
    cells = [[runs[run] for run in cell] for cell in choice.cells]
    found = compare(committed, [runs[run] for run in choice.others], again, cells)
    print(f"reproduce: {_origin('committed', committed)}; {_origin('again', again)}")
    show(found)
    return AGREES if found.agrees else MISSED


def _origin(name: str, run: Run) -> str:
    last = run[-1]
    return f"{name} by code {last['code_version']}, {last['packed']} run(s) in a process"


if __name__ == "__main__":
    sys.exit(main())
