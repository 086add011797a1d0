"""Agents in a world that is not as it should be: no program, somebody else's sweep, a server that comes and goes."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.agents.conftest import LONG, Fleet
from tests.wandb_stub.agents import environ
from tests.wandb_stub.stub import WandbStub

pytestmark = pytest.mark.agent
SEEDS = {"seed": [0, 1, 2, 3]}


@pytest.fixture
def fleet(tmp_path) -> Iterator[Fleet]:
    with WandbStub() as stub:
        made = Fleet(stub, tmp_path)
        try:
            yield made
        finally:
            made.close()


def test_a_program_that_does_not_exist_ends_the_agent(fleet):
    """W&B's own rule: three failures in the first minute. Nothing of ours is started, and nothing left behind."""
    sweep = fleet.register(swept=SEEDS, command=["${env}", "no-such-program", "${args}"])
    said = fleet.agent(sweep).end()
    assert said.count("no-such-program") >= 3 and "Detected 3 failed runs in the first 60 seconds" in said
    assert len(fleet.of(sweep)) == 3 and not any(run.opened for run in fleet.of(sweep))
    assert not fleet.runs.exists()


@pytest.mark.slow
def test_a_sweep_of_another_project_is_one_line_a_run(fleet):
    sweep = fleet.register({"epochs": 3}, {"learning_rate": [0.1, 0.2, 0.3, 0.4]})
    said = fleet.agent(sweep).end()
    assert said.count("scaling.train: epochs: no such configuration key; did you mean train.epochs?\n") == 3
    assert "Traceback" not in said and "Detected 3 failed runs" in said
    assert not fleet.runs.exists() and not any(run.opened for run in fleet.of(sweep))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["start", "middle", "end"])
def test_a_run_outlives_the_server_and_says_how_to_send_it(fleet, when):
    """The line's command, given once the server is back, brings the whole history under the agent's run.

    `wandb sync` sends rows again that had arrived before; scaling.collect counts an evaluation once.
    """
    stub = fleet.stub
    sweep = fleet.register(LONG, {"seed": [0]})
    agent = fleet.agent(sweep)
    stub.wait_for(lambda: fleet.of(sweep), 60)
    if when != "start":
        stub.wait_for(fleet.in_the_middle(sweep, set()), 180)
    if when == "end":
        stub.wait_for(lambda: any(path.read_text().count("\n") == 4 for path in fleet.runs.glob("*/evals.jsonl")), 180)
    stub.stopped = True
    stub.wait_for(fleet.processes, 300)
    stub.stopped = False
    said = agent.end()
    (run,) = fleet.of(sweep)
    (folder,) = fleet.runs.glob("[0-9a-f]*")
    assert [record["evals"]["images_seen"] for record in fleet.records(folder.name)] == LONG["evaluate.at"]
    assert f"run {folder.name} done" in said
    (command,) = re.findall(r"W&B: .*; to send it: (wandb sync .*)\n", said)
    env = environ(stub, WANDB_DIR=str(fleet.folder))
    subprocess.run(command, shell=True, cwd=fleet.folder, env=env, check=True, capture_output=True, timeout=120)
    assert sorted({row["images_seen"] for row in run.history}) == LONG["evaluate.at"]
    assert run.config["run_id"] == folder.name
