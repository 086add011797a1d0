"""One writer a run folder: an exclusive lock with host, pid and heartbeat, taken over from a dead process.

lock.json is made by an atomic link. Who finds it taken judges its owner: of the same machine by pid and process start
time (a pid given out again is another process), of another machine by its heartbeat, the file's mtime. Judging and
replacing happen under a kernel lock on lock.guard, so of two that find a dead owner exactly one wins. A heartbeat
touches the owner's own file, never the name: an owner that was taken over notices and cannot revive itself.

Clocks. No host's clock is asked. Heartbeats are written and judged by the clock of the file system (over NFS the
server's). It too may jump, so an owner whose heartbeat looks too old, or lies in the future, is only suspected: its
lock is taken over after it did not change for WATCH_SECONDS of this process's own monotonic clock.

What is relied on of a network file system (NFSv3 and v4 as Linux mounts them; docs/cluster.md):
- link(2) fails where the name exists, also across hosts. A reply that got lost is asked again: the link count decides.
- open(2) asks the server for the file's present attributes (close-to-open consistency; not under `nocto`), so owners
  and one's own lock are looked at by opening, never by a cached stat.
- flock(2) reaches the server (Linux passes it on as a lock of the whole file; not under `nolock` or `local_lock`).
  Where it is missing, taking a lock is an error. Where it is local, two hosts that take over the same dead owner in
  the same instant may both believe that they did: the name belongs to one, and the other ends at its next write.
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

from scaling.atomic import TEMPORARY
from scaling.limits import parse_json

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0  # a foreign owner without heartbeat for so long is suspected; longer than NFS caches attributes
WATCH_SECONDS = 30.0  # and dead if it stays so: three heartbeats


class Held(RuntimeError):
    """Somebody alive holds the lock."""

    def __init__(self, owner: "Owner"):
        super().__init__(f"in use by process {owner.pid} on {owner.host}")
        self.owner = owner


class Owner(NamedTuple):
    """Who holds a lock."""

    host: str
    machine: str  # one boot and one table of pids: only inside it does a pid mean anything
    pid: int
    started: int | None  # clock ticks after boot; None where the system does not tell
    alive: bool
    heartbeat: tuple[int, int] = (0, 0)  # inode and mtime in ns of the lock: they change with every sign of life


NOBODY = Owner("a host that has let it go meanwhile", "", 0, None, alive=False)


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
        now = process_started(pid)
        return now is not None and now == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process: it lives
        return True
    return True


def _temporary(folder: Path, purpose: str) -> Path:
    """A name of this thread's own; what a killed process leaves under it is removed by the run's next writer."""
    return folder / f".{purpose}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}{TEMPORARY}"


def file_clock(folder: Path) -> float:
    """The time by the clock of the file system, which also stamps the heartbeats; this host's where it is read-only."""
    beside = _temporary(folder, "clock")
    try:
        descriptor = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except OSError:
        return time.time()
    try:
        os.utime(descriptor)
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        beside.unlink(missing_ok=True)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe in a folder from elsewhere would be waited for


def owner(folder: Path, now: float | None = None) -> Owner | None:
    """Who holds (or, not alive, left behind) the lock of this run folder; None where there is no lock.

    now: the file system's clock, for somebody who looks at many folders; asked for here where it is not given.
    """
    try:
        with open(folder / "lock.json", "rb", opener=_without_waiting) as file:
            stat, text = os.fstat(file.fileno()), file.read(10_000)
    except (FileNotFoundError, NotADirectoryError):
        return None
    heartbeat = stat.st_ino, stat.st_mtime_ns
    try:
        content = parse_json(text or b"")  # a pipe gives None
        host, machine, pid, started = (content[name] for name in ("host", "machine", "pid", "started"))
        if type(pid) is not int:
            raise TypeError(f"pid={pid!r}")
    except (ValueError, KeyError, TypeError):  # not written by this module: nobody alive will ever refresh it
        host, machine, pid, started = "an unknown host", "", 0, None
    if machine == _machine():
        return Owner(host, machine, pid, started, _process_lives(pid, started), heartbeat)
    age = (file_clock(folder) if now is None else now) - stat.st_mtime
    return Owner(host, machine, pid, started, -HEARTBEAT_SECONDS <= age <= STALE_SECONDS, heartbeat)


def _watch(folder: Path, suspect: Owner) -> None:
    """Returns when nothing came of a suspected owner for WATCH_SECONDS, or its lock is another's or gone."""
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCH_SECONDS / 10))
        found = owner(folder, now=0)
        if found is None or found.heartbeat != suspect.heartbeat:
            return


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """The short critical section around judging and replacing a lock; the kernel ends it with the process."""
    path = folder / "lock.guard"
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            why = f"{error.strerror}: this file system has no file locks (flock); mount it with them"
            raise OSError(error.errno, why, str(path)) from error
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
        """Raises Held if its owner lives, OSError where the folder is not writable or has no file locks.

        Returns at once, but where an owner on another machine seems dead: it is watched first.
        """
        watched: Owner | None = None
        while True:
            with _guard(folder):
                found = owner(folder)
                if found is None:
                    return cls._made(folder)
                if found.alive:
                    raise Held(found)
                if found.machine == _machine() or (watched is not None and watched.heartbeat == found.heartbeat):
                    return cls._made(folder)
            if watched is not None and found.heartbeat != watched.heartbeat:
                raise Held(found)  # a sign of life, whatever the clocks say
            _watch(folder, found)
            watched = found

    @classmethod
    def _made(cls, folder: Path) -> "Lock":
        """A new lock in place of what is there; called under the guard."""
        path, beside = folder / "lock.json", _temporary(folder, "lock")
        content = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "started": process_started(os.getpid()),
        }
        descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, json.dumps(content).encode())
            path.unlink(missing_ok=True)
            try:
                os.link(beside, path)
            except FileExistsError:  # a host that shares no file locks came first, or the server's answer got lost
                if not _same(path, descriptor):
                    raise Held(owner(folder) or NOBODY) from None
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            beside.unlink(missing_ok=True)
        lock = cls(path, descriptor, threading.Event())
        lock._heart = threading.Thread(target=lock._beat, daemon=True, name="heartbeat")
        lock._heart.start()
        return lock

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # a network file system may fail for a moment: the next beat comes in seconds
                os.utime(self.descriptor)  # "now" of the file system's clock

    def held(self) -> bool:
        """False once it was released, or another took over since this process stood still for too long."""
        return not self._released.is_set() and _same(self.path, self.descriptor)

    def release(self) -> None:
        """Safe to repeat. A lock that another took over is left to it."""
        if self._released.is_set():
            return
        try:
            with suppress(FileNotFoundError), _guard(self.path.parent):  # the run folder may have been removed
                if self.held():
                    self.path.unlink()
        finally:
            self._released.set()
            if self._heart is not None:
                self._heart.join()  # before its descriptor may become another file's
            os.close(self.descriptor)


def remove_dead(folder: Path) -> None:
    """Removes the lock of a dead owner from a finished run, which nobody will open again to take it over."""
    with suppress(OSError), _guard(folder):
        found = owner(folder)
        if found is not None and not found.alive:
            (folder / "lock.json").unlink()


def _same(path: Path, descriptor: int) -> bool:
    """Whether the name still belongs to this open file."""
    try:
        with open(path, "rb") as file:  # to open is to ask the server; a stat may be a minute old
            return os.path.samestat(os.fstat(file.fileno()), os.fstat(descriptor))
    except OSError:  # removed; or, over NFS, our own file is no more (ESTALE)
        return False
