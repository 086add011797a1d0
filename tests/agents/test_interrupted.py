"""A run that is killed or stopped in its middle is given out again, and ends as if nothing had happened."""

import json
import os
import signal

import pytest

from scaling.config import build
from scaling.store import RunStore
from scaling.training.run import train
from tests.agents.conftest import LONG, Fleet

pytestmark = [pytest.mark.agent, pytest.mark.slow]


@pytest.fixture(scope="module")
def disturbed(stub, tmp_path_factory):
    """Two cells in a folder: one killed by SIGKILL, one ended by the stop button."""
    fleet = Fleet(stub, tmp_path_factory.mktemp("disturbed"))
    try:
        sweep = fleet.register(LONG, {"model.width": [2], "seed": [0, 1]})
        agent = fleet.agent(sweep, WANDB_AGENT_KILL_DELAY="600")  # a loaded machine may need more than its 30 s
        run, pid = stub.wait_for(fleet.in_the_middle(sweep, set()), 300)
        with stub.lock:  # the agent is answered after the server knows
            os.kill(pid, signal.SIGKILL)
            killed = run.config["run_id"]
            stub.lose(run)
        run, pid = stub.wait_for(fleet.in_the_middle(sweep, {killed}), 300)
        os.kill(pid, signal.SIGSTOP)  # until the agent has told it to end: nothing hangs on who is faster
        stopped = run.config["run_id"]
        stub.stop_run(run)
        stub.wait_for(lambda: f"Stop: {run.id}" in agent.log.read_text(), 30)
        states = []
        os.kill(pid, signal.SIGCONT)
        stub.wait_for(lambda: states.append((run.state, run.exit_code)) or run.given_out == 2, 300)
        said = agent.end(600)
        yield fleet, sweep, {"killed": killed, "stopped": stopped}, states, said
    finally:
        fleet.close()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_it_ends_with_the_records_of_an_undisturbed_run(disturbed, tmp_path, how):
    fleet, _, ids, _, said = disturbed
    found = fleet.records(ids[how])
    config = build({**json.loads(found[0]["evals"]["config"]), "runtime": {"out": str(tmp_path), "progress": False}})
    with RunStore.open(config) as store:
        train(config, store)
    undisturbed = store.records()
    for record in [*undisturbed, *found]:
        del record["evals"]["wall_seconds"]
    assert found == undisturbed
    assert f"run {ids[how]} done" in said


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_its_history_is_complete_and_without_doubled_rows(disturbed, how):
    fleet, sweep, ids, _, _ = disturbed
    (run,) = [run for run in fleet.of(sweep) if run.config["run_id"] == ids[how]]
    assert [row["images_seen"] for row in run.history] == LONG["evaluate.at"]
    assert [json.loads(row["record"])["evals"]["wall_seconds"] for row in run.history] == [
        record["evals"]["wall_seconds"] for record in fleet.records(ids[how])
    ]
    assert (run.state, run.exit_code, run.given_out, fleet.stub.unanswered) == ("finished", 0, 2, [])


def test_the_stop_button_leaves_a_checkpoint_and_a_run_to_give_out_again(disturbed):
    """Exit status 143 = 128 + SIGTERM; the second process goes on at or after the evaluation, not at 0."""
    fleet, sweep, ids, states, said = disturbed
    (run,) = [run for run in fleet.of(sweep) if run.config["run_id"] == ids["stopped"]]
    assert ("preempted", 143) in states
    assert [process["torch"] for process in fleet.processes() if process["run"] == run.id] == [True, True]
    assert said.count(f"run {ids['stopped']}          0 of 6,400 images") == 1
