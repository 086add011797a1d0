"""Run folders made again from what W&B has: one evals.jsonl a run, each evaluation once, checked as hostile input.

An evaluation may have been logged often: a run given out again, sent again from an offline folder, or a cell of two
sweeps. Where all say the same it counts once. Where a cell was trained twice and the numbers differ (two machines that
share no folder), the evaluations of one training are taken, whole: the one with most of them, then the older one.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from scaling.columns import SCHEMA_VERSION, SchemaError
from scaling.limits import Refused, parse_json, printable
from scaling.records import RECORD_BYTES, RECORDS
from scaling.store_errors import StoreError
from scaling.tables import complete_record
from scaling.wandb_history import Logged

CLOCKS = {"wall_seconds", "code_version", "commit"}  # differ between two trainings that agree
MISSING = "images.parquet has no rows and gallery.npz is empty: pictures and per-image numbers are in run folders only"


class Session(NamedTuple):
    """Evaluations of one run by images_seen, logged one after the other; where the clock goes back, another begins."""

    name: str  # of the W&B run
    records: dict[int, dict]


def rebuild(sweep: str, logged: Iterable[Logged], out: Path) -> tuple[list[Path], list[str]]:
    """The run folders written below `out`, sorted, and lines for the user.

    Raises SchemaError on a record against the schema, StoreError where no run has one.
    """
    sessions: dict[str, list[Session]] = {}
    states: Counter[str] = Counter()
    empty, notes = 0, []
    for run in logged:
        found = _sessions(run)
        empty += not found
        states[run.state] += bool(found)
        for run_id, own in found.items():
            sessions.setdefault(run_id, []).extend(own)
    if not sessions:
        raise StoreError(
            f"--wandb {sweep}: none of its {empty} run(s) has an evaluation; wait for one, or see that the sweep "
            f"runs scaling.train"
        )
    folders = []
    for run_id in sorted(sessions):
        records, note = _agreed(run_id, sessions[run_id])
        notes += note
        folders.append(_write(out / run_id, records))
    notes += [
        f"{n} W&B run(s) {state}: included as far as they are"
        for state, n in sorted(states.items())
        if n and state != "finished"
    ]
    if empty:
        notes.append(f"{empty} W&B run(s) without an evaluation are left out")
    return folders, [printable(note) for note in [*notes, MISSING]]


def _sessions(run: Logged) -> dict[str, list[Session]]:
    """What a W&B run says, by run_id."""
    found: dict[str, list[Session]] = {}
    for text in run.texts:
        try:
            record = _record(text)
        except (Refused, SchemaError) as error:
            raise SchemaError(
                f"W&B run {run.name}: {error}; delete that run there, or collect the folders of the runs"
            ) from None
        run_id, images_seen = record["evals"]["run_id"], record["evals"]["images_seen"]
        own = found.setdefault(run_id, [])
        if not own or images_seen <= max(own[-1].records):
            own.append(Session(run.name, {}))
        own[-1].records[images_seen] = record
    return found


def _record(text: str) -> dict:
    """Raises Refused or SchemaError on what is no complete record of this schema."""
    if len(text) > RECORD_BYTES:
        raise Refused(f"a record of {len(text):,} characters, more than the {RECORD_BYTES:,} that it may have")
    found = parse_json(text)
    if not isinstance(found, dict) or not isinstance(found.get("evals"), dict):
        raise Refused("its `record` column holds no record")
    if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in _nested(found)):
        raise Refused("its `record` column holds something else than rows")
    record = complete_record(found)
    evals = record["evals"]
    if not re.fullmatch(r"[0-9a-f]{12}", evals["run_id"]):  # it becomes the name of a folder
        raise Refused(f"run_id={evals['run_id']!r}: no run_id")
    if evals["schema_version"] is None or evals["schema_version"] > SCHEMA_VERSION:
        raise SchemaError(
            f"schema_version {evals['schema_version']}, of which this code reads {SCHEMA_VERSION}: update the code"
        )
    return record


def _nested(record: dict) -> list[object]:
    return [rows for table, rows in record.items() if table != "evals"]


def _agreed(run_id: str, sessions: Sequence[Session]) -> tuple[list[dict], list[str]]:
    """The run's evaluations in order of images_seen; raises SchemaError where they are of different images."""
    first, *others = sorted(sessions, key=lambda session: -len(session.records))
    made, notes = dict(first.records), []
    for other in others:
        both = sorted(made.keys() & other.records.keys())
        differing = [found for at in both if (found := _difference(made[at], other.records[at]))]
        twins = f"run {run_id}: W&B runs {first.name} and {other.name}"
        if "evals.data_sha256" in differing:
            raise SchemaError(f"{twins} trained it on different images (data_sha256); delete one of them there")
        if differing:
            notes.append(f"{twins} trained it apart and differ in {differing[0]}: only {first.name} is taken")
        else:
            made = other.records | made
    return [made[images_seen] for images_seen in sorted(made)], notes


def _difference(one: dict, other: dict) -> str | None:
    """The first column in which two records of one evaluation differ, clocks apart; data_sha256 before all others."""
    if one["evals"]["data_sha256"] != other["evals"]["data_sha256"]:
        return "evals.data_sha256"
    for name, value in one["evals"].items():
        if name not in CLOCKS and value != other["evals"][name]:
            return f"evals.{name}"
    return next((table for table in one if table != "evals" and one[table] != other[table]), None)


def _write(folder: Path, records: Sequence[dict]) -> Path:
    folder.mkdir(parents=True)
    lines = (json.dumps(record, allow_nan=False) + "\n" for record in records)
    (folder / RECORDS).write_text("".join(lines))
    return folder
