"""The rows of many run folders at once, as arrow tables: read and checked by whole columns.

Arrow's own readers take the files; what they read counts only where it passes everything that `complete_record` and
`complete_row` ask of one row. Where it does not, the same folders are read row by row, which says what is wrong where.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.columns import EVALS, IDENTITY, KEYS, NESTED, SCHEMA_VERSION, TABLES, SchemaError, own_columns
from scaling.limits import Refused, read_parquet
from scaling.records import RECORD_BYTES, RECORDS, records, rows, whole_lines
from scaling.status_file import read_status
from scaling.store_errors import StoreError
from scaling.tables import arrow_fields, arrow_schema, complete_record, complete_row, typed

if TYPE_CHECKING:
    import pyarrow

SHARED = [column.name for column in IDENTITY]


def run_tables(folders: Sequence[Path]) -> "dict[str, pyarrow.Table]":
    """All tables of these runs, one run after the other, each in order of images_seen; raises SchemaError."""
    found = _in_bulk([whole_lines(folder / RECORDS) for folder in folders]) or _one_by_one(folders)
    return {**found, "evals": _with_commits(found["evals"], folders), "images": _images(folders)}


def _with_commits(evals: "pyarrow.Table", folders: Sequence[Path]) -> "pyarrow.Table":
    """Rows older than the column `commit` get that of their run's status.json, where it names their code_version.

    It is the commit of the last process that worked on the run; what makes a row was the same when the row was made.
    """
    import pyarrow as pa

    if not evals["commit"].null_count:
        return evals
    commits: dict[tuple[Any, Any], Any] = {}
    for folder in folders:
        with suppress(StoreError):  # no status: its run counts as failed where runs are counted
            status = read_status(folder)
            if status.get("code_version"):
                commits[status.get("run_id"), status["code_version"]] = status.get("commit")
    columns = (evals[name].to_pylist() for name in ("commit", "run_id", "code_version"))
    filled = [commit or commits.get((run, code)) for commit, run, code in zip(*columns, strict=True)]
    return evals.set_column(evals.schema.names.index("commit"), "commit", pa.array(filled, pa.string()))


def _one_by_one(folders: Sequence[Path]) -> "dict[str, pyarrow.Table]":
    """The same by the plain reader; raises SchemaError naming run and evaluation."""
    made: dict[str, list[dict[str, Any]]] = {table: [] for table in ("evals", *NESTED)}
    for folder in folders:
        for record in records(folder / RECORDS):
            try:
                complete_record(record)
            except SchemaError as error:
                at = record["evals"].get("images_seen")
                raise SchemaError(f"run {folder.name}, images_seen={at}: {error}") from None
        for table, own in rows(folder).items():
            made[table] += own
    return {table: typed(table, own) for table, own in made.items()}


def _in_bulk(files: Sequence[bytes]) -> "dict[str, pyarrow.Table] | None":
    """The tables of these evals.jsonl files; None where a single record is not as it should be."""
    import pyarrow as pa
    from pyarrow import json

    if any(len(file) > RECORD_BYTES and max(map(len, file.split(b"\n"))) > RECORD_BYTES for file in files):
        return None
    counts, content = [file.count(b"\n") for file in files], b"".join(files)
    if not content:
        return {table: arrow_schema(table).empty_table() for table in ("evals", *NESTED)}
    nested = [(table, pa.list_(pa.struct(arrow_fields(own_columns(table))))) for table in NESTED]
    wanted = pa.schema([("evals", pa.struct(arrow_fields(EVALS))), *nested])
    try:
        _ = content.isascii() or content.decode()  # arrow takes any bytes for a text
        found = json.read_json(
            pa.BufferReader(content),
            json.ReadOptions(use_threads=False, block_size=len(content) + 1),
            json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="error"),
        )
    except (UnicodeDecodeError, pa.ArrowException):
        return None
    # Arrow skips empty lines, takes two records in one, and one in two.
    lines = content.startswith(b"{") + content.count(b"\n{"), content.count(b"}\n"), found.num_rows
    if set(lines) != {sum(counts)}:
        return None
    order = _order(counts, found["evals"].combine_chunks().field("images_seen"))
    found = (found if (np.diff(order) == 1).all() else found.take(order)).combine_chunks()
    evals = pa.table(found["evals"].chunk(0).flatten(), schema=arrow_schema("evals"))
    made = {"evals": evals, **{table: _flat(table, found[table].chunk(0), evals) for table in NESTED}}
    versions = evals["schema_version"]
    newer = versions.null_count or max(versions.to_pylist()) > SCHEMA_VERSION
    return None if newer or not all(_follows_schema(table, own) for table, own in made.items()) else made


def _order(counts: Sequence[int], images_seen: "pyarrow.Array") -> np.ndarray:
    """Positions of the records by run, then by images_seen (where that is missing, the row is refused afterwards)."""
    return np.lexsort((images_seen.fill_null(0).to_numpy(), np.repeat(np.arange(len(counts)), counts)))


def _flat(table: str, lists: "pyarrow.ListArray", evals: "pyarrow.Table") -> "pyarrow.Table":
    """Nested rows with the identity columns of their evaluation."""
    import pyarrow as pa
    import pyarrow.compute as pc

    shared = evals.select(SHARED).take(pc.list_parent_indices(lists))
    return pa.table([*shared.columns, *lists.flatten().flatten()], schema=arrow_schema(table))


def _follows_schema(table: str, found: "pyarrow.Table") -> bool:
    """Whether no key is missing or there twice, every number finite and every count within its trials."""
    import pyarrow.compute as pc

    for column in TABLES[table]:
        values = found[column.name]
        if column.name in KEYS[table] and values.null_count:
            return False
        if column.type is float and pc.any(pc.invert(pc.is_finite(values))).as_py():
            return False
        if column.trials is not None and values.null_count < len(values):
            beyond = pc.or_(pc.less(values, 0), pc.greater(values, found[column.trials]))
            if pc.any(pc.fill_null(beyond, values.is_valid())).as_py():  # a count without trials is none either
                return False
    keys = list(KEYS[table]) if table in NESTED else []  # evaluations are told apart by the store
    return not keys or found.group_by(keys, use_threads=False).aggregate([]).num_rows == len(found)


def _images(folders: Sequence[Path]) -> "pyarrow.Table":
    """The rows of every images.parquet; none where a run did not come so far."""
    import pyarrow as pa

    paths = [folder / "images.parquet" for folder in folders]
    found = [table for path in paths if (table := _read_images(path)) is not None]
    wanted = arrow_schema("images")
    if not found:
        return wanted.empty_table()
    if all(table.schema.equals(wanted) for table in found):
        whole = pa.concat_tables([table.replace_schema_metadata() for table in found])
        if _follows_schema("images", whole):
            return whole.combine_chunks()  # in hundreds of pieces it costs as much again to hand on
    return typed("images", [row for path in paths for row in _image_rows(path)])


def _read_images(path: Path) -> "pyarrow.Table | None":
    try:
        return read_parquet(path)
    except FileNotFoundError:
        return None
    except (Refused, OSError) as error:
        raise SchemaError(f"{path}: {error}; remove the run folder to train it again") from None


def _image_rows(path: Path) -> list[Mapping[str, object]]:
    """Row by row; raises SchemaError naming file and column."""
    found = _read_images(path)
    try:
        return [] if found is None else [complete_row("images", row) for row in found.to_pylist()]
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}; remove the run folder to train it again") from None
