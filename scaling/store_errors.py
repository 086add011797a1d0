"""Why a run folder cannot be used, each kind a class and one line for the user with a remedy. No torch."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaling.limits import printable
from scaling.redact import redacted


class StoreError(RuntimeError):
    """One line for the user: the run, what is wrong, what to do."""

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


class Busy(StoreError):
    """Somebody alive is writing this run."""


class OtherCode(StoreError):
    """The run was begun by another version of the code."""


class DiskFull(StoreError):
    """The disk takes no more: nothing is wrong with the run, which goes on where it stopped once there is room."""


def reason(error: BaseException) -> str:
    """An exception as one line; Python's own ("'x'") are named, ours speak for themselves."""
    text = printable(redacted(" ".join(str(error).split())))
    named = type(error).__module__ == "builtins" or not text
    return f"{type(error).__name__}: {text}".rstrip(": ") if named else text


@contextmanager
def writing(folder: Path, subject: str) -> Iterator[None]:
    """Turns the system's refusal to write into one line with a remedy."""
    try:
        yield
    except OSError as error:
        raise refused_write(
            error,
            f"{subject}: cannot write {error.filename or folder} ({error.strerror}); "
            f"make room or give another folder with --runtime.out=DIR",
        ) from error


def refused_write(error: OSError, message: str) -> StoreError:
    """DiskFull where only room is missing, for now; else a plain StoreError."""
    return (DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError)(message)
