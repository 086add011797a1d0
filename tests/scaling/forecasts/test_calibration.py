import json
from dataclasses import replace

import numpy as np
import pytest

from scaling.forecasts import timed_runs
from scaling.forecasts.calibration import Calibration, calibrate
from scaling.forecasts.cost_model import Timing
from scaling.forecasts.run_work import run_work
from scaling.forecasts.server_core import START_SECONDS
from scaling.forecasts.timed_runs import Run, finished_runs, newest
from scaling.forecasts.timing_cache import cache_file, remember
from scaling.identity import cell_id
from scaling.runtime import RuntimeConfig
from tests.scaling.forecasts.runs import KNOWN, configured, finish

CPU = RuntimeConfig(device="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_runs_of_this_machine_are_read_as_they_were_timed(tmp_path):
    config = configured(tmp_path / "runs")
    finish(config, 3 * KNOWN)
    (run,) = finished_runs(tmp_path / "runs", CPU, newest(tmp_path / "runs"))
    work = run_work(config)
    assert (run.cell_id, run.timing.amounts.tolist()) == (cell_id(config), work.stretches().tolist())
    assert run.timing.seconds == pytest.approx(work.stretches() @ KNOWN * 3)
    assert calibrate(tmp_path / "runs", CPU).words == "1 finished run of this machine"


@pytest.mark.parametrize(
    "status",
    [
        {"host": "elsewhere"}, {"device": "cuda"}, {"threads": 2}, {"state": "running"}, {"science_version": 1},
        {"state": "nonsense"},
    ],
)  # fmt: skip
def test_runs_that_say_nothing_of_this_machine_do_not_count(tmp_path, status):
    finish(configured(tmp_path, seed=0), **status)
    finish(configured(tmp_path, seed=1), device="cpu", threads=1)
    assert len(finished_runs(tmp_path, CPU, newest(tmp_path))) == 1


def test_where_a_gpu_may_have_been_used_an_unknown_device_does_not_count(tmp_path, monkeypatch):
    finish(configured(tmp_path))
    monkeypatch.setattr(timed_runs, "gpus", lambda: ["0"])
    names = newest(tmp_path)
    assert len(names) == 1
    assert finished_runs(tmp_path, CPU, names) == finished_runs(tmp_path, RuntimeConfig(device="cuda"), names) == []


def test_of_runs_that_share_a_training_the_first_counts(tmp_path):
    """The other one measured its weights: its seconds say nothing of training."""
    first = finish(configured(tmp_path))
    second = finish(configured(tmp_path, model={"width": 8, "prune": 0.5}), KNOWN / 9)
    assert [run.run_id for run in finished_runs(tmp_path, CPU, newest(tmp_path))] == [first.name] != [second.name]


FOREIGN = [b"", b"{}\n", b'{"evals": {"schema_version": 1}}\n', b"\xff\xfe\n", b'{"evals": 3}\n']


@pytest.mark.parametrize("content", FOREIGN)
def test_a_foreign_file_among_the_runs_is_passed_over(tmp_path, content):
    folder = finish(configured(tmp_path))
    (folder / "evals.jsonl").write_bytes(content)
    finish(configured(tmp_path, seed=1))
    assert len(finished_runs(tmp_path, CPU, newest(tmp_path))) == 1


def test_a_new_folder_starts_from_earlier_sweeps(tmp_path):
    finish(configured(tmp_path / "old"), 3 * KNOWN)
    old = calibrate(tmp_path / "old", CPU)
    finish(configured(tmp_path / "short", width=4), KNOWN / 100)
    remember(
        [*old.runs.values(), *finished_runs(tmp_path / "short", CPU, newest(tmp_path / "short"))], CPU
    )  # what was over at once tells nothing
    new = calibrate(tmp_path / "new", CPU)
    assert new.words == old.words and new.model.costs == pytest.approx(old.model.costs)
    assert calibrate(tmp_path / "new", RuntimeConfig(device="cpu", threads=2)).runs == {}


@pytest.mark.parametrize("damage", ["torn", "version", "negative", "shape", "folder"])
def test_a_damaged_cache_is_none(tmp_path, damage):
    finish(configured(tmp_path / "old"), 9 * KNOWN)
    remember(finished_runs(tmp_path / "old", CPU, newest(tmp_path / "old")), CPU)
    path = cache_file(CPU)
    content = json.loads(path.read_text())
    if damage == "version":
        content["version"][0] += 1
    elif damage == "negative":
        content["runs"][0]["seconds"][0] = -1
    elif damage == "shape":
        content["runs"][0]["amounts"][0].pop()
    path.write_text(json.dumps(content)[: 99 if damage == "torn" else None])
    if damage == "folder":
        path.unlink()
        path.mkdir()
    assert calibrate(tmp_path / "new", CPU).runs == {}
    remember(finished_runs(tmp_path / "old", CPU, newest(tmp_path / "old")), CPU)  # and is made anew, where it can be
    assert len(calibrate(tmp_path / "new", CPU).runs) == (damage != "folder")


def test_a_replicate_says_it_directly(tmp_path):
    """Two seeds took 10 and 12 times what the constants say: the third will take their geometric mean."""
    costs, configs = (10 * KNOWN, 12 * KNOWN), [configured(tmp_path, seed=seed) for seed in range(3)]
    for config, cost in zip(configs, costs, strict=False):
        finish(config, cost)
    finish(configured(tmp_path, width=16), KNOWN)
    found, amounts = calibrate(tmp_path, CPU), run_work(configs[2]).total()
    seconds = found.seconds(cell_id(configs[2]), amounts)
    assert seconds.value == pytest.approx(120**0.5 * amounts @ KNOWN + START_SECONDS)
    assert seconds.lo < 10.5 * amounts @ KNOWN and 11.5 * amounts @ KNOWN < seconds.hi
    other = run_work(configured(tmp_path, width=12))
    assert found.seconds("unknown", other.total()) == found.model.seconds(other.total())


def test_equal_runs_that_differ_much_widen_the_range():
    def of(factors):
        amounts = run_work(configured("runs")).stretches()
        timing = Timing(amounts, amounts @ KNOWN)
        timings = [replace(timing, seconds=timing.seconds * factor) for factor in factors]
        runs = [Run(str(at), "c", timing) for at, timing in enumerate(timings)]
        return Calibration.of(runs).seconds("c", amounts.sum(axis=0))

    narrow, wide = of([1, 1.02, 0.98, 1]), of([1, 2, 0.5, 1])
    assert np.log(wide.hi / wide.lo) > 3 * np.log(narrow.hi / narrow.lo)
