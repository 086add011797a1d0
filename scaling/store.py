"""The run store: one folder a run, one writer a folder, and nothing in it that a kill could spoil. No torch.

runs/<run_id>/ config.yaml  status.json  evals.jsonl (the truth)  images.parquet  samples.npz  checkpoints/  weights/
Beside them runs/.trained/<train_id>/ names the finished runs that have these weights.
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import yaml

from scaling import lock
from scaling.atomic import TEMPORARY, append_line, replace_bytes, replace_file
from scaling.code_version import code_version
from scaling.config import SCIENCE_VERSION, resolve, run_id, train_id
from scaling.fields import ExperimentConfig
from scaling.schema import IDENTITY, RECORDS, SCHEMA_VERSION, SchemaError, records
from scaling.tables import complete_record, complete_row, typed, write_parquet

STATES = ("running", "done", "failed", "interrupted")
STATUS = (
    "state",
    "reason",
    "updated",
    "images_seen",
    "images_total",
    "wall_seconds",
    "n_memorized",
    "n_generated",
    "host",
    "pid",
    "code_version",
    "science_version",
    "run_id",
    "train_id",
    "data_sha256",
)


class StoreError(RuntimeError):
    """One line for the user: the run, what is wrong, what to do."""


class Busy(StoreError):
    """Somebody alive is writing this run."""


def read_status(folder: Path) -> dict:
    """What status.json of a run folder says, {} where there is none; raises StoreError on one that is no status."""
    path = folder / "status.json"
    try:
        content = path.read_bytes()
        if not content:  # a power cut right after a `running` was written
            return {}
        status = json.loads(content)
        if status["state"] not in STATES:
            raise ValueError(f"state {status['state']}")
        return status
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: not a status ({error}); remove the file, and the run goes on from its records"
        ) from None


def reason(error: BaseException) -> str:
    """An exception as one line; Python's own ("'x'") are named, ours speak for themselves."""
    text = " ".join(str(error).split())
    named = type(error).__module__ == "builtins" or not text
    return f"{type(error).__name__}: {text}".rstrip(": ") if named else text


class RunStore:
    """A run folder that this process alone writes, from `open` to `close`; a context manager."""

    def __init__(self, config: ExperimentConfig, folder: Path, held: lock.Lock):
        self.config, self.folder, self._lock = config, folder, held
        self.run_id = folder.name

    @classmethod
    def open(cls, config: ExperimentConfig) -> "RunStore":
        """The locked folder of this run, made where it is missing.

        Raises Busy if a live process has it, StoreError where it cannot be written.
        """
        folder = Path(config.runtime.out) / run_id(config)
        with _writing(folder, f"runtime.out={config.runtime.out}"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                store = cls(config, folder, lock.Lock.take(folder))
            except lock.Held as held:
                raise Busy(f"run {folder.name} is {held}; wait for it, or stop it") from None
        try:
            tree = resolve(config).model_dump(mode="json", exclude={"runtime"})
            with _writing(folder, f"runtime.out={config.runtime.out}"):
                for unfinished in folder.rglob(f"*{TEMPORARY}"):  # by a killed writer; this one is alone now
                    unfinished.unlink()
                replace_bytes(folder / "config.yaml", yaml.safe_dump(tree, sort_keys=False).encode())
        except BaseException:
            store.close()
            raise
        return store

    @staticmethod
    def finished(config: ExperimentConfig) -> dict | None:
        """The status of the run if it is done, without its lock; None if something is left to do."""
        folder = Path(config.runtime.out) / run_id(config)
        status = read_status(folder)
        done = status.get("state") == "done" and status.get("science_version") == SCIENCE_VERSION
        return status if done and (folder / RECORDS).exists() else None

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
        self._lock.release()

    @property
    def held(self) -> bool:
        return self._lock.held()

    @property
    def status(self) -> dict:
        return read_status(self.folder)

    @property
    def done(self) -> bool:
        return self.finished(self.config) is not None

    def set_status(self, state: str, **fields: object) -> None:
        """Replaces status.json: `state` with these fields, the earlier ones kept but for the reason."""
        if unknown := ({state} - set(STATES)) | (set(fields) - set(STATUS)):
            raise ValueError(f"{min(unknown)}: no such state or field of a status")
        status = {
            **dict.fromkeys(STATUS),
            **self.status,
            "reason": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "code_version": code_version(),
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
                _mark_trained(self.folder, status["train_id"])
            # `running` comes twice a second and is worth no wait for the disk: it only shows how far a run is
            replace_bytes(self.folder / "status.json", content, durable=state != "running")

    def check_data(self, data_sha256: str) -> None:
        """Keeps the content hash of the images the first time; raises StoreError if it is another one later."""
        known = {row["evals"]["data_sha256"] for row in self.records()} | {self.status.get("data_sha256")}
        known -= {None, data_sha256}
        if known:
            raise StoreError(
                f"run {self.run_id}: the images of data.source={self.config.data.source} changed since it began "
                f"({min(known)[:12]} then, {data_sha256[:12]} now); restore them, or remove {self.folder} to begin anew"
            )
        if self.status.get("data_sha256") is None:
            self.set_status(self.status.get("state", "running"), data_sha256=data_sha256)

    def records(self) -> list[dict]:
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
        with self._write():
            append_line(self.folder / RECORDS, line)

    def write_arrays(self, name: str, **arrays: object) -> None:
        """<name>.npz of numeric arrays, replaced whole."""
        import numpy as np

        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(f"{name!r}: an array file's name has a-z, 0-9 and _")
        made = {key: np.asarray(array) for key, array in arrays.items()}
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

    def donor(self, train_id: str, at: Iterable[int] = ()) -> Path | None:
        """The folder of another finished run of this store that trained the same and kept its weights, or None.

        at: images_seen at which it must have kept them.
        """
        if not re.fullmatch(r"[0-9a-f]{12}", train_id):
            raise ValueError(f"{train_id!r}: not a train_id")
        out, wanted, found = self.folder.parent, {f"{images}.safetensors" for images in at}, {}
        for marker in sorted((out / ".trained" / train_id).glob("*")):
            folder = out / marker.name
            try:
                status = read_status(folder)
            except StoreError:  # its own status page and sweep report it; this run can train by itself
                continue
            weights = {path.name for path in (folder / "weights").glob("*.safetensors")}
            trained = status.get("state") == "done" and status["train_id"] == train_id
            if folder != self.folder and trained and weights and weights >= wanted:
                found[folder] = len(weights)
        return max(found, key=found.get, default=None)

    @contextmanager
    def _write(self) -> Iterator[None]:
        if not self.held:
            raise StoreError(
                f"run {self.run_id}: another process took its lock while this one stood still; this one ends, "
                f"nothing is lost"
            )
        with _writing(self.folder, f"run {self.run_id}"):
            yield


@contextmanager
def _writing(folder: Path, subject: str) -> Iterator[None]:
    """Turns the system's refusal to write into one line with a remedy."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{subject}: cannot write {error.filename or folder} ({error.strerror}); "
            f"make room or give another folder with --runtime.out=DIR"
        ) from error


def _mark_trained(folder: Path, train_id: str) -> None:
    markers = folder.parent / ".trained" / train_id
    markers.mkdir(parents=True, exist_ok=True)
    (markers / folder.name).touch()
