"""Every file of sweeps/ as it is: registered by `wandb sweep`, given out as by the server, started as by an agent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.config import ConfigError, load
from scaling.identity import run_id
from scaling.sweep.grid import expand
from tests.wandb_stub.agents import environ
from tests.wandb_stub.points import points

pytestmark = pytest.mark.agent
ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
# The command line's own function, for all files in one process: importing wandb takes longer than registering.
REGISTER = """
import sys
from wandb.cli.cli import cli
for file in sys.argv[1:]:
    cli(["sweep", "--project", "study", file], standalone_mode=False)
"""
# What an agent runs for these answers of the server: its own code up to the point where it starts a process.
COMMANDS = """
import json, os, sys, wandb.wandb_agent as agent
started = []
class Process:
    def __init__(self, command, **more):
        started.append(command)
agent.AgentProcess = Process
one = agent.Agent(None, None)
for text, answers in json.load(sys.stdin):
    one._sweep_command = list(text)
    for answer in answers:
        one._command_run(answer)
    print(json.dumps(started))
    started.clear()
"""


@pytest.fixture(scope="module")
def commands(stub, tmp_path_factory):
    """File name -> the command lines that agents start for its points."""
    folder, before = tmp_path_factory.mktemp("files"), set(stub.sweeps)
    env = environ(stub, WANDB_DIR=str(folder), WANDB_SWEEP_ID="sw")
    subprocess.run([sys.executable, "-c", REGISTER, *SWEEPS], cwd=ROOT, env=env, check=True, capture_output=True)
    sweeps = [stub.sweeps[name] for name in stub.sweeps if name not in before]
    assert stub.unanswered == []
    asked = []
    for sweep in sweeps:
        args = ({key: {"value": value} for key, value in point.items()} for point in points(sweep.spec))
        answers = [{"type": "run", "run_id": f"r{at}", "program": None, "args": each} for at, each in enumerate(args)]
        asked.append((sweep.spec["command"], answers))
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], cwd=folder, env=env, input=json.dumps(asked), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip((path.name for path in SWEEPS), map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_agents_start_exactly_the_cells_of_the_file(commands, path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = []
    for command in commands[path.name]:
        assert command[:4] == ["/usr/bin/env", "python", "-m", "scaling.train"]
        found.append(run_id(load(command[4:])))
    cells = [cell.run_id for cell in expand(path).cells]
    assert (len(found), set(found)) == (len(cells), set(cells))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--model.width=8.0", 8),
        ("--train.lr=0.00031622776601683794", 0.00031622776601683794),
        ("--train.lr=1e-05", 1e-5),
        ("--data.noise_draws=None", None),
        ("--data.keys=True", True),
        ("--data.duplication={'design': 'uniform', 'fraction': 0.5, 'copies': 2}", 2),
    ],
)
def test_values_as_a_server_sends_them(flag, value):
    """Whole numbers that became floats, Python's None and True, and a nested parameter as its mapping."""
    found = load([flag]).model_dump()
    for name in flag.partition("=")[0][2:].split("."):
        found = found[name]
    assert (found["copies"] if isinstance(found, dict) else found) == value


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model.width=8.4"], "model.width=8.4: Input should be a valid integer"),
        (["--train.lr=-0.1"], "train.lr=-0.1: Input should be greater than 0"),
        (["--learning_rate=0.1"], "learning_rate: no such configuration key"),
        (["--data.fold={'index': 1, 'off': 2}"], "data.fold.off: no such configuration key"),
    ],
)
def test_a_value_that_is_none_of_ours_is_one_line(flags, says):
    with pytest.raises(ConfigError) as error:
        load(flags)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)
