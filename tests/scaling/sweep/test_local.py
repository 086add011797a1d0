import os
import resource
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scaling.config import load
from scaling.identity import run_id
from scaling.lock import owner
from scaling.machine import cores, default_workers, gpus
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.sweep.local import _death, _environment


def of_seed(runs, seed):
    """(state, reason) of the run with this seed."""
    config = load([f"--runtime.out={runs}", f"--seed={seed}"])
    status = read_status(Path(runs) / run_id(config))
    return status.get("state"), status.get("reason")


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def children(pid):
    """The worker processes of a driver."""
    found = subprocess.run(["ps", "-ww", "--ppid", str(pid), "-o", "pid=,args="], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "spawn_main" in line]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_failed_cell_is_told_and_kept_and_does_not_stop_the_others(sweep):
    made = sweep(4)
    code, said = made.run(FAKE="fail1")
    assert code == 1
    assert [of_seed(made.runs, seed)[0] for seed in range(4)] == ["done", "failed", "done", "done"]
    assert of_seed(made.runs, 1)[1] == "RuntimeError: the loss became odd"
    assert "4 cells: 3 done, 1 failed, 0 left" in said and "seed=1: RuntimeError: the loss became odd" in said
    assert "done" in said and "memorized 3/10" in said
    assert "RuntimeError: the loss\nbecame odd" in "".join(p.read_text() for p in (made.runs / ".workers").iterdir())
    # repeated: only what is not done, and what failed before is named
    code, said = made.run()
    assert code == 0 and made.trained() == [0, 1, 1, 2, 3]
    assert "failed before, tried again" in said


def test_a_killed_worker_is_replaced_and_its_cell_goes_on(sweep):
    made = sweep(3)
    code, said = made.run(FAKE="once1")
    assert code == 0 and made.trained() == [0, 1, 1, 2]
    assert "again" in said and "killed by SIGKILL (out of memory?)" in said
    assert {of_seed(made.runs, seed)[0] for seed in range(3)} == {"done"}


def test_cells_of_one_shape_share_a_worker_and_each_ends_for_itself(sweep):
    made = sweep(5)
    code, said = made.run("--workers=1", "--pack=3", FAKE="fail1")
    assert code == 1 and "5 cells: 4 done, 1 failed, 0 left" in said
    assert "the loss became odd" in said
    assert made.packs() == [3, 2] and made.trained() == [0, 1, 2, 3, 4]


def test_cells_whose_shared_worker_died_go_on_alone(sweep):
    """Which of them is at fault cannot be told: none takes another with it a second time."""
    made = sweep(2)
    code, said = made.run("--workers=1", "--pack=2", FAKE="once1")
    assert code == 0 and "2 cells: 2 done" in said
    assert said.count("sweep: again") == 1  # the other one was done by then
    assert made.packs() == [2, 1] and made.trained() == [0, 1, 1]


def test_a_cell_that_kills_its_workers_fails_after_three(sweep):
    made = sweep(2)
    code, said = made.run(FAKE="die1")
    assert code == 1 and made.trained() == [0, 1, 1, 1]
    state, reason = of_seed(made.runs, 1)
    assert state == "failed" and "killed by SIGKILL" in reason and "(3 times)" in reason and reason in said


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_workers_and_the_same_command_goes_on(sweep, signum, code):
    made = sweep(3)
    process = made.start(FAKE="hang0,hang1")
    until(lambda: set(made.trained()) >= {0, 1})
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(signum)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == code and "the same command goes on where it stopped" in said
    assert all(gone(pid) for pid in workers)
    assert [of_seed(made.runs, seed)[0] for seed in (0, 1)] == ["interrupted", "interrupted"]
    assert made.run()[0] == 0
    assert {of_seed(made.runs, seed)[0] for seed in range(3)} == {"done"}


def test_workers_die_with_their_driver(sweep):
    made = sweep(2)
    process = made.start(FAKE="hang0,hang1")
    until(lambda: set(made.trained()) == {0, 1})
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=20)
    until(lambda: all(gone(pid) for pid in workers))
    assert [of_seed(made.runs, seed)[0] for seed in (0, 1)] == ["interrupted", "interrupted"]
    assert not list(made.runs.glob("*/lock.json"))


def test_a_worker_told_to_end_again_and_again_ends_once_and_keeps_its_record(sweep):
    """A driver of several threads that is killed says it once a thread; a scheduler may repeat it as well."""
    made = sweep(1)
    process = made.start(FAKE="hang0")
    until(lambda: made.trained() == [0])
    (worker,) = children(process.pid)
    process.send_signal(signal.SIGSTOP)  # it would start the cell again
    with suppress(ProcessLookupError):
        while not gone(worker):
            os.kill(worker, signal.SIGTERM)
    process.kill()
    process.communicate(timeout=20)
    assert of_seed(made.runs, 0)[0] == "interrupted"
    assert not list(made.runs.glob("*/lock.json"))


def test_a_cell_that_somebody_else_writes_is_waited_for(sweep):
    made = sweep(2)
    config = load([f"--runtime.out={made.runs}", "--seed=0"])
    with RunStore.open(config) as store:
        process = made.start()
        until(lambda: of_seed(made.runs, 1)[0] == "done")
        assert made.trained() == [1] and process.poll() is None
        assert owner(store.folder).pid == os.getpid()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and made.trained() == [0, 1]
    assert f"waiting {store.run_id} seed=0: process {os.getpid()} on " in said


def test_two_sweeps_at_once_train_every_cell_once(sweep):
    made = sweep(8)
    processes = [made.start(FAKE_SECONDS="0.3") for _ in range(2)]
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert made.trained() == list(range(8))


def test_the_budget_leaves_what_would_end_later(sweep):
    made = sweep(2)
    code, said = made.run("--budget-hours=0.0001")
    assert code == 0 and made.trained() == [] and "0 done, 0 failed, 2 left" in said


ALL_DONE = """
import sys
from scaling.sweep.__main__ import main
code = main(["sweep.yaml", "--runtime.out=runs"])
assert code == 0 and "torch" not in sys.modules and "pandas" not in sys.modules
"""


def test_a_sweep_whose_cells_are_all_done_ends_at_once_without_torch(sweep):
    made = sweep(6)
    assert made.run()[0] == 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, said = made.run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert code == 0 and "all 6 cells are done" in said
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    )  # s of work, however busy the machine
    made.python(ALL_DONE)


def test_a_dry_run_shows_cells_cost_and_state_and_runs_nothing(sweep):
    made = sweep(3)
    code, said = made.run("--dry-run")
    assert code == 0 and made.trained() == [] and not made.runs.exists()
    assert said.count("pending") == 3 and "159,697" in said and "3 cells: 0 done, 3 to run" in said and "TFLOP" in said
    made.run(FAKE="fail2")
    code, said = made.run("--dry-run")
    assert "3 cells: 2 done, 1 to run" in said and "seed=2: RuntimeError: the loss became odd" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers=0"], "--workers: 0: a whole number of at least 1"),
        (["--engine=slurm"], "--engine"),
        (["--modle.width=3"], "scaling.sweep: sweep.yaml: modle.width: no such configuration key; did you mean model"),
        (["--runtime.out=sweep.yaml/runs"], "scaling.sweep: sweep.yaml/runs/.workers: cannot be written (Not a"),
        (["--ray-address=auto"], "scaling.sweep: --ray-address=auto: belongs to --engine ray"),
        (["--gpus-per-worker=1.5"], "--gpus-per-worker: 1.5: a share of one GPU like 1/4 or .25, or a whole number"),
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_one_line(sweep, options, says):
    code, said = sweep(1).run(*options)
    assert code == 2 and said.strip().splitlines()[-1].find(says) >= 0


def test_without_ray_its_engine_says_how_to_install_it(sweep):
    made = sweep(1)
    with open(made.folder / "fake" / "sitecustomize.py", "a") as file:
        file.write("\nsys.modules['ray'] = None  # as Python marks what cannot be imported\n")
    code, said = made.run("--engine=ray")
    assert (code, said) == (2, 'scaling.sweep: --engine ray: Ray is not installed; pip install -e ".[ray]"\n')


def test_cells_of_equal_training_are_not_trained_side_by_side(sweep):
    """The second of them waits, so that it can measure the first one's weights."""
    made = sweep(1)
    text = (made.folder / "sweep.yaml").read_text()
    (made.folder / "sweep.yaml").write_text(text + "  model.prune:\n    values: [0, 0.5]\n")
    process = made.start(FAKE="hang0")
    until(lambda: made.trained() == [0])
    time.sleep(1.5)
    assert made.trained() == [0]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)


BROKEN_DRIVER = """
from pathlib import Path
from scaling.config import train_id
from scaling.sweep.grid import expand
from scaling.sweep.local import Pool
from scaling.sweep.queue import Job, Queue

def show(pool):
    assert not all(worker.state for worker in pool.workers), "cannot show"

if __name__ == "__main__":
    Path("logs").mkdir()
    jobs = [Job(cell, 1.0, train_id(cell.config)) for cell in expand("sweep.yaml", ["--runtime.out=runs"]).cells]
    Pool(Queue(jobs, print), 2, logs=Path("logs"), show=show).run()
"""


def test_an_error_in_the_driver_ends_its_workers_after_their_checkpoints(sweep, monkeypatch):
    made = sweep(2)
    (made.folder / "driver.py").write_text(BROKEN_DRIVER)
    monkeypatch.setenv("FAKE", "hang0,hang1")
    start = time.monotonic()
    with pytest.raises(subprocess.CalledProcessError):
        made.python("import runpy; runpy.run_path('driver.py', run_name='__main__')")
    assert time.monotonic() - start < 40  # a hanging cell takes 60 s
    assert [of_seed(made.runs, seed)[0] for seed in (0, 1)] == ["interrupted", "interrupted"]


def test_workers_get_their_thread_and_gpu_variables_and_nobody_else(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with _environment(2, "1"):
        assert os.environ["OMP_NUM_THREADS"] == "2" and os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7" and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_default_workers_fill_the_cores_or_share_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == [] and default_workers({"auto"}, 1) == (cores(), [])
    assert default_workers({"auto"}, 10_000)[0] == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert gpus() == ["3", "5"] and default_workers({"auto"}, 1) == (min(cores(), 8), ["3", "5"])
    assert default_workers({"cpu"}, 1) == (cores(), [])


def test_a_death_is_described():
    assert _death(-9) == "killed by SIGKILL (out of memory?)"
    assert _death(-11) == "killed by SIGSEGV" and _death(143) == "ended with exit status 143"
