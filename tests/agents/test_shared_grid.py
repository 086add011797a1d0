"""Two agents on one grid: what arrives at W&B, and what is in the run folder."""

import json
from collections import Counter
from math import isfinite

import pytest

from scaling.config import load
from scaling.identity import canonical, cell_id
from scaling.schema import NESTED
from scaling.store import RunStore
from scaling.sweep.grid import expand
from tests.agents.conftest import GRID, TINY

pytestmark = pytest.mark.agent


def config_of(process: dict):
    return load(process["flags"])


def test_each_cell_is_given_out_and_trained_once(shared):
    fleet, sweep = shared
    cells = expand(fleet.folder / "sweep-0.yaml").cells
    assert Counter(run.config["run_id"] for run in fleet.of(sweep)) == Counter(cell.run_id for cell in cells)
    assert {run.given_out for run in fleet.of(sweep)} == {1}
    ended = [process for process in fleet.processes() if process["run"] in {run.id for run in fleet.of(sweep)}]
    assert (len(ended), all(process["torch"] for process in ended)) == (4, True)
    assert sorted(path.name for path in fleet.runs.glob("*/")) == sorted([*(cell.run_id for cell in cells), ".trained"])
    assert all(agent.process.returncode == 0 for agent in fleet.agents[:2])
    assert all(" Cleaning up finished run" in agent.log.read_text() for agent in fleet.agents[:2])  # both worked


def test_a_run_arrives_whole(shared):
    """Nested configuration, group, job type and tags; every record, its numbers, and images_seen as their axis."""
    fleet, sweep = shared
    assert fleet.stub.unanswered == []
    for run in fleet.of(sweep):
        config = load([f"--{key}={run.config[key]}" for key in [*TINY, *GRID]])
        expected = json.loads(canonical(config))
        assert {name: run.config[name] for name in expected} == expected
        assert (run.state, run.exit_code, run.project) == ("finished", 0, "study")
        assert (run.group, run.job_type, run.tags) == (cell_id(config), "train", ["digits", "unet", "spectrum"])
        assert run.metrics[next(m for m in run.metrics if m.get("2") == "*")["5"] - 1]["1"] == "images_seen"
        on_disk = fleet.records(run.config["run_id"])
        assert [row["images_seen"] for row in run.history] == TINY["evaluate.at"]
        for row, record in zip(run.history, on_disk, strict=True):
            present = {name: value for name, value in record["evals"].items() if value is not None}
            assert json.loads(row["record"])["evals"] == present
            assert {table: len(json.loads(row["record"])[table]) for table in NESTED} == {
                table: len(record[table]) for table in NESTED
            }
            assert row["seen_loss"] == record["evals"]["seen_loss"] and isfinite(row["seen_loss"])
            assert row["strata/2/n_hits"] == record["strata"][1]["n_hits"]
        assert run.summary["n_memorized"] == on_disk[-1]["evals"]["n_memorized"]
        assert RunStore.finished(config.model_copy(update={"runtime": config.runtime.model_copy(
            update={"out": str(fleet.runs)})}))  # fmt: skip


def test_a_cell_given_out_again_is_logged_from_the_store(shared):
    """Another sweep over the same cell: the same history, no torch, and the run folder untouched."""
    fleet, sweep = shared
    first = fleet.of(sweep)[0]
    run_id = first.config["run_id"]
    again = fleet.register(swept={key: [first.config[key]] for key in GRID})
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (fleet.runs / run_id).rglob("*.*")}
    said = fleet.agent(again).end()
    (run,) = fleet.of(again)
    assert "is done: 320 images seen" in said
    assert [process["torch"] for process in fleet.processes() if process["run"] == run.id] == [False]
    assert [json.loads(row["record"]) for row in run.history] == [json.loads(row["record"]) for row in first.history]
    assert (run.state, run.config["run_id"]) == ("finished", run_id)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (fleet.runs / run_id).rglob("*.*")}
    assert after == before
