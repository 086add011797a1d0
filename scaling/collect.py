"""python -m scaling.collect RUNS --out DIR: the tables of a study and its gallery, from the folders of its runs.

Every run is included as far as its records go: what is being written, interrupted or failed is said in a line.
"""

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.atomic import replace_bytes
from scaling.schema import (
    GALLERY,
    IMAGE_GALLERY,
    NESTED,
    PROMPT_GALLERY,
    RECORDS,
    TABLES,
    SchemaError,
    records,
    rows,
)
from scaling.store import StoreError
from scaling.sweep.plan import state_of
from scaling.tables import complete_record, complete_row, typed, write_csv, write_parquet

GALLERY_BYTES = 2_000_000
IMAGE_BYTES = GALLERY_BYTES // 4  # of it for the images themselves
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
    arrays = {folder.name: found for folder in folders if (found := _arrays(folder))}
    images, left_out = _images_once(arrays.values())
    names = set(GALLERY) | set(PROMPT_GALLERY)
    shown = {run: {name: found[name] for name in found if name in names} for run, found in arrays.items()}
    shown = {run: found for run, found in shown.items() if GALLERY[0] in found}
    notes = [f"gallery.npz leaves out {left_out} images, to stay small"] if left_out else []
    if not shown:
        return _packed(images), notes
    samples, runs = max(len(found[GALLERY[0]]) for found in shown.values()), len(shown)
    keep_samples, keep_runs = samples, runs
    while len(content := _packed({**images, **_thinned(shown, keep_runs, keep_samples)})) > GALLERY_BYTES:
        if keep_samples > 2:
            keep_samples = max(keep_samples * 2 // 3, 2)
        elif keep_runs > 1:
            keep_runs = keep_runs * 2 // 3
        else:
            break
    if (keep_samples, keep_runs) != (samples, runs):
        notes.append(
            f"gallery.npz has {keep_samples} of {samples} samples of {keep_runs} of {runs} runs, to stay small"
        )
    return content, notes


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of samples.npz; raises StoreError where a record says that samples were drawn and there are none."""
    path = folder / "samples.npz"
    if not path.exists():
        drawn = max((record["evals"].get("n_generated") or 0 for record in records(folder / RECORDS)), default=0)
        if drawn:
            raise StoreError(
                f"run {folder.name}: its records speak of {drawn} samples, but {path.name} is missing; restore it, or "
                f"remove the run folder to train it again"
            )
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in (*GALLERY, *PROMPT_GALLERY, *IMAGE_GALLERY) if name in file.files}


def _images_once(arrays: Iterable[Mapping[str, np.ndarray]]) -> tuple[dict[str, np.ndarray], int]:
    """Every image of the runs once, as many as fit into their share of the gallery, and how many do not.

    Only images of the shape of the first: those of another study are not mixed in.
    """
    ids, pixels = IMAGE_GALLERY
    known: dict[str, np.ndarray] = {}
    for found in arrays:
        known |= dict(zip(found.get(ids, np.empty(0, str)).tolist(), found.get(pixels, ()), strict=True))
    if not known:
        return {}, 0
    shape = next(iter(known.values())).shape
    known = {name: image for name, image in known.items() if image.shape == shape}
    keep = min(len(known), IMAGE_BYTES // int(np.prod(shape)))
    names = list(known)[:keep]
    return {ids: np.array(names), pixels: np.stack([known[name] for name in names])}, len(known) - keep


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
