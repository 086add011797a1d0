"""Tables from disk: a folder of runs, a folder of collected tables, or any csv/parquet; checked before use."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame

REQUIRED = ("run_id", "images_seen", "params")  # of evals; every other column may be missing, which is said
FORMATS = (".parquet", ".csv", ".tsv")
MAGNITUDE = 1e-100, 1e100  # of values that are squared and summed
DECIMAL = re.compile(r"\s*\"?[+-]?\d*([.,])\d+([eE][+-]?\d+)?\"?\s*")


class TableError(ValueError):
    """A table that cannot be used; the message names file, column, row and remedy."""


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


def read_table(path: Path | str) -> "DataFrame":
    """Any csv (comma, semicolon or tab; a byte-order mark is skipped) or parquet file; raises TableError."""
    import pandas

    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such file; give a .csv or .parquet table")
    try:
        if path.suffix == ".parquet":
            return _well_named(pandas.read_parquet(path), path)
        separator, decimal = _dialect(path)
        header = pandas.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
        names = [str(name).strip() for name in header.iloc[0].dropna()]
        _refuse_twins(names, path)
        with warnings.catch_warnings():
            # Else the first fields become an index and every name moves to its neighbour's values.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                path, sep=separator, decimal=decimal, encoding="utf-8-sig", low_memory=False, index_col=False
            )
        return _well_named(frame, path)
    except pandas.errors.ParserWarning:
        raise TableError(f"{path}: its rows have more fields than its header has names; name every column") from None
    except TableError:
        raise
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parse errors are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TableError(
            f"{path}: not a readable table ({reason}); save it as csv with one header line, or parquet"
        ) from None


def _well_named(frame: "DataFrame", path: Path) -> "DataFrame":
    """The frame with names without blanks around them; raises TableError where two columns have one name."""
    frame.columns = [str(name).strip() for name in frame.columns]
    _refuse_twins(frame.columns, path)
    return frame


def _refuse_twins(names: Sequence[str], path: Path) -> None:
    twins = [name for name, times in Counter(names).items() if times > 1]
    if twins:
        raise TableError(f"{path}: the header names column {twins[0]} more than once: rename or remove one")


def _dialect(path: Path) -> tuple[str, str]:
    """Separator and decimal mark of a csv: the mark is that of its first number that is not whole."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
        separator = max(",;\t", key=header.count)
        if separator == ",":
            return separator, "."
        for line in file:
            for cell in line.split(separator):
                if found := DECIMAL.fullmatch(cell):
                    return separator, found[1]
    return separator, "."


def column(frame: "DataFrame", name: str, where: str = "the table") -> "DataFrame":
    """The column, or a TableError that names the nearest spelling."""
    if name not in frame.columns:
        near = get_close_matches(name, [str(known) for known in frame.columns], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(map(str, frame.columns[:12]))}"
        raise TableError(f"{where}: no column {name}; {hint}")
    return frame[name]


def numbers(frame: "DataFrame", name: str, where: str = "the table", *, infinite: bool = False) -> np.ndarray:
    """The column as floats, missing = NaN; raises TableError on text, dates and (unless allowed) infinite values.

    The message names the row as the file counts it, from 0: a choice of rows keeps the frame's index.
    """
    import pandas

    found = column(frame, name, where)
    if getattr(found.dtype, "kind", "O") in "mMc":  # pandas would turn dates into nanoseconds since 1970
        raise TableError(f"{where}: column {name} holds {found.dtype}, which is no number; convert it first")
    if isinstance(found.dtype, np.dtype) and found.dtype.kind in "iufb":
        values = found.to_numpy(float)
    else:
        # None, "" and pandas' NA are missing; whatever else is no number is an error.
        values = pandas.to_numeric(found, errors="coerce").to_numpy(float, na_value=np.nan)
        blank = found.isna().to_numpy(bool) | (found.astype(str).str.strip() == "").to_numpy(bool)
        wrong = np.flatnonzero(np.isnan(values) & ~blank)
        if wrong.size:
            raise TableError(
                f"{where}: column {name}, row {frame.index[wrong[0]]} holds {found.iloc[wrong[0]]!r}, which is no "
                f"number; correct it, or leave the cell empty if it was not measured"
            )
    if not infinite and np.isinf(values).any():
        row = frame.index[np.flatnonzero(np.isinf(values))[0]]
        raise TableError(f"{where}: column {name}, row {row} is infinite; correct it, or leave it out with --where")
    return values


def check_magnitude(values: np.ndarray, what: str, *, each: bool = False) -> None:
    """Raises TableError where the largest of `values` (`each`: one that is not 0) leaves MAGNITUDE; NaN is skipped."""
    size = np.abs(values[~np.isnan(values)])
    size = size[size > 0]
    if not size.size:
        return
    smallest, largest = MAGNITUDE
    low, high = size.min() if each else size.max(), size.max()
    if high > largest or low < smallest:
        raise TableError(
            f"{what} holds {high if high > largest else low:g}, beyond {smallest:g} to {largest:g}: its square leaves "
            f"the range of numbers; give it in another unit"
        )


def validated(frame: "DataFrame", table: str, where: str) -> tuple["DataFrame", list[str]]:
    """`frame` with every column of the schema in its type, and what is said about it; raises TableError."""
    import pandas

    columns, notes, kept = schema.TABLES[table], [], {}
    names = [c.name for c in columns]
    strange = [str(name) for name in frame.columns if name not in names]
    needed = REQUIRED if table == "evals" else schema.KEYS[table] if len(frame) else ()
    for c in columns:
        if c.name in frame.columns:
            kept[c.name] = numbers(frame, c.name, where) if c.type in (int, float) else _texts(frame[c.name], c.type)
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


def _from_runs(folders: Sequence[Path]) -> tuple[dict[str, "DataFrame"], dict, dict, list[str]]:
    import pandas

    rows: dict[str, list[dict]] = {name: [] for name in schema.TABLES if name != "images"}
    images, gallery, pixels, notes = [], {}, {}, []
    for folder in folders:
        found = schema.rows(folder)
        if not found["evals"]:
            notes.append(f"run {folder.name} has no evaluation yet and is not in this report")
            continue
        for name in rows:
            rows[name] += found[name]
        if (folder / "images.parquet").exists():
            images.append(read_table(folder / "images.parquet"))
        arrays = _arrays(folder / "samples.npz")
        if arrays:
            kept = (*schema.GALLERY, *schema.PROMPT_GALLERY)
            gallery[str(found["evals"][0]["run_id"])] = {name: arrays[name] for name in kept if name in arrays}
            pixels |= _pixels(arrays, folder / "samples.npz")
    frames = {name: pandas.DataFrame(some) for name, some in rows.items()}
    frames["images"] = pandas.concat(images, ignore_index=True) if images else pandas.DataFrame()
    return frames, gallery, pixels, notes


def _from_tables(path: Path) -> tuple[dict[str, "DataFrame"], dict, dict, list[str]]:
    import pandas

    frames, gallery = {}, {}
    for name in schema.TABLES:
        files = [path / f"{name}{suffix}" for suffix in FORMATS if (path / f"{name}{suffix}").exists()]
        frames[name] = read_table(files[0]) if files else pandas.DataFrame()
    arrays = _arrays(path / "gallery.npz")
    for key, array in arrays.items():
        run, _, name = key.partition(".")
        if name:
            gallery.setdefault(run, {})[name] = array
    return frames, gallery, _pixels(arrays, path / "gallery.npz"), []


def _pixels(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    ids, pixels = (arrays.get(name, ()) for name in schema.IMAGE_GALLERY)
    if len(ids) != len(pixels):
        raise TableError(f"{path}: {len(ids)} image_ids for {len(pixels)} image_pixels; collect the runs again")
    return dict(zip(map(str, ids), pixels, strict=True))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, an empty dict where there is none; nothing is unpickled."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise TableError(f"{path}: no readable arrays ({error}); remove the file, or evaluate the run again") from None
