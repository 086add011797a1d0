"""status.json of a run folder: how far its run is, who works on it, and why it stopped. No torch."""

from pathlib import Path
from typing import Any

from scaling.limits import parse_json, printable, read_bytes
from scaling.store_errors import StoreError

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
    "device",
    "threads",
    "code_version",
    "commit",
    "science_version",
    "run_id",
    "train_id",
    "data_sha256",
)
STATUS_TEXTS = frozenset(
    ("state", "reason", "host", "device", "code_version", "commit", "run_id", "train_id", "data_sha256")
)
STATUS_NUMBERS = frozenset(STATUS) - STATUS_TEXTS
STATUS_BYTES = 2**20


def read_status(folder: Path) -> dict[str, Any]:
    """What status.json of a run folder says, {} where there is none; raises StoreError on one that is no status."""
    path = f"{folder}/status.json"  # of 100,000 runs a Path each takes as long as reading them
    try:
        content = read_bytes(path, STATUS_BYTES)
        if not content:  # a power cut right after a `running` was written
            return {}
        return _checked_status(parse_json(content))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StoreError(
            f"{path}: not a status ({error}); remove the file, and the run goes on from its records"
        ) from None


def _checked_status(status: dict[str, Any]) -> dict[str, Any]:
    """The status with texts that a terminal can show; raises ValueError, KeyError or TypeError on what is none."""
    if status["state"] not in STATES:
        raise ValueError(f"state {status['state']}")
    for name, value in status.items():
        number = type(value) in (int, float)
        wrong = (name in STATUS_NUMBERS and not number) or (name in STATUS_TEXTS and not isinstance(value, str))
        if value is not None and (wrong or isinstance(value, (list, dict)) or (number and not abs(value) < 2**63)):
            raise ValueError(f"{name}={value!r}")
    return {name: printable(value) if isinstance(value, str) else value for name, value in status.items()}
