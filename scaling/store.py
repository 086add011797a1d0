"""The run store: one folder a run, one writer a folder, and nothing in it that a kill could spoil. No torch.

runs/<run_id>/ config.yaml  status.json  evals.jsonl (the truth)  images.parquet  samples.npz  checkpoints/  weights/
Beside them runs/.trained/<train_id>/ names the finished runs that have these weights.
"""

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from scaling import lock
from scaling.atomic import TEMPORARY, append_line, replace_bytes, replace_file
from scaling.code_version import code_version, commit
from scaling.columns import IDENTITY, SCHEMA_VERSION, SchemaError
from scaling.fields import ExperimentConfig
from scaling.identity import SCIENCE_VERSION, resolve, run_id, train_id
from scaling.links import refuse_links
from scaling.records import RECORD_BYTES, RECORDS, records
from scaling.status_file import STATES, STATUS, read_status
from scaling.store_errors import Busy, OtherCode, StoreError, reason, writing
from scaling.tables import complete_record, complete_row, typed, write_parquet
from scaling.trained import mark_trained


class RunStore:
    """A run folder that this process alone writes, from `open` to `close`; a context manager."""

    def __init__(self, config: ExperimentConfig, folder: Path, held: lock.Lock):
        self.config, self.folder, self._lock = config, folder, held
        self.run_id = folder.name

    @classmethod
    def open(cls, config: ExperimentConfig) -> "RunStore":
        """The locked folder of this run, made where it is missing.

        Raises Busy if a live process has it, OtherCode if another version of the code began it and it is not done,
        StoreError where it cannot be written.
        """
        folder = Path(config.runtime.out) / run_id(config)
        with writing(folder, f"runtime.out={config.runtime.out}"):
            folder.mkdir(parents=True, exist_ok=True)
            refuse_links(folder)
            try:
                store = cls(config, folder, lock.Lock.take(folder))
            except lock.Held as held:
                raise Busy(f"run {folder.name} is {held}; wait for it, or stop it") from None
        try:
            if not store.done:
                store._check_code()
            tree = resolve(config).model_dump(mode="json", exclude={"runtime"})
            with writing(folder, f"runtime.out={config.runtime.out}"):
                for unfinished in list(folder.rglob(f"*{TEMPORARY}")):  # by a killed writer; this one is alone now
                    shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink(missing_ok=True)
                replace_bytes(folder / "config.yaml", yaml.safe_dump(tree, sort_keys=False).encode())
        except BaseException:
            store.close()
            raise
        return store

    @staticmethod
    def finished(config: ExperimentConfig) -> dict[str, Any] | None:
        """The status of the run if it is done, without its lock; None if something is left to do.

        A lock that its writer left, killed after its last word, is removed.
        """
        folder = Path(config.runtime.out) / run_id(config)
        status = read_status(folder)
        done = status.get("state") == "done" and status.get("science_version") == SCIENCE_VERSION
        if not done or not _whole(folder / RECORDS):
            return None
        if (folder / "lock.json").exists():
            lock.remove_dead(folder)
        return status

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the lock. An error leaves the status `failed` with its reason, a signal in the middle `interrupted`."""
        try:
            with suppress(StoreError):  # on a full disk the error on its way says more than this one would
                if self.held and isinstance(error, Exception) and not self.done:
                    self.set_status("failed", reason=reason(error))
                elif self.held and self.status.get("state") == "running":
                    self.set_status("interrupted")
        finally:
            self.close()

    def close(self) -> None:
        """Ends the lock."""
        self._lock.release()

    @property
    def held(self) -> bool:
        """Whether this process still has the run: a lock is taken over from one that stood still."""
        return self._lock.held()

    @property
    def status(self) -> dict[str, Any]:
        """As `read_status` says."""
        return read_status(self.folder)

    @property
    def done(self) -> bool:
        """As `finished` says."""
        return self.finished(self.config) is not None

    def set_status(self, state: str, **fields: object) -> None:
        """Replaces status.json: `state` with these fields, earlier ones kept but for the reason; unknown ones raise."""
        if unknown := ({state} - set(STATES)) | (set(fields) - set(STATUS)):
            raise ValueError(f"{min(unknown)}: no such state or field of a status")
        status = {
            **dict.fromkeys(STATUS),
            **self.status,
            "reason": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "code_version": code_version(),
            "commit": commit(),
            "science_version": SCIENCE_VERSION,
            "run_id": self.run_id,
            "train_id": train_id(self.config),
            **fields,
            "state": state,
            "updated": time.time(),
        }
        content = json.dumps(status, allow_nan=False).encode()
        with self._write():
            if state == "done":  # first, or a kill between the two would leave trained weights that nobody finds
                mark_trained(self.folder, status["train_id"])
            # `running` comes twice a second and is worth no wait for the disk: it only shows how far a run is
            replace_bytes(self.folder / "status.json", content, durable=state != "running")

    def _check_code(self) -> None:
        """Raises OtherCode where another version of the code wrote a record or a checkpoint, unless that is wanted.

        The status stays as it is: a worker of that version may well go on with the run.
        """
        status, mine, began = self.status, code_version(), set()
        with suppress(StoreError):  # a broken record: training reads them again, and fails the run for it
            began = {record["evals"].get("code_version") for record in self.records()}
        if (self.folder / "checkpoints").exists():
            began.add(status.get("code_version"))
        if (others := began - {None, mine}) and not self.config.runtime.other_code:
            other = min(others)
            known = (
                f" (commit {status['commit']})" if other == status.get("code_version") and status.get("commit") else ""
            )
            raise OtherCode(
                f"run {self.run_id} was begun by code {other}{known}, and this is code {mine} (commit {commit()}): "
                f"go on with that one, remove {self.folder} to begin anew, or mix both knowingly: "
                f"--runtime.other_code=true"
            )

    def check_data(self, data_sha256: str) -> None:
        """Keeps the content hash of the images the first time; raises StoreError if it is another one later."""
        known = {row["evals"]["data_sha256"] for row in self.records()} | {self.status.get("data_sha256")}
        others = sorted(sha256 for sha256 in known - {data_sha256} if sha256 is not None)
        if others:
            raise StoreError(
                f"run {self.run_id}: the images of data.source={self.config.data.source} changed since it began "
                f"({others[0][:12]} then, {data_sha256[:12]} now); restore them, or remove {self.folder} to begin anew"
            )
        if self.status.get("data_sha256") is None:
            self.set_status(self.status.get("state", "running"), data_sha256=data_sha256)

    def records(self) -> list[dict[str, Any]]:
        """The evaluations so far, by images_seen; raises StoreError on a file that something else changed."""
        try:
            found = list(records(self.folder / RECORDS))
        except SchemaError as error:
            raise StoreError(str(error)) from None
        return sorted(found, key=lambda record: record["evals"]["images_seen"])

    def measured(self) -> set[int]:
        """images_seen of every evaluation on disk."""
        return {record["evals"]["images_seen"] for record in self.records()}

    def append(self, record: Mapping[str, object]) -> None:
        """One evaluation, {"evals": row, "strata": rows, "noise_levels": rows, "prompts": rows}; on disk at the end.

        Nested rows carry only their own columns. Raises SchemaError on what the schema does not allow, StoreError if
        images_seen has a record or the disk takes no more (the file is then as before).
        """
        made = complete_record(record)
        evals = made["evals"]
        if evals["run_id"] != self.run_id or evals["schema_version"] != SCHEMA_VERSION:
            raise SchemaError(
                f"evals.run_id={evals['run_id']}, schema_version={evals['schema_version']}: "
                f"this is run {self.run_id} under schema {SCHEMA_VERSION}"
            )
        if evals["images_seen"] in self.measured():
            raise StoreError(f"run {self.run_id}: images_seen={evals['images_seen']} is recorded already; records stay")
        line = json.dumps(made, allow_nan=False).encode() + b"\n"
        if len(line) > RECORD_BYTES:
            raise SchemaError(
                f"a record of {len(line):,} bytes, more than the {RECORD_BYTES:,} that are read again: ask for fewer "
                f"evaluate.draws, or fewer strata"
            )
        with self._write():
            append_line(self.folder / RECORDS, line)

    def write_arrays(self, name: str, **arrays: object) -> None:
        """<name>.npz of numbers and texts, replaced whole; ValueError on objects and on a name not of a-z, 0-9, _."""
        import numpy as np

        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(f"{name!r}: an array file's name has a-z, 0-9 and _")
        made: dict[str, Any] = {key: np.asarray(array) for key, array in arrays.items()}
        for key, array in made.items():
            if array.dtype.hasobject:
                raise ValueError(f"{name}.{key}: objects would need a pickle; give numbers")
        with self._write():
            replace_file(self.folder / f"{name}.npz", lambda file: np.savez_compressed(file, **made))

    def write_images(self, rows: Sequence[Mapping[str, object]], identity: Mapping[str, object] | None = None) -> None:
        """images.parquet, replaced whole. identity: the identity columns (or a whole evals row) that all rows share.

        Raises SchemaError on what the schema does not allow.
        """
        shared = {column.name: identity[column.name] for column in IDENTITY} if identity else {}
        made = [complete_row("images", {**shared, **row}) for row in rows]
        if strangers := {row["run_id"] for row in made} - {self.run_id}:
            raise SchemaError(f"images.run_id={min(strangers)}: this is run {self.run_id}")
        with self._write():
            write_parquet(self.folder / "images.parquet", typed("images", made))

    def weights_path(self, images_seen: int) -> Path:
        """Where the measured weights of this evaluation belong; its folder exists."""
        path = self.folder / "weights" / f"{int(images_seen)}.safetensors"
        path.parent.mkdir(exist_ok=True)
        return path

    @contextmanager
    def _write(self) -> Iterator[None]:
        if not self.held:
            if not self.folder.exists():
                raise StoreError(f"run {self.run_id}: {self.folder} was removed; the same command begins it anew")
            raise StoreError(
                f"run {self.run_id}: another process took its lock while this one stood still; this one ends, "
                f"nothing is lost"
            )
        with writing(self.folder, f"run {self.run_id}"):
            yield


def _whole(path: Path) -> bool:
    """Whether there are records and the last one is whole: it may not be where a copy was broken off."""
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:  # none, or an empty file
        return False
