"""python -m scaling.collect RUNS --out DIR: the tables of a study and its gallery, from the folders of its runs.

Every run is included as far as its records go: what is being written, interrupted or failed is said in a line.
"""

import argparse
import io
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.atomic import replace_bytes
from scaling.schema import GALLERY, NESTED, RECORDS, TABLES, SchemaError, records, rows
from scaling.store import StoreError
from scaling.sweep.plan import state_of
from scaling.tables import complete_record, complete_row, typed, write_csv, write_parquet

GALLERY_BYTES = 2_000_000
PURPOSE = "Write evals, strata, noise_levels, prompts and images (parquet) and gallery.npz of all runs in a folder."


@dataclass(frozen=True)
class Study:
    """All rows by table, the gallery, and lines for the user."""

    tables: Mapping[str, list[dict]]
    gallery: bytes
    notes: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where there is nothing to collect, or what is there does not belong together."""
    parser = argparse.ArgumentParser("python -m scaling.collect", description=PURPOSE, allow_abbrev=False)
    parser.add_argument("runs", metavar="RUNS", nargs="+", type=Path, help="folder of run folders")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument("--csv", action="store_true", help="csv files beside the parquet files")
    options = parser.parse_args(argv)
    try:
        study = collect(options.runs)
        write(study, options.out, csv=options.csv)
    except (SchemaError, StoreError) as error:
        print(f"scaling.collect: {error}", file=sys.stderr)
        return 2
    for note in study.notes:
        print(f"collect: {note}")
    runs = len({row["run_id"] for row in study.tables["evals"]})
    counts = ", ".join(f"{len(made):,} {table}" for table, made in study.tables.items())
    print(f"collect: {runs} runs: {counts} rows -> {options.out}")
    return 0


def collect(roots: Sequence[Path]) -> Study:
    """The validated rows of every run below these folders, sorted by run and clock.

    Raises SchemaError on a broken record and on runs of different versions, StoreError where there is no record.
    """
    folders = _run_folders(roots)
    _one_version(folders)
    tables: dict[str, list[dict]] = {table: [] for table in TABLES}
    states: Counter[str] = Counter()
    for folder in folders:
        found = _valid_rows(folder)
        for table, made in found.items():
            tables[table] += made
        states[state_of(folder)[0]] += bool(found["evals"])
    gallery, notes = _gallery(folders)
    names = {"running": "being written", "stale": "whose writer died", "failed": "failed", "interrupted": "interrupted"}
    notes += [
        f"{n} run(s) {names[state]}: included as far as they are" for state, n in states.items() if n and state in names
    ]
    return Study(tables, gallery, notes)


def _run_folders(roots: Sequence[Path]) -> list[Path]:
    found: dict[str, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"{root}: no such folder; name the folder of the runs (runtime.out)")
        inside = [root] if (root / RECORDS).exists() else [path for path in root.iterdir() if (path / RECORDS).exists()]
        for folder in inside:
            if found.setdefault(folder.name, folder).resolve() != folder.resolve():
                raise StoreError(
                    f"run {folder.name} is in {found[folder.name].parent} and in {folder.parent}; name one"
                )
    if not found:
        raise StoreError(
            f"{', '.join(map(str, roots))}: no run with a record; train one, or name the folder of the runs"
        )
    return [found[name] for name in sorted(found)]


def _one_version(folders: Sequence[Path]) -> None:
    first: dict[str, tuple[object, Path]] = {}
    for folder in folders:
        for record in records(folder / RECORDS):
            for name in ("schema_version", "science_version"):
                version = record["evals"].get(name)
                known, where = first.setdefault(name, (version, folder))
                if version != known:
                    raise SchemaError(
                        f"{name} is {known} in run {where.name} and {version} in run {folder.name}: "
                        f"their numbers mean different things; collect them apart, or train the older ones again"
                    )


def _valid_rows(folder: Path) -> dict[str, list[dict]]:
    """A run's rows of all tables, each with its identity and in its types."""
    for record in records(folder / RECORDS):
        try:
            complete_record(record)
        except SchemaError as error:
            raise SchemaError(f"run {folder.name}, images_seen={record['evals'].get('images_seen')}: {error}") from None
    found = rows(folder)
    made = {table: found[table] for table in ("evals", *NESTED)}
    return {**made, "images": _images(folder)}


def _images(folder: Path) -> list[dict]:
    """The rows of images.parquet; none where the run did not come so far."""
    import pyarrow.parquet as parquet
    from pyarrow import ArrowInvalid

    path = folder / "images.parquet"
    if not path.exists():
        return []
    try:
        return [complete_row("images", row) for row in parquet.read_table(path).to_pylist()]
    except (ArrowInvalid, OSError, SchemaError) as error:
        raise SchemaError(f"{path}: {error}; remove the run folder to train it again") from None


def _gallery(folders: Sequence[Path]) -> tuple[bytes, list[str]]:
    """gallery.npz of at most GALLERY_BYTES: fewer samples of each run first, then fewer runs, both evenly."""
    shown = {folder.name: arrays for folder in folders if (arrays := _samples(folder))}
    if not shown:
        return _packed({}), []
    samples, runs = max(len(arrays[GALLERY[0]]) for arrays in shown.values()), len(shown)
    keep_samples, keep_runs = samples, runs
    while len(content := _packed(_thinned(shown, keep_runs, keep_samples))) > GALLERY_BYTES and keep_runs > 1:
        if keep_samples > 2:
            keep_samples = max(keep_samples * 2 // 3, 2)
        else:
            keep_runs = keep_runs * 2 // 3
    if (keep_samples, keep_runs) == (samples, runs):
        return content, []
    return content, [
        f"gallery.npz has {keep_samples} of {samples} samples of {keep_runs} of {runs} runs, to stay small"
    ]


def _samples(folder: Path) -> dict[str, np.ndarray]:
    path = folder / "samples.npz"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in GALLERY} if set(GALLERY) <= set(file.files) else {}


def _thinned(shown: Mapping[str, Mapping[str, np.ndarray]], runs: int, samples: int) -> dict[str, np.ndarray]:
    names = sorted(shown)
    kept = [names[at] for at in _evenly(len(names), runs)]
    return {
        f"{run}.{name}": array[_evenly(len(array), samples)] for run in kept for name, array in shown[run].items()
    }  # fmt: skip


def _evenly(count: int, keep: int) -> np.ndarray:
    """`keep` (or all) of `count` positions, evenly spaced, the first and the last among them."""
    return np.linspace(0, count - 1, min(keep, count)).round().astype(int)


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def write(study: Study, out: Path, *, csv: bool) -> None:
    """Raises StoreError where `out` cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for table, made in study.tables.items():
            content = typed(table, made)
            write_parquet(out / f"{table}.parquet", content)
            if csv:
                write_csv(out / f"{table}.csv", content)
        replace_bytes(out / "gallery.npz", study.gallery)
    except OSError as error:
        raise StoreError(f"--out {out}: cannot be written ({error.strerror}); give another folder") from None


if __name__ == "__main__":
    raise SystemExit(main())
