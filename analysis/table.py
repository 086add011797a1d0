"""The tables of a study, checked before use: every column in its type, counts within their trials, no row twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.columns import TableError, numbers
from analysis.parts import joined
from analysis.table_files import Found, read_study
from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame

REQUIRED = ("run_id", "images_seen", "params")  # of evals; every other column may be missing, which is said
UNSAID = {"commit"}  # younger than some tables; no number depends on it, so that its absence is no caveat
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
    """A RUNS folder (runs/<run_id>/evals.jsonl), one run's folder, a TABLES folder (evals.parquet or .csv, …), or a
    study collected in parts: a folder with parts/<part>, each a TABLES folder, which are read as one.

    Raises TableError or SchemaError on what cannot be read, on impossible counts, on mixed versions, on no rows and on
    a run that two parts tell differently.
    """
    path = Path(path)
    parts: dict[str, dict[str, DataFrame]] = {}
    notes, gallery, pixels = [], dict[str, Mapping[str, np.ndarray]](), dict[str, np.ndarray]()
    for folder, found in read_study(path).items():
        parts[folder.name], said = _checked(folder, found)
        notes += said if folder == path else [f"part {folder.name}: {note}" for note in said]
        gallery, pixels = {**found.gallery, **gallery}, {**found.pixels, **pixels}
    (frames, *others) = parts.values()
    if others:
        frames = joined(parts)
        for name, frame in frames.items():
            _check_together(frame, name, where=f"{path} {name}")
    return Tables(**frames, gallery=gallery, pixels=pixels, notes=tuple(notes))


def _checked(folder: Path, found: Found) -> tuple[dict[str, "DataFrame"], list[str]]:
    """Its frames as `validated` gives them, and all that is said about them; raises TableError where no row is."""
    if found.frames["evals"].empty:
        raise TableError(f"{folder}: no evaluation was recorded yet; let a run reach its first evaluation, then repeat")
    checked, notes = {}, list(found.notes)
    for name, frame in found.frames.items():
        checked[name], said = validated(frame, name, where=f"{folder} {name}")
        notes += said
    return checked, notes


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
        if len(frame) and c.name not in UNSAID:
            notes.append(f"{where.rsplit(' ', 1)[-1]} has no column {c.name}{hint}")
    checked = pandas.DataFrame(kept, columns=names)
    _check_counts(checked, columns, where)
    if "config" in names:
        _check_configs(checked, where)
    _check_together(checked, table, where)
    return checked, notes


def _check_together(frame: "DataFrame", table: str, where: str) -> None:
    """Raises TableError where rows do not go into one table: mixed versions, a key twice."""
    _check_versions(frame, where)
    twice = frame.duplicated(list(schema.KEYS[table])).to_numpy()
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        key = ", ".join(f"{k}={frame[k][row]}" for k in schema.KEYS[table])
        raise TableError(f"{where}: row {row} repeats {key}; keep one row of each, a copy would count twice")


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
