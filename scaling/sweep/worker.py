"""A warm worker: one process that imports torch once and runs one pack of cells after another. It dies with its driver.

It receives the configurations of cells that train side by side (often one) as mappings, and answers for each with
messages (kind, run_id, content): "progress" with its state many times, then one of "done" with its status, "failed"
with the reason, "busy" with the reason: to be tried again after a while.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from scaling.config import build
from scaling.fields import ExperimentConfig
from scaling.identity import run_id
from scaling.redact import redacted
from scaling.store import RunStore
from scaling.store_errors import Busy, DiskFull, reason

PROGRESS_SECONDS = 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(connection: Connection, log: Path, driver: int) -> None:
    """Runs cells until the driver says None or goes away; SIGTERM ends it with 143 after a checkpoint."""
    os.setsid()  # Ctrl-C reaches the driver alone, which then ends its workers
    signal.signal(signal.SIGTERM, end_once)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != driver:  # it was gone before we asked
            raise SystemExit(143)
    write_to(log)
    while (trees := _receive(connection)) is not None:
        configs, last = [build(tree) for tree in trees], {}

        def progress(run: str, state: Mapping[str, object], last: dict[str, float] = last) -> None:
            if time.monotonic() - last.get(run, 0.0) > PROGRESS_SECONDS:
                last[run] = time.monotonic()
                with suppress(BrokenPipeError):  # the driver is gone; its death ends this worker properly
                    connection.send(("progress", run, dict(state)))

        run_together(configs, progress, lambda run, kind, content: connection.send((kind, run, content)))


def end_once(signum: int, frame: object) -> None:
    """Raises SystemExit; the same signal again must not end the checkpoint and the record that follow.

    It does come again: from the driver when it stops and when it ends, and Linux tells of a driver's death once for
    each of its threads (PR_SET_PDEATHSIG).
    """
    signal.signal(signum, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def write_to(log: Path) -> None:
    """What libraries print would tear the driver's table."""
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def _receive(connection: Connection) -> Sequence[Mapping[str, object]] | None:
    try:
        return connection.recv()
    except EOFError:
        return None


def outcome(config: ExperimentConfig) -> tuple[str, object]:
    """(kind, content) of one cell that runs in this process to its end; a signal in the middle raises SystemExit."""
    found = []
    run_together([config], lambda *_: None, lambda run, kind, content: found.append((kind, content)))
    return found[0]


def run_together(
    configs: Sequence[ExperimentConfig],
    progress: Callable[[str, Mapping[str, object]], None],
    ended: Callable[[str, str, object], None],
) -> None:
    """Runs cells of one shape side by side, each under its lock; `ended` is called once for each.

    A signal in the middle raises SystemExit after a checkpoint each.
    """
    open_stores: dict[str, RunStore] = {}

    def end(run: str, error: BaseException | None) -> None:
        if store := open_stores.pop(run, None):
            status = store.status if error is None else None
            store.__exit__(error and type(error), error, error and error.__traceback__)
        if error is None:
            ended(run, "done", status)
        elif isinstance(error, (Busy, DiskFull)):
            ended(run, "busy", str(error))
        elif isinstance(error, Exception):  # one failed cell does not stop the others
            print(redacted("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)
            ended(run, "failed", reason(error))

    try:
        for config in configs:
            run = run_id(config)
            try:
                open_stores[run] = RunStore.open(config)
            except Exception as error:
                end(run, error)
                continue
            if open_stores[run].done:
                end(run, None)
        if not open_stores:
            return
        from scaling.training.request import Request
        from scaling.training.run import train_together  # here: a broken installation fails the cells and says why

        requests = [Request(store.config, store, partial(progress, run)) for run, store in open_stores.items()]
        train_together(requests, lambda request, error: end(request.store.run_id, error))
    except BaseException as error:
        for run in list(open_stores):
            end(run, error)
        if not isinstance(error, Exception):
            raise
