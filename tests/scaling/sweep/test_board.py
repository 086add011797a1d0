import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from scaling.config import build
from scaling.sweep.board import Board, design, line
from scaling.sweep.engine import Worker
from scaling.sweep.grid import Cell
from scaling.sweep.queue import Event, Job

REST = "1:02:05 left (2.5 TFLOP, 300 kB)"


def worker(state, job=True, host=""):
    config = build({"data": {"n_unique": 128, "duplication": {"design": "spectrum", "levels": 4}}})
    cell = Cell(config, "0123456789ab", "model.width=16 [a]")
    made = Job(cell, 90.0, "t", flops=1e12, disk=10**5)
    return Worker(made if job else None, state, time.monotonic() - 30, host)


def pool(*workers, failed=(), signum=None):
    pending = [Job(None, 9.0, "u", flops=1.5e12, disk=2 * 10**5)]
    queue = SimpleNamespace(pending=pending, done=[1], failed=failed)
    return SimpleNamespace(workers=list(workers), queue=queue, signum=signum, seconds_left=3725.0)


STATE = {"images_seen": 1280, "images_total": 5120, "images_per_second": 987.6, "n_memorized": 3, "n_generated": 10}


DONE = {"wall_seconds": 61, "n_memorized": 0, "n_generated": 8}


def shown(terminal, *pools):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with Board(console, cells=5, done_before=1) as board:
        for one in pools:
            board.show(one)
    return console.file.getvalue()


def test_a_terminal_sees_every_worker():
    said = shown(True, pool(worker(STATE | {"seconds_left": 61.0}), worker({}), worker({}, job=False)))
    for part in (
        "0123456789ab",
        "[a]",
        "1,280 of 5,120",
        "988",
        "3/10",
        "1:01",
        "spectrum 4",
        "starting",
        "1:00",
        "idle",
    ):
        assert part in said, part
    assert "2 of 5 cells done, 1:02:05 left (3.5 TFLOP, 400 kB)" in said


def test_the_machine_stands_beside_the_cell_where_there_are_several():
    said = shown(True, pool(worker(STATE, host="node7"), worker({}, job=False, host="node8")))
    assert "host" in said and "node7" in said and "node8" in said
    assert "host" not in shown(True, pool(worker(STATE)))


def test_elsewhere_a_plain_line_every_ten_seconds():
    said = shown(False, pool(worker(STATE)), pool(worker(STATE)), pool(worker(STATE), failed=[1]))
    assert said == f"sweep: 2 of 5 cells done, {REST}; 0123456789ab model.width=16 [a] 25% memorized 3/10\n"


def test_while_stopping_no_time_is_promised():
    assert "2 of 5 cells done, 1 failed, stopping after the checkpoints" in shown(False, pool(failed=[1], signum=15))


@pytest.mark.parametrize(
    ("kind", "text", "status", "says"),
    [
        ("done", "", DONE, "done 0123456789ab model.width=16 [a] in 1:01, memorized 0/8"),
        ("done", "", {}, "done 0123456789ab model.width=16 [a]"),
        ("failed", "too odd", {}, "failed 0123456789ab model.width=16 [a]: too odd"),
        ("killed", "killed", {}, "again 0123456789ab model.width=16 [a]: killed"),
    ],
)
def test_ends_are_one_line(kind, text, status, says):
    assert line(Event(kind, worker({}).job, text, status)) == says


def test_a_word_on_a_machine_is_of_no_cell():
    said = "not used: node7 does not see the folder"
    assert line(Event("node", None, said)) == said


def test_designs_in_a_word():
    def of(**duplication):
        return design(build({"data": {"n_unique": 64, "duplication": duplication}}).data)

    assert of() == "none" and of(design="spectrum", levels=4) == "spectrum 4"
    assert of(design="uniform", fraction="1/4", copies=3) == "uniform 3"
    assert of(design="uniform", fraction="1/4", rate="1/2") == "uniform rate 1/2"
    assert of(design="strata", levels=[[32, 2], [32, 1]]) == "strata"
