import pytest

from scaling.config import build
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.sweep.grid import Cell
from scaling.sweep.queue import RETRIES, Job, Queue


@pytest.fixture
def job(tmp_path):
    config = build({"runtime": {"out": str(tmp_path)}})
    with RunStore.open(config) as store:
        return Job(Cell(config, store.run_id, "seed=0"), 1.0, "t")


def reaches(job, images_seen):
    with RunStore.open(job.cell.config) as store:
        store.set_status("running", images_seen=images_seen)
        store.set_status("interrupted")


def test_a_cell_whose_worker_dies_at_the_same_place_fails(job):
    told = []
    queue = Queue([job], told.append)
    for _ in range(RETRIES + 1):
        assert queue.take(set()) is job
        reaches(job, 640)
        queue.died(job, "its worker died")
    assert [event.kind for event in told] == ["killed", "killed", "failed"] and queue.take(set()) is None
    assert read_status(job.folder)["reason"] == "its worker died (3 times)"


def test_a_cell_that_goes_further_each_time_is_tried_on(job):
    """A machine that is taken away ten times is no fault of the cell."""
    queue = Queue([job], lambda event: None)
    for turn in range(10):
        assert queue.take(set()) is job
        reaches(job, 64 * (turn + 1))
        queue.died(job, "its machine is gone")
    assert queue.failed == [] and queue.pending == [job]


def test_what_never_began_is_not_counted(job):
    queue = Queue([job], lambda event: None)
    for _ in range(10):
        queue.returned(queue.take(set()))
    assert job.kills == 0 and queue.pending == [job]


def test_company_is_of_one_shape_affordable_free_and_trains_something_else(tmp_path):
    def made(seed: int, **more: object) -> Job:
        config = build({"seed": seed, "runtime": {"out": str(tmp_path)}})
        return Job(Cell(config, f"{seed:012x}", f"seed={seed}"), 1.0, f"t{seed}", **{"shape": "s", **more})

    first, same = made(0), made(1)
    others = [made(2, shape="other"), made(3, shape=None), made(4, kills=1), made(5, not_before=float("inf"))]
    twin, long, running = made(6), made(7), made(8)
    twin.train_id, long.seconds = "t1", 1e9
    last = made(9)
    queue = Queue([first, same, *others, twin, long, running, last], lambda event: None, budget_seconds=60)
    queue.pending.remove(first)
    assert queue.take_beside(first, 9, {"t0", "t8"}) == [same, last]
    assert {job.cell.label for job in queue.pending} == {f"seed={n}" for n in range(2, 9)}
    assert queue.take_beside(first, 0, {"t0"}) == [] and queue.take_beside(others[1], 3, set()) == []
