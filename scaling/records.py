"""A run's records: evals.jsonl, one line an evaluation, and its one reader. Standard library only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling.columns import IDENTITY, NESTED, SCHEMA_VERSION, SchemaError
from scaling.limits import Refused, parse_json, read_bytes

RECORDS = "evals.jsonl"  # in a run folder: one line an evaluation
RECORDS_BYTES, RECORD_BYTES = 2**28, 2**23  # of the file, of a line: thousands of noise levels and strata take 2 MB


def whole_lines(path: Path) -> bytes:
    """An evals.jsonl file up to its last line break (what follows is torn by a killed writer); b"" where it is none.

    Raises SchemaError on a link (which leads out of the run folder), a pipe, and a file beyond all runs.
    """
    try:
        content = read_bytes(path, RECORDS_BYTES)
    except FileNotFoundError:
        return b""
    except (Refused, OSError) as error:
        raise SchemaError(f"{path}: {error}; remove the run folder to train it again") from None
    return content[: content.rfind(b"\n") + 1]


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of an evals.jsonl file; a torn last line (a killed writer) is left out.

    Raises SchemaError on a broken line that is not the last one, and on a record of a newer schema.
    """
    for number, line in enumerate(whole_lines(path).split(b"\n")[:-1], start=1):
        try:
            record = _record(line)
            version = record["evals"]["schema_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaError(
                f"{path} line {number}: not a record ({error}); the file was changed by something else than scaling: "
                f"remove the line, or the run folder to train it again"
            ) from None
        if version > SCHEMA_VERSION:
            raise SchemaError(
                f"{path} line {number}: schema_version {version} is newer than {SCHEMA_VERSION}, "
                f"which this code reads: update the code"
            )
        yield record


def _record(line: bytes) -> dict[str, Any]:
    """Raises ValueError, KeyError or TypeError where the line has not the shape of a record."""
    if len(line) > RECORD_BYTES:
        raise Refused(f"{len(line):,} bytes, more than the {RECORD_BYTES:,} of a line")
    record = parse_json(line)
    evals = record["evals"]
    for name in ("schema_version", "images_seen"):
        if type(evals[name]) is not int:
            raise ValueError(f"{name} is {evals[name]!r}, wanted int")
    for name in NESTED:
        if not all(isinstance(row, dict) for row in record.get(name) or []):
            raise ValueError(f"{name} holds something else than rows")
    return record


def rows(run_folder: Path | str) -> dict[str, list[dict[str, Any]]]:
    """A run's evals, strata, noise_levels and prompts rows, each with its identity columns, in order of images_seen."""
    tables: dict[str, list[dict[str, Any]]] = {"evals": [], **{name: [] for name in NESTED}}
    for record in sorted(records(Path(run_folder) / RECORDS), key=lambda record: record["evals"]["images_seen"]):
        tables["evals"].append(record["evals"])
        identity = {column.name: record["evals"].get(column.name) for column in IDENTITY}
        for name in NESTED:
            tables[name] += [{**identity, **row} for row in record.get(name) or []]
    return tables
