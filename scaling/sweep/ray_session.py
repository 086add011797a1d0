"""A connection to Ray: to a cluster that runs, or to a Ray of our own that ends with us. It tells nobody anything."""

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from scaling.machine import cores, gpus
from scaling.store_errors import StoreError
from scaling.sweep.local import THREAD_VARIABLES

REACH_SECONDS = 10.0
OBJECT_BYTES = 80 * 1024**2  # of Ray's object store, which we do not use: nearly the least that it takes


@contextmanager
def connected(address: str | None, threads: int, log: Path) -> Iterator[ModuleType]:
    """The module `ray`, joined to the cluster at `address`, or (None) to one of our own on this machine.

    log: takes in what Ray prints here meanwhile, which would tear the driver's table. Raises StoreError, one line.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reports to its makers otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a default to come
    if address is None:  # a secret of this command's own, or Ray would leave one in the home folder for all to read
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ModuleNotFoundError:
        raise StoreError('--engine ray: Ray is not installed; pip install -e ".[ray]"') from None
    with open(log, "a") as file, redirect_stdout(file):
        scratch = None
        try:
            if address is None:
                # /tmp: names of sockets are short; of our own: /tmp/ray may be another user's, and ours is removed
                scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            _init(ray, address, threads, scratch)
            yield ray
        finally:
            ray.shutdown()
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)


def _init(ray: ModuleType, address: str | None, threads: int, scratch: str | None) -> None:
    # Libraries read these when they are imported, which in a worker of Ray is before any line of ours.
    variables = dict.fromkeys(THREAD_VARIABLES, str(threads))
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL, "runtime_env": {"env_vars": variables}}
    resources = {"num_cpus": cores(), "num_gpus": len(gpus()), "object_store_memory": OBJECT_BYTES}
    try:
        if address is None:
            ray.init("local", include_dashboard=False, _temp_dir=scratch, **resources, **quiet)
        else:
            _reach(address)
            ray.init(address, **quiet)
    except Exception as error:  # Ray has no one class for it
        said = " ".join(str(error).split())[:300]
        where = "Ray could not be started here" if address is None else f"--ray-address={address}: cannot join"
        raise StoreError(f"--engine ray: {where} ({type(error).__name__}: {said})") from None


def _reach(address: str) -> None:
    """Raises where nobody listens at HOST:PORT (Ray itself would try for minutes), and on Ray Client's ray://."""
    if "://" in address:
        raise ValueError("start the sweep on a machine of the cluster and give HOST:PORT or auto")
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
