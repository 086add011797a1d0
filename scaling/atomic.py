"""Files that appear whole or not at all, and lines that are added so: synced to disk. Standard library only."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"  # what a killed writer leaves behind ends so, and is never read


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """`write(file)` makes the new content of `path`; a kill or an error at any moment leaves the old file untouched.

    durable: the same holds for a power cut, at the price of waiting for the disk.
    Raises what `write` raises, and OSError (disk full, not writable), after removing the unfinished file.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            if durable:  # before the rename, or a power cut could leave the new name on an empty file
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def replace_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """As `replace_file`, for content that is at hand."""
    replace_file(path, lambda file: file.write(content), durable=durable)


def sync_folder(folder: Path) -> None:
    """Puts the names inside `folder` on disk: a rename or a new file survives a power cut from here on."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """One more line, ending in \\n, on disk when it returns; raises OSError.

    A kill leaves at most a torn tail, removed by the next call; an error (disk full) leaves the file as it was.
    """
    new = not path.exists()
    with open(path, "a+b", buffering=0) as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1  # behind it: what a killed writer left unfinished
        file.truncate(whole)
        try:
            rest = line
            while rest:  # a nearly full disk takes a part
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(whole)
            raise
    if new:
        sync_folder(path.parent)
