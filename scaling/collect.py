"""python -m scaling.collect RUNS --out DIR: the tables of a study and its gallery, from the folders of its runs.

Every run is included as far as its records go, at any time: what is being written, interrupted or failed is said in a
line. Rows are read, checked and written part by part, so memory does not grow with the study.
"""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from scaling.columns import SchemaError
from scaling.command import command_line
from scaling.identity import RUN_ID
from scaling.machine import cores
from scaling.records import RECORDS
from scaling.store_errors import StoreError
from scaling.strangers import mixed_versions, no_runs
from scaling.sweep.plan import state_of
from scaling.table_files import TableFiles

if TYPE_CHECKING:
    import pyarrow

PART = 250  # run folders read at once
ALONE = 4 * PART  # so many are read sooner than further processes have started
SAY_SECONDS = 5.0
VERSIONS = ("schema_version", "science_version")
UNFINISHED = {
    "running": "being written",
    "stale": "whose writer died",
    "failed": "failed",
    "interrupted": "interrupted",
}
PURPOSE = "Write evals, strata, noise_levels, prompts and images (parquet) and gallery.npz of all runs in a folder."


@dataclass(frozen=True)
class Part:
    """What was read of some run folders."""

    tables: "dict[str, pyarrow.Table]"
    states: Counter[str]  # of those with a record


@dataclass(frozen=True)
class Collected:
    """What was written."""

    runs: int
    rows: dict[str, int]  # by table
    notes: list[str]  # for the user


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where there is nothing to collect, or what is there does not belong together."""
    parser = command_line("scaling.collect", "RUNS --out DIR [options]", PURPOSE, "runs --out tables --csv")
    parser.add_argument("runs", metavar="RUNS", nargs="*", type=Path, help="folder of run folders")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT/SWEEP", help="instead of RUNS: what W&B has of a sweep")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="for the tables and gallery.npz")
    parser.add_argument("--csv", action="store_true", help="csv files beside the parquet files")
    options = parser.parse_args(argv)
    if bool(options.runs) == bool(options.wandb):
        parser.error("give the folder of the runs, or --wandb ENTITY/PROJECT/SWEEP")
    try:
        if options.wandb:
            made = collect_sweep(options.wandb, options.out, csv=options.csv)
        else:
            made = collect(options.runs, options.out, csv=options.csv, say=_say_now_and_then())
    except (SchemaError, StoreError) as error:
        print(f"scaling.collect: {error}", file=sys.stderr)
        return 2
    for note in made.notes:
        print(f"collect: {note}")
    counts = ", ".join(f"{rows:,} {table}" for table, rows in made.rows.items())
    print(f"collect: {made.runs} runs: {counts} rows -> {options.out}")
    return 0


def _say_now_and_then() -> Callable[[int, int], None]:
    """Tells how far it is and when it will be done, every SAY_SECONDS."""
    from scaling.training.progress import clock

    began = last = time.monotonic()

    def say(done: int, runs: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= SAY_SECONDS:
            last = now
            left = clock((now - began) / done * (runs - done))
            print(f"collect: {done:,} of {runs:,} runs, {left} left", flush=True)

    return say


def collect(
    roots: Sequence[Path], out: Path, *, csv: bool = False, say: Callable[[int, int], None] = lambda done, runs: None
) -> Collected:
    """Every run below these folders, sorted by run and clock, to the files of `out`; say(done, runs) on the way.

    Raises SchemaError on a broken record and on runs of different versions, StoreError where there is no record or
    `out` cannot be written; `out` is then as it was.
    """
    from scaling.gallery import gallery  # numpy: a wrong path is told without it

    folders, left_out = run_folders(roots)
    versions: dict[str, dict[str, object]] = {}
    states: Counter[str] = Counter()
    first: dict[str, tuple[object, str]] = {}
    try:
        with TableFiles(out, csv=csv) as files:
            for at, part in enumerate(_parts(folders)):
                say(at * PART, len(folders))
                _one_version(part.tables["evals"], first)
                versions |= _versions(part.tables["evals"])
                files.add(part.tables)
                states += part.states
            content, notes = gallery(folders)
            files.add_file("gallery.npz", content)
    except OSError as error:
        raise StoreError(f"--out {out}: cannot be written ({error.strerror}); give another folder") from None
    notes += [
        f"{states[name]} run(s) {how}: included as far as they are" for name, how in UNFINISHED.items() if states[name]
    ]
    notes += [*left_out, *mixed_versions(versions.values())]
    return Collected(states.total(), files.rows, notes)


def collect_sweep(sweep: str, out: Path, *, csv: bool = False) -> Collected:
    """What W&B has of a sweep to the files of `out`, all but images and gallery; raises as `collect`."""
    from scaling.gallery import gallery
    from scaling.run_tables import run_tables
    from scaling.wandb_history import logged_runs
    from scaling.wandb_records import rebuild

    with TemporaryDirectory() as beside:
        folders, notes = rebuild(sweep, logged_runs(sweep), Path(beside))
        tables = run_tables(folders)
    _one_version(tables["evals"], {})
    try:
        with TableFiles(out, csv=csv) as files:
            files.add(tables)
            files.add_file("gallery.npz", gallery([])[0])
    except OSError as error:
        raise StoreError(f"--out {out}: cannot be written ({error.strerror}); give another folder") from None
    return Collected(len(folders), files.rows, notes)


def run_folders(roots: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The folders with records, sorted by run, and lines on what is left out; StoreError on none, or one run twice."""
    found: dict[str, Path] = {}
    without, notes = 0, []
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"{root}: no such folder; name the folder of the runs (runtime.out)")
        if (root / RECORDS).exists():
            inside = [root]
        else:
            # os.path: a Path for each of 100,000 folders that may be none takes seconds
            names = os.listdir(root)
            runs = [name for name in names if RUN_ID.fullmatch(name)]  # what else has records is a copy
            inside = [root / name for name in runs if os.path.exists(f"{root}/{name}/{RECORDS}")]
            begun = [name for name in runs if os.path.exists(f"{root}/{name}/config.yaml")]
            without += len(set(begun) - {folder.name for folder in inside})
            notes += no_runs(root, names, {*begun, *(folder.name for folder in inside)})
        for folder in inside:
            known = found.setdefault(folder.name, folder)
            if known is not folder and known.resolve() != folder.resolve():
                raise StoreError(f"run {folder.name} is in {known.parent} and in {folder.parent}; name one")
    if not found:
        raise StoreError(
            f"{', '.join(map(str, roots))}: no run with a record; train one, or name the folder of the runs"
        )
    if without:
        notes.append(f"{without} run(s) without a record yet are left out")
    return [found[name] for name in sorted(found)], notes


def read_part(folders: Sequence[Path]) -> Part:
    """Raises SchemaError on a broken record, StoreError on missing samples."""
    from scaling.gallery import missing_samples
    from scaling.run_tables import run_tables

    tables = run_tables(folders)
    recorded = set(tables["evals"]["run_id"].to_pylist())
    for folder in folders:
        if not (folder / "samples.npz").exists() and (why := missing_samples(folder)):
            raise StoreError(why)
    return Part(tables, Counter(state_of(folder)[0] for folder in folders if folder.name in recorded))


def _parts(folders: Sequence[Path]) -> Iterator[Part]:
    """In the order of the folders; read on all cores where that is worth it.

    By processes, not threads: half of the work on small files is Python's.
    """
    tasks = [folders[at : at + PART] for at in range(0, len(folders), PART)]
    if len(folders) <= ALONE or cores() == 1:
        yield from map(read_part, tasks)
        return
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        waiting: deque[Future[Part]] = deque()
        for task in tasks:
            waiting.append(pool.submit(read_part, task))
            if len(waiting) > cores():  # further ones wait until these are written: memory stays small
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _versions(evals: "pyarrow.Table") -> dict[str, dict[str, object]]:
    """By run."""
    names = ("science_version", "code_version", "commit")
    columns = [evals[name].to_pylist() for name in ("run_id", *names)]
    return {run: dict(zip(names, versions, strict=True)) for run, *versions in zip(*columns, strict=True)}


def _one_version(evals: "pyarrow.Table", first: dict[str, tuple[object, str]]) -> None:
    """Raises SchemaError where a row's versions differ from the study's first ones, kept in `first`."""
    runs = evals["run_id"].to_pylist()
    for name in VERSIONS:
        for version, run in zip(evals[name].to_pylist(), runs, strict=True):
            known, where = first.setdefault(name, (version, run))
            if version != known:
                raise SchemaError(
                    f"{name} is {known} in run {where} and {version} in run {run}: "
                    f"their numbers mean different things; collect them apart, or train the older ones again"
                )


if __name__ == "__main__":
    raise SystemExit(main())
