"""One writer a run folder: an exclusive lock with host, pid and heartbeat, taken over from a dead process.

lock.json is made by an atomic link. Who finds it taken judges its owner: of the same machine by pid and process start
time (a pid given out again is another process), of another machine by the age of the heartbeat, the file's mtime.
Judging and replacing happen under a kernel lock on lock.guard, so of two that find a dead owner exactly one wins. A
heartbeat touches the owner's own file, never the name: an owner that was taken over notices and cannot revive itself.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0  # a foreign owner without heartbeat for so long is dead


class Held(RuntimeError):
    """Somebody alive holds the lock."""

    def __init__(self, owner: "Owner"):
        super().__init__(f"in use by process {owner.pid} on {owner.host}")
        self.owner = owner


class Owner(NamedTuple):
    host: str
    machine: str  # one boot and one table of pids: only inside it does a pid mean anything
    pid: int
    started: int | None  # clock ticks after boot; None where the system does not tell
    alive: bool


def _machine() -> str:
    """This boot and pid namespace: two containers may share host name and folder but not their pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def process_started(pid: int) -> int | None:
    """When the process started, in clock ticks after boot; None if it is dead, a zombie, or the system has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before may hold anything
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _process_lives(pid: int, started: int | None) -> bool:
    if Path("/proc/self/stat").exists():
        return process_started(pid) is not None and process_started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process: it lives
        return True
    return True


def owner(folder: Path, now: float | None = None) -> Owner | None:
    """Who holds (or, not alive, left behind) the lock of this run folder; None where there is no lock.

    now: the file system's clock, by which heartbeats are judged; this machine's where it is not given.
    """
    path = folder / "lock.json"
    try:
        with open(path, "rb") as file:
            beat, content = os.fstat(file.fileno()).st_mtime, json.load(file)
        host, machine, pid, started = (content[name] for name in ("host", "machine", "pid", "started"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # not written by this module: nobody alive will ever refresh it
        host, machine, pid, started = "an unknown host", "", 0, None
    if machine == _machine():
        return Owner(host, machine, pid, started, _process_lives(pid, started))
    return Owner(host, machine, pid, started, (time.time() if now is None else now) - beat <= STALE_SECONDS)


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """The short critical section around judging and replacing a lock; the kernel ends it with the process."""
    with open(folder / "lock.guard", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Lock:
    """A held lock. Made by `take`, ended by `release`."""

    path: Path
    descriptor: int
    _released: threading.Event
    _heart: threading.Thread | None = None

    @classmethod
    def take(cls, folder: Path) -> "Lock":
        """Raises Held if its owner lives, OSError where the folder is not writable or has no file locks."""
        beside = folder / f".lock.{os.getpid()}.{threading.get_ident()}"
        content = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "started": process_started(os.getpid()),
        }
        descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, json.dumps(content).encode())
            with _guard(folder):
                found = owner(folder, now=os.fstat(descriptor).st_mtime)
                if found is not None and found.alive:
                    raise Held(found)
                (folder / "lock.json").unlink(missing_ok=True)
                os.link(beside, folder / "lock.json")  # fails where a host that shares no file locks came first
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            beside.unlink(missing_ok=True)
        lock = cls(folder / "lock.json", descriptor, threading.Event())
        lock._heart = threading.Thread(target=lock._beat, daemon=True, name="heartbeat")
        lock._heart.start()
        return lock

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # a network file system may fail for a moment: the next beat comes in seconds
                os.utime(self.descriptor)

    def held(self) -> bool:
        """False once it was released, or another took over since this process stood still for too long."""
        if self._released.is_set():
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Safe to repeat. A lock that another took over is left to it."""
        if self._released.is_set():
            return
        if self.path.parent.exists():  # the user may have removed the run folder meanwhile
            with _guard(self.path.parent):
                if self.held():
                    self.path.unlink()
        self._released.set()
        self._heart.join()  # before its descriptor may become another file's
        os.close(self.descriptor)
