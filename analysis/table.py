"""Tables from disk: a folder of runs, a folder of collected tables, or any csv/parquet; checked before use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import TableError, numbers, read_table
from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame

REQUIRED = ("run_id", "images_seen", "params")  # of evals; every other column may be missing, which is said
FORMATS = (".parquet", ".csv", ".tsv")
DEEPEST = 8  # a configuration has sections in sections, and lists of pairs


@dataclass(frozen=True)
class Tables:
    """The tables of scaling.schema; columns nobody measured are NaN (numbers) or None (text)."""

    evals: "DataFrame"
    strata: "DataFrame"
    noise_levels: "DataFrame"
    prompts: "DataFrame"
    images: "DataFrame"
    gallery: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict, repr=False)  # run_id -> its arrays
    pixels: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)  # image_id -> uint8 [C H W]
    notes: tuple[str, ...] = ()


def load(path: Path | str) -> Tables:
    """A RUNS folder (runs/<run_id>/evals.jsonl), one run's folder, or a TABLES folder (evals.parquet or .csv, …).

    Raises TableError or SchemaError on what cannot be read, on impossible counts, on mixed versions and on no rows.
    """
    path = Path(path)
    if not path.is_dir():
        raise TableError(f"{path}: no such folder; give a folder of runs, or one that scaling.collect wrote")
    folders = (
        [path] if (path / schema.RECORDS).exists() else sorted(file.parent for file in path.glob(f"*/{schema.RECORDS}"))
    )
    if folders:
        raw, gallery, pixels, notes = _from_runs(folders)
    elif any((path / f"evals{suffix}").exists() for suffix in FORMATS):
        raw, gallery, pixels, notes = _from_tables(path)
    else:
        raise TableError(
            f"{path}: holds neither */{schema.RECORDS} nor evals.parquet: train runs, or name another folder"
        )
    if raw["evals"].empty:
        raise TableError(f"{path}: no evaluation was recorded yet; let a run reach its first evaluation, then repeat")
    checked = {}
    for name, frame in raw.items():
        checked[name], said = validated(frame, name, where=f"{path} {name}")
        notes += said
    return Tables(**checked, gallery=gallery, pixels=pixels, notes=tuple(notes))


def validated(frame: "DataFrame", table: str, where: str) -> tuple["DataFrame", list[str]]:
    """`frame` with every column of the schema in its type, and what is said about it; raises TableError."""
    import pandas

    columns, notes, kept = schema.TABLES[table], [], {}
    names = [c.name for c in columns]
    strange = [str(name) for name in frame.columns if name not in names]
    needed = REQUIRED if table == "evals" else schema.KEYS[table] if len(frame) else ()
    for c in columns:
        if c.name in frame.columns:
            # As objects: pandas' own type of text would turn None, what is missing, into NaN, which is true.
            kept[c.name] = numbers(frame, c.name, where) if c.type in (int, float) else pandas.Series(
                _texts(frame[c.name], c.type), dtype=object
            )  # fmt: skip
            continue
        near = get_close_matches(c.name, strange, n=1, cutoff=0.8)
        hint = f": did you mean {near[0]}?" if near else ""
        if c.name in needed:
            raise TableError(f"{where}: no column {c.name}{hint or ': without it the rows cannot be told apart'}")
        kept[c.name] = np.full(len(frame), np.nan) if c.type in (int, float) else np.full(len(frame), None, object)
        if len(frame):
            notes.append(f"{where.rsplit(' ', 1)[-1]} has no column {c.name}{hint}")
    checked = pandas.DataFrame(kept, columns=names)
    _check_counts(checked, columns, where)
    _check_versions(checked, where)
    if "config" in names:
        _check_configs(checked, where)
    if checked.duplicated(list(schema.KEYS[table])).any():
        row = int(np.flatnonzero(checked.duplicated(list(schema.KEYS[table])))[0])
        key = ", ".join(f"{k}={checked[k][row]}" for k in schema.KEYS[table])
        raise TableError(f"{where}: row {row} repeats {key}; keep one row of each, a copy would count twice")
    return checked, notes


def _texts(found: "DataFrame", type_: type) -> np.ndarray:
    """Text or truth values as objects, missing = None."""
    if type_ is bool:
        words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
        return np.array(
            [words.get(str(v).lower()) for v in found],
            object,  # missing is none of the words
        )
    return np.array([str(v) if known else None for v, known in zip(found, found.notna(), strict=True)], object)


def _check_counts(frame: "DataFrame", columns: Sequence[schema.Column], where: str) -> None:
    for c in columns:
        if c.trials is None or c.trials not in frame.columns:
            continue
        hits, trials = frame[c.name].to_numpy(float), frame[c.trials].to_numpy(float)
        bad = np.flatnonzero((hits > trials) | (hits < 0))
        if bad.size:
            row = bad[0]
            raise TableError(
                f"{where}: row {row} has {c.name}={hits[row]:g} out of {c.trials}={trials[row]:g}; "
                f"a count lies between 0 and its trials: the row was damaged, measure it again or remove it"
            )


def _check_configs(frame: "DataFrame", where: str) -> None:
    """Raises TableError where a configuration is no JSON object of sections."""
    for text in frame["config"].dropna().unique():
        try:
            found = schema.parse_json(text)
            sections = [found, *(found[name] for name in ("data", "model", "train", "evaluate") if name in found)]
            if not all(isinstance(section, dict) for section in sections) or not _shallow(found):
                raise ValueError("not an object of sections")
        except (ValueError, TypeError) as error:
            row = int(np.flatnonzero(frame["config"] == text)[0])
            raise TableError(
                f"{where}: row {row} has a config that is none ({error}); correct it, or leave the cell empty"
            ) from None


def _shallow(tree: object, most: int = DEEPEST) -> bool:
    """Whether lists and objects are nested at most so deeply."""
    if not isinstance(tree, (dict, list)):
        return True
    return most > 0 and all(_shallow(one, most - 1) for one in (tree.values() if isinstance(tree, dict) else tree))


def _check_versions(frame: "DataFrame", where: str) -> None:
    for name in ("schema_version", "science_version"):
        versions = sorted(frame[name].dropna().unique()) if name in frame.columns else []
        if len(versions) > 1:
            listed = ", ".join(f"{v:g}" for v in versions)
            raise TableError(
                f"{where}: mixed {name} {listed}: numbers of different meaning; keep the rows of one version"
            )
        if name == "schema_version" and versions and versions[0] > schema.SCHEMA_VERSION:
            raise TableError(
                f"{where}: schema_version {versions[0]:g} is newer than {schema.SCHEMA_VERSION}, which this code "
                f"reads: "
                f"update the code"
            )


def _from_runs(folders: Sequence[Path]) -> tuple[dict[str, "DataFrame"], dict[str, Any], dict[str, Any], list[str]]:
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
    return frames, gallery, pixels, notes


def _from_tables(path: Path) -> tuple[dict[str, "DataFrame"], dict[str, Any], dict[str, Any], list[str]]:
    import pandas

    frames, gallery = {}, dict[str, dict[str, np.ndarray]]()
    for name in schema.TABLES:
        files = [path / f"{name}{suffix}" for suffix in FORMATS if (path / f"{name}{suffix}").exists()]
        frames[name] = read_table(files[0]) if files else pandas.DataFrame()
    arrays = _arrays(path / "gallery.npz")
    for key, array in arrays.items():
        run, _, name = key.partition(".")
        if name:
            gallery.setdefault(run, {})[name] = array
    return frames, gallery, _pixels(arrays, path / "gallery.npz"), []


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
