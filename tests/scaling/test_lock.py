import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import pytest

from scaling import lock
from scaling.lock import Held, Lock, file_clock, owner, remove_dead

SPAWN = multiprocessing.get_context("spawn")
TAKE = "import sys, pathlib, os; from scaling.lock import Lock; held = Lock.take(pathlib.Path(sys.argv[1])); "


def other(folder, then):
    """Another process that takes the lock and goes on with this code."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # to read from an open pipe is to wait
    process = subprocess.Popen([sys.executable, "-c", TAKE + then, str(folder)], text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


def left_behind(folder, **changes):
    """A lock file as another process wrote it."""
    with_own = Lock.take(folder)
    content = json.loads((folder / "lock.json").read_text())
    with_own.release()
    (folder / "lock.json").write_text(json.dumps(content | changes))


def test_a_live_process_keeps_its_lock(tmp_path):
    process = other(tmp_path, "print('held', flush=True); sys.stdin.read()")
    try:
        with pytest.raises(Held, match=f"process {process.pid} on "):
            Lock.take(tmp_path)
    finally:
        process.kill()
        process.wait()
    Lock.take(tmp_path).release()


def test_a_second_time_in_the_same_process_is_held_too(tmp_path):
    first = Lock.take(tmp_path)
    with pytest.raises(Held):
        Lock.take(tmp_path)
    first.release()
    Lock.take(tmp_path).release()


def test_a_killed_owner_is_taken_over_at_once(tmp_path):
    process = other(tmp_path, "print('held', flush=True); sys.stdin.read()")
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not waited for: a zombie holds nothing
    Lock.take(tmp_path).release()
    process.wait()


def test_a_pid_given_out_again_is_another_process(tmp_path):
    """The pid lives (it is ours), but its process started at another time than the one that took the lock."""
    left_behind(tmp_path, started=lock.process_started(os.getpid()) - 1)
    Lock.take(tmp_path).release()
    left_behind(tmp_path)
    with pytest.raises(Held):
        Lock.take(tmp_path)


@pytest.fixture
def quick_watch(monkeypatch):
    """A suspected owner is watched for a tenth of a second."""
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.1)


@pytest.mark.parametrize(("age", "alive"), [(100, True), (140, False)])
def test_another_machine_is_judged_by_its_heartbeat(tmp_path, quick_watch, age, alive):
    left_behind(tmp_path, host="far", machine="another boot", pid=1)
    beat = time.time() - age
    os.utime(tmp_path / "lock.json", (beat, beat))
    assert owner(tmp_path).alive == alive
    if alive:
        with pytest.raises(Held, match="process 1 on far"):
            Lock.take(tmp_path)
    else:
        Lock.take(tmp_path).release()


ON_ANOTHER_MACHINE = textwrap.dedent("""
    import sys
    from pathlib import Path
    from scaling import lock
    lock._machine = lambda: "another boot"
    lock.HEARTBEAT_SECONDS = float(sys.argv[2])
    held = lock.Lock.take(Path(sys.argv[1]))
    print("held", flush=True)
    sys.stdin.read()
    print(held.held(), flush=True)
""")


@contextmanager
def another_machine(folder, heartbeat):
    """A live owner whose pid means nothing here."""
    command = [sys.executable, "-c", ON_ANOTHER_MACHINE, str(folder), str(heartbeat)]
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


YEAR = 365 * 86400


@pytest.mark.parametrize("jump", [-10 * YEAR, -3600, -1, 0, 3600, 10 * YEAR])
def test_no_jump_of_this_hosts_clock_is_noticed(tmp_path, monkeypatch, jump):
    """Neither steals from the living nor spares the dead: only the clock of the file system is asked."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.1)
    with another_machine(tmp_path, heartbeat=60):
        assert owner(tmp_path).alive
        with pytest.raises(Held):
            Lock.take(tmp_path)
    os.utime(tmp_path / "lock.json", (now - 130, now - 130))
    assert not owner(tmp_path).alive
    Lock.take(tmp_path).release()


@pytest.mark.parametrize("jump", [-10 * YEAR, -60, 130, 10 * YEAR])
def test_a_jump_of_the_file_systems_clock_steals_from_no_living_owner(tmp_path, monkeypatch, jump):
    """Its heartbeat then seems far away from now, but it still comes: who watches sees it, whatever its date."""
    monkeypatch.setattr(lock, "file_clock", lambda folder: time.time() + jump)
    monkeypatch.setattr(lock, "WATCH_SECONDS", 5.0)
    with another_machine(tmp_path, heartbeat=0.2) as process:
        assert not owner(tmp_path).alive  # suspected
        started = time.monotonic()
        with pytest.raises(Held, match=f"process {process.pid} on "):
            Lock.take(tmp_path)
        assert time.monotonic() - started < 5
        said, _ = process.communicate("", timeout=20)
        assert said == "True\n"


@pytest.mark.parametrize("jump", [-10 * YEAR, -60, 130, 10 * YEAR])
def test_a_jump_of_the_file_systems_clock_keeps_no_dead_owner(tmp_path, quick_watch, monkeypatch, jump):
    with another_machine(tmp_path, heartbeat=60):
        pass
    monkeypatch.setattr(lock, "file_clock", lambda folder: time.time() + jump)
    Lock.take(tmp_path).release()


def test_the_file_systems_clock_is_that_of_its_files_and_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    (tmp_path / "now").touch()
    assert abs(file_clock(tmp_path) - (tmp_path / "now").stat().st_mtime) < 2
    assert [path.name for path in tmp_path.iterdir()] == ["now"]
    assert file_clock(tmp_path / "missing") == 0  # nothing can be written: this host's


def test_a_released_lock_leaves_only_the_guard(tmp_path):
    Lock.take(tmp_path).release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock.guard"]


def test_a_lost_answer_of_the_server_is_no_loss(tmp_path, monkeypatch):
    """Over NFS a link may be made and its answer lost; asked again, the server says that the name exists."""
    real = os.link

    def repeated(source, name):
        real(source, name)
        real(source, name)

    monkeypatch.setattr(os, "link", repeated)
    held = Lock.take(tmp_path)
    assert held.held()
    held.release()


def test_a_host_that_shares_no_file_locks_may_come_first(tmp_path, monkeypatch):
    """Between judging and linking; the later one sees a living owner and takes nothing."""
    real = os.link

    def overtaken(source, name):
        (tmp_path / "lock.json").write_text(json.dumps({"host": "far", "machine": "x", "pid": 7, "started": 1}))
        real(source, name)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(Held, match="process 7 on far"):
        Lock.take(tmp_path)
    assert json.loads((tmp_path / "lock.json").read_text())["pid"] == 7


def test_a_host_that_came_first_may_be_gone_again(tmp_path, monkeypatch):
    """Between linking and looking at the owner: the run is in use for this moment, not an AttributeError of None."""

    def overtaken(source, name):
        raise FileExistsError

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(Held, match="let it go meanwhile"):
        Lock.take(tmp_path)


def test_a_file_system_without_file_locks_is_said(tmp_path, monkeypatch):
    def refused(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    with pytest.raises(OSError, match=r"No locks available: this file system has no file locks \(flock\); mount it"):
        Lock.take(tmp_path)


def test_a_removed_folder_ends_the_lock_quietly(tmp_path):
    folder, before = tmp_path / "run", threading.active_count()
    folder.mkdir()
    held = Lock.take(folder)
    shutil.rmtree(folder)
    assert not held.held()
    held.release()
    assert threading.active_count() == before and not folder.exists()


def test_a_release_that_the_disk_refuses_still_ends_the_heartbeat(tmp_path, monkeypatch):
    """Else a warm worker would keep, by its pulse, a run that it has long left."""
    before = threading.active_count()
    held = Lock.take(tmp_path)

    def broken(file, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", broken)
    with pytest.raises(OSError, match="Input/output error"):
        held.release()
    assert threading.active_count() == before and not held.held()


def test_only_the_dead_are_removed_from_a_finished_run(tmp_path):
    held = Lock.take(tmp_path)
    remove_dead(tmp_path)
    assert held.held()
    held.release()
    left_behind(tmp_path, started=1)
    remove_dead(tmp_path)
    assert not (tmp_path / "lock.json").exists()
    remove_dead(tmp_path / "missing")


def test_heartbeat_refreshes_the_lock_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    held = Lock.take(tmp_path)
    os.utime(tmp_path / "lock.json", (1, 1))
    time.sleep(0.2)
    assert (tmp_path / "lock.json").stat().st_mtime > time.time() - 5
    held.release()
    assert not (tmp_path / "lock.json").exists() and not held._heart.is_alive()


def test_who_was_taken_over_notices_and_leaves_the_new_lock_alone(tmp_path, quick_watch):
    """This process stood still for longer than a foreign one waits; its machine is unknown to the taker."""
    old = Lock.take(tmp_path)
    content = json.loads((tmp_path / "lock.json").read_text())
    (tmp_path / "lock.json").write_text(json.dumps(content | {"machine": "another boot"}))
    os.utime(tmp_path / "lock.json", (1, 1))
    new = Lock.take(tmp_path)
    assert not old.held() and new.held()
    old.release()
    assert new.held() and (tmp_path / "lock.json").exists()
    new.release()


def test_a_foreign_file_under_the_name_is_waited_for_and_then_replaced(tmp_path, quick_watch):
    (tmp_path / "lock.json").write_text("[]")
    with pytest.raises(Held, match="unknown host"):
        Lock.take(tmp_path)
    os.utime(tmp_path / "lock.json", (1, 1))
    Lock.take(tmp_path).release()


def _compete(folder, barrier, winners, rounds):
    for _ in range(rounds):
        barrier.wait(30)  # the dead owner's lock is there
        held = None
        try:
            held = Lock.take(folder)
            winners.put(os.getpid())
        except Held:
            pass
        barrier.wait(30)
        if held:
            held.release()
        barrier.wait(30)


def test_of_many_that_find_a_dead_owner_exactly_one_wins(tmp_path):
    rounds, takers = 40, 5
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    barrier, winners = SPAWN.Barrier(takers + 1), SPAWN.Queue()
    shared = (tmp_path, barrier, winners, rounds)
    processes = [SPAWN.Process(target=_compete, args=shared, daemon=True) for _ in range(takers)]
    for process in processes:
        process.start()
    for _ in range(rounds):
        left_behind(tmp_path, pid=dead.pid)
        barrier.wait(30)
        barrier.wait(30)
        winners.get(timeout=5)
        assert winners.empty()
        barrier.wait(30)
    for process in processes:
        process.join()


def _hold_often(folder, seed, seconds, report):
    """Takes the lock again and again; while it is held nobody else may be inside. Some die inside."""
    rng, end, held_times = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            held = Lock.take(folder)
        except Held:
            continue
        inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)  # FileExistsError: two are inside
        time.sleep(rng.random() * 0.002)
        os.close(inside)
        os.unlink(folder / "inside")
        held_times += 1
        if rng.random() < 0.1:
            report.put(held_times)
            report.close()
            report.join_thread()
            os._exit(0)  # dies with the lock
        held.release()
    report.put(held_times)


def test_never_are_two_inside(tmp_path):
    report = SPAWN.Queue()
    processes = [
        SPAWN.Process(target=_hold_often, args=(tmp_path, seed, 2.0, report), daemon=True) for seed in range(6)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert sum(report.get(timeout=5) for _ in processes) > 20
