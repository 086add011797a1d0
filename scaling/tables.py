"""Rows that follow the schema, and tables of them: what may be written, and how it is typed in parquet.

pyarrow is imported where a table is made: checking a row needs the standard library only.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.atomic import replace_file
from scaling.columns import IDENTITY, KEYS, NESTED, TABLES, Column, SchemaError, own_columns

if TYPE_CHECKING:
    import pyarrow


def complete_row(table: str, row: Mapping[str, object], identity: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The row with every column of its table in order, None where it names none.

    identity: the identity columns of a nested row, which itself carries only its own columns; the result then too.
    Raises SchemaError on an unknown column, a wrong type, NaN or infinity, and a count beyond its trials.
    """
    columns = TABLES[table] if identity is None else own_columns(table)
    if unknown := sorted(set(row) - {column.name for column in columns}):
        raise SchemaError(f"{table}.{unknown[0]}: no such column; scaling/columns.py lists them")
    made = {column.name: _value(table, column, row.get(column.name)) for column in columns}
    everything = {**(identity or {}), **made}
    for key in KEYS[table]:
        if everything[key] is None:
            raise SchemaError(f"{table}.{key} is empty: a row needs {', '.join(KEYS[table])}")
    for column in columns:
        _check_count(table, column, everything)
    return made


def _value(table: str, column: Column, value: Any) -> Any:
    """The value as its column's type; numpy scalars become Python's."""
    if hasattr(value, "item"):
        value = value.item()
    if column.type is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    large = type(value) is int and not -(2**63) <= value < 2**63
    finite = not isinstance(value, float) or math.isfinite(value)
    if value is None or (type(value) is column.type and not large and finite):
        return value
    if type(value) is float and not math.isfinite(value):
        raise SchemaError(f"{table}.{column.name}={value}: not a number; what was not measured is None")
    if type(value) is int and column.type is int:
        raise SchemaError(f"{table}.{column.name}={value}: beyond the whole numbers of a table (64 bits)")
    raise SchemaError(f"{table}.{column.name}={value!r}: {type(value).__name__}, wanted {column.type.__name__}")


def _check_count(table: str, column: Column, row: Mapping[str, Any]) -> None:
    count, trials = row[column.name], row.get(column.trials) if column.trials else None
    if column.trials is None or count is None:
        return
    if trials is None:
        raise SchemaError(f"{table}.{column.name}={count}: {column.trials}, the number it is out of, is empty")
    if not 0 <= count <= trials:
        raise SchemaError(f"{table}.{column.name}={count}: not within 0 and {column.trials}={trials}")


def complete_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """One evaluation: its evals row with the strata, noise_levels and prompts rows nested in it, each completed.

    Raises SchemaError as `complete_row`, on an unknown table, and where two nested rows have the same key.
    """
    if unknown := sorted(set(record) - {"evals", *NESTED}):
        raise SchemaError(f"{unknown[0]}: no such table in a record; it has evals, {', '.join(NESTED)}")
    evals = complete_row("evals", record.get("evals") or {})
    identity = {column.name: evals[column.name] for column in IDENTITY}
    made: dict[str, Any] = {"evals": evals}
    for table in NESTED:
        made[table] = [complete_row(table, row, identity) for row in record.get(table) or []]
        keys = [tuple(row[key] for key in KEYS[table] if key in row) for row in made[table]]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise SchemaError(f"{table}: two rows for {', '.join(KEYS[table][2:])} = {twice[0]}")
    return made


def arrow_schema(table: str) -> "pyarrow.Schema":
    """Every column of the table in its type, nullable."""
    import pyarrow as pa

    return pa.schema(arrow_fields(TABLES[table]))


def arrow_fields(columns: Iterable[Column]) -> "list[tuple[str, pyarrow.DataType]]":
    """The columns as parquet has them."""

    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    return [(column.name, kinds[column.type]) for column in columns]


def typed(table: str, rows: Iterable[Mapping[str, object]]) -> "pyarrow.Table":
    """The rows as an arrow table with every column of the schema in its type, nullable, also where there is no row."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=arrow_schema(table))


def write_parquet(path: Path, table: "pyarrow.Table") -> None:
    """Whole or not at all; raises OSError.

    For the small table of one run: what helps to search large ones (statistics) or repeats the types that the columns
    have anyway would be half of the file, and a fifth of the time to read it again.
    """
    import pyarrow.parquet as parquet

    replace_file(path, lambda file: parquet.write_table(table, file, write_statistics=False, store_schema=False))
