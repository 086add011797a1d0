"""What lies in a study's folder, as it lies there: records of runs, collected tables, or tables in parts. Unchecked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import TableError, read_table
from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = (".parquet", ".csv", ".tsv")
PARTS = "parts"  # a study's folder has its TABLES folders in it where it was collected block by block


@dataclass(frozen=True)
class Found:
    """Frames with the columns that were there, by table; an empty frame where there was none."""

    frames: Mapping[str, "DataFrame"]
    gallery: Mapping[str, Mapping[str, np.ndarray]]  # run_id -> its arrays
    pixels: Mapping[str, np.ndarray]  # image_id -> uint8 [C H W]
    notes: Sequence[str]


def read_study(path: Path) -> dict[Path, Found]:
    """By folder: `path` alone where it holds records or tables, else each of its parts/* that holds a table, sorted.

    Raises TableError or SchemaError on what cannot be read, and where there is nothing.
    """
    if not path.is_dir():
        raise TableError(f"{path}: no such folder; give a folder of runs, or one that scaling.collect wrote")
    folders = (
        [path] if (path / schema.RECORDS).exists() else sorted(file.parent for file in path.glob(f"*/{schema.RECORDS}"))
    )
    if folders:
        return {path: _from_runs(folders)}
    if _files(path, "evals"):
        return {path: _from_tables(path)}
    beside = sorted(path.glob(f"{PARTS}/*"))
    parts = [folder for folder in beside if any(_files(folder, name) for name in schema.TABLES)]
    if not parts:
        raise TableError(
            f"{path}: holds neither */{schema.RECORDS} nor evals.parquet nor {PARTS}/*/evals.parquet: train runs, or "
            f"name another folder"
        )
    if without := [folder for folder in parts if not _files(folder, "evals")]:
        raise TableError(f"{without[0]}: tables without evals.parquet; collect this part again, or remove it")
    return {folder: _from_tables(folder) for folder in parts}


def _from_runs(folders: Sequence[Path]) -> Found:
    import pandas

    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in schema.TABLES if name != "images"}
    images, notes = [], []
    gallery: dict[str, Any] = {}
    pixels: dict[str, Any] = {}
    for folder in folders:
        found = schema.rows(folder)
        if not found["evals"]:
            notes.append(f"run {folder.name} has no evaluation yet and is not in this report")
            continue
        if not all(isinstance(row.get("run_id"), str) for row in found["evals"]):
            raise TableError(
                f"{folder / schema.RECORDS}: a record without run_id; remove its line, or the run folder to train it "
                f"again"
            )
        for name in rows:
            rows[name] += found[name]
        if (folder / "images.parquet").is_symlink():
            raise TableError(f"{folder / 'images.parquet'}: a symbolic link; put the file itself in its place")
        if (folder / "images.parquet").exists():
            images.append(read_table(folder / "images.parquet"))
        kept = (*schema.GALLERY, *schema.PROMPT_GALLERY, *schema.SPURIOUS_GALLERY)
        arrays = _arrays(folder / "samples.npz", (*kept, *schema.IMAGE_GALLERY))
        if arrays:
            gallery[str(found["evals"][0]["run_id"])] = {name: arrays[name] for name in kept if name in arrays}
            pixels |= _pixels(arrays, folder / "samples.npz")
    frames = {name: pandas.DataFrame(some) for name, some in rows.items()}
    frames["images"] = pandas.concat(images, ignore_index=True) if images else pandas.DataFrame()
    return Found(frames, gallery, pixels, notes)


def _from_tables(path: Path) -> Found:
    import pandas

    frames, gallery = {}, dict[str, dict[str, np.ndarray]]()
    for name in schema.TABLES:
        files = _files(path, name)
        frames[name] = read_table(files[0]) if files else pandas.DataFrame()
    arrays = _arrays(path / "gallery.npz")
    for key, array in arrays.items():
        run, _, name = key.partition(".")
        if name:
            gallery.setdefault(run, {})[name] = array
    return Found(frames, gallery, _pixels(arrays, path / "gallery.npz"), [])


def _files(folder: Path, table: str) -> list[Path]:
    """The table's files in the folder, the one to be read first."""
    return [file for suffix in FORMATS if (file := folder / f"{table}{suffix}").exists()]


def _arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    try:
        return schema.arrays(path, names)
    except schema.SchemaError as error:
        raise TableError(str(error)) from None


def _pixels(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    ids, pixels = (arrays.get(name, ()) for name in schema.IMAGE_GALLERY)
    if len(ids) != len(pixels):
        raise TableError(f"{path}: {len(ids)} image_ids for {len(pixels)} image_pixels; collect the runs again")
    return dict(zip(map(str, ids), pixels, strict=True))
