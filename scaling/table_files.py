"""The files of a study's tables, written part by part in bounded memory and put in place together when all is there."""

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from scaling.atomic import TEMPORARY, sync_folder
from scaling.columns import TABLES
from scaling.tables import arrow_schema

if TYPE_CHECKING:
    import pyarrow

GROUP_BYTES = 2**26  # of a table in memory: then they become a row group of the parquet file


class TableFiles:
    """A context manager around `add`. An error inside leaves `out` as it was; raises OSError where it cannot write."""

    def __init__(self, out: Path, *, csv: bool) -> None:
        self.out, self.csv = out, csv
        self.rows = dict.fromkeys(TABLES, 0)
        self._parts: dict[str, list[pyarrow.Table]] = {table: [] for table in TABLES}
        self._bytes = dict.fromkeys(TABLES, 0)
        self._files: dict[str, BinaryIO] = {}
        self._opened = ExitStack()

    def __enter__(self) -> "TableFiles":
        self._made = not self.out.exists()
        self._beside = self.out / f".tables.{os.getpid()}{TEMPORARY}"
        self._beside.mkdir(parents=True)
        self._writers = {table: self._writers_of(table) for table in TABLES}
        return self

    def _open(self, name: str) -> BinaryIO:
        self._files[name] = self._opened.enter_context(open(self._beside / name, "wb"))  # noqa: SIM115, the stack closes it
        return self._files[name]

    def _writers_of(self, table: str) -> list[Any]:
        from pyarrow.csv import CSVWriter
        from pyarrow.parquet import ParquetWriter

        kinds = {"parquet": ParquetWriter, **({"csv": CSVWriter} if self.csv else {})}
        return [
            self._opened.enter_context(make(self._open(f"{table}.{kind}"), arrow_schema(table)))
            for kind, make in kinds.items()
        ]

    def add(self, tables: "Mapping[str, pyarrow.Table]") -> None:
        """Further rows of these tables."""
        for table, rows in tables.items():
            self.rows[table] += len(rows)
            self._parts[table].append(rows)
            self._bytes[table] += rows.nbytes
            if self._bytes[table] >= GROUP_BYTES:
                self._flush(table)

    def add_file(self, name: str, content: bytes) -> None:
        """A further file, put in place with the tables."""
        self._open(name).write(content)

    def _flush(self, table: str) -> None:
        import pyarrow as pa

        parts, self._parts[table], self._bytes[table] = self._parts[table], [], 0
        rows = pa.concat_tables(parts or [arrow_schema(table).empty_table()]).combine_chunks()
        for writer in self._writers[table]:
            writer.write_table(rows)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        complete = False
        try:
            if error is None:
                self._finish()
                complete = True
        finally:
            with nullcontext() if complete else suppress(OSError):  # a full disk refuses what closing would still write
                self._opened.close()
            shutil.rmtree(self._beside, ignore_errors=True)
            if not complete and self._made:
                self.out.rmdir()

    def _finish(self) -> None:
        for table, writers in self._writers.items():
            if self._parts[table] or not self.rows[table]:
                self._flush(table)
            for writer in writers:
                writer.close()
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())  # before the renames, or a power cut could leave a new name on an empty file
        for name in self._files:
            os.replace(self._beside / name, self.out / name)
        sync_folder(self.out)
