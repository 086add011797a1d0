"""What runs on a node of a cluster: is it fit for this sweep, and one cell after another. No Ray in here.

A cell is the ordinary run function on the shared folder of the runs, under its lock; its progress is in status.json.
"""

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scaling.code_version import code_version
from scaling.config import build
from scaling.sweep.worker import end_once, outcome, write_to


@dataclass(frozen=True)
class Driver:
    """What a node must share with the driver. tokens: files that it wrote into the folders of the runs."""

    version: str
    tokens: tuple[str, ...]
    directory: str  # relative paths of images are meant from here
    relative: bool  # there are such


def unfit(driver: Driver) -> str | None:
    """Why this machine cannot run cells of the driver, with the remedy; None if it can."""
    host, here = socket.gethostname(), code_version()
    if here != driver.version:
        return f"{host} has version {here} of the code, the driver has {driver.version}; install the same on both"
    for token in map(Path, driver.tokens):
        if not token.exists():
            return (
                f"{host} does not see the driver's folder {token.parent.parent}; mount it there at the same path, "
                f"or give a shared folder with --runtime.out=DIR"
            )
    if driver.relative and not os.path.isdir(driver.directory):
        return (
            f"{host} does not see {driver.directory}, from which data.source is meant; mount it there at the same "
            f"path, or give data.source an absolute path"
        )
    return None


def run(tree: Mapping[str, object], driver: Driver, log: str) -> tuple[str, object]:
    """The cell's outcome (kind, content); a SIGINT ends it after a checkpoint, as `interrupted`."""
    reason = unfit(driver)  # again: mounts and code change while a sweep runs
    if reason is not None:
        return "unfit", reason
    write_to(Path(log))
    with suppress(OSError):
        os.chdir(driver.directory)
    before = signal.signal(signal.SIGINT, end_once)
    try:
        return outcome(build(tree))
    except SystemExit:
        return "interrupted", ""
    finally:
        signal.signal(signal.SIGINT, before)
