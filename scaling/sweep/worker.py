"""A warm worker: one process that imports torch once and runs one cell after another. It dies with its driver.

It receives the configuration of a cell as a mapping and answers with messages (kind, content): ("progress", state) many
times, then one of ("done", status), ("failed", reason), ("busy", reason).
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from scaling.config import build
from scaling.fields import ExperimentConfig
from scaling.store import Busy, RunStore, reason

PROGRESS_SECONDS = 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(connection: Connection, log: Path, driver: int) -> None:
    """Runs cells until the driver says None or goes away; SIGTERM ends it with 143 after a checkpoint."""
    os.setsid()  # Ctrl-C reaches the driver alone, which then ends its workers
    signal.signal(signal.SIGTERM, _end)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != driver:  # it was gone before we asked
            raise SystemExit(143)
    _write_to(log)
    while (tree := _receive(connection)) is not None:
        connection.send(run_cell(build(tree), connection))


def _end(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _write_to(log: Path) -> None:
    """What libraries print would tear the driver's table."""
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def _receive(connection: Connection) -> Mapping[str, object] | None:
    try:
        return connection.recv()
    except EOFError:
        return None


def run_cell(config: ExperimentConfig, connection: Connection) -> tuple[str, object]:
    """The cell's outcome as the message that reports it."""
    last = 0.0

    def progress(state: Mapping[str, object]) -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            with suppress(BrokenPipeError):  # the driver is gone; its death ends this worker properly
                connection.send(("progress", dict(state)))

    try:
        with RunStore.open(config) as store:
            if not store.done:
                from scaling.training.run import train  # here: a broken installation fails the cell and says why

                train(config, store, progress)
            return "done", store.status
    except Busy as busy:
        return "busy", str(busy)
    except Exception as error:  # one failed cell does not stop the others
        traceback.print_exc()
        return "failed", reason(error)
