import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from scaling import lock
from scaling.lock import Held, Lock, owner

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


@pytest.mark.parametrize(("age", "alive"), [(100, True), (140, False)])
def test_another_machine_is_judged_by_its_heartbeat(tmp_path, age, alive):
    left_behind(tmp_path, host="far", machine="another boot", pid=1)
    beat = time.time() - age
    os.utime(tmp_path / "lock.json", (beat, beat))
    assert owner(tmp_path).alive == alive
    if alive:
        with pytest.raises(Held, match="process 1 on far"):
            Lock.take(tmp_path)
    else:
        Lock.take(tmp_path).release()


def test_heartbeat_refreshes_the_lock_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    held = Lock.take(tmp_path)
    os.utime(tmp_path / "lock.json", (1, 1))
    time.sleep(0.2)
    assert (tmp_path / "lock.json").stat().st_mtime > time.time() - 5
    held.release()
    assert not (tmp_path / "lock.json").exists() and not held._heart.is_alive()


def test_who_was_taken_over_notices_and_leaves_the_new_lock_alone(tmp_path):
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


def test_a_foreign_file_under_the_name_is_waited_for_and_then_replaced(tmp_path):
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
