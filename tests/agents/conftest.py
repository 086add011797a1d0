"""Real `wandb sweep` and `wandb agent` processes, and the trainings they start, against a server on the loopback."""

import json
import os
import signal
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from scaling.schema import RECORDS, records
from scaling.status_file import read_status
from scaling.store_errors import StoreError
from tests.wandb_stub.agents import Agent, register
from tests.wandb_stub.runs import Run
from tests.wandb_stub.stub import WandbStub
from tests.wandb_stub.sweeps import Sweep

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["${env}", "${interpreter}", "-m", "scaling.train", "${args}"]
TINY = {
    "data.n_unique": 16,
    "data.holdout": 16,
    "data.duplication.design": "spectrum",
    "data.duplication.levels": 2,
    "train.images": 320,
    "train.batch_size": 8,
    "train.warmup_images": 64,
    "evaluate.at": [0, 64, 192, 320],
    "evaluate.samples": 8,
    "evaluate.sampler_steps": 4,
    "evaluate.draws": 2,
    "evaluate.basin_images": 4,
    "evaluate.prompts": 4,
    "evaluate.rounds": 1,
    "evaluate.measures": ["loss", "neighbors", "basin", "prompts"],
}
# Long enough between its last evaluations that W&B knows the run by then.
LONG = TINY | {"train.images": 6400, "evaluate.at": [0, 64, 192, 6400]}
GRID = {"model.width": [2, 3], "seed": [0, 1]}
# Python imports `sitecustomize` at the start of every process: the trainings themselves are unchanged.
WITNESS = """
    import atexit, json, os, sys

    @atexit.register
    def witness():
        if "scaling.train" in getattr(sys, "orig_argv", ()):
            line = {"flags": sys.argv[1:], "torch": "torch" in sys.modules, "run": os.environ.get("WANDB_RUN_ID")}
            with open(os.environ["WITNESS"], "a") as file:
                file.write(json.dumps(line) + "\\n")
"""


def sweep_file(folder: Path, fixed: Mapping[str, object], swept: Mapping[str, list], **more: object) -> Path:
    parameters = {key: {"value": value} for key, value in fixed.items()} | {k: {"values": v} for k, v in swept.items()}
    path = folder / f"sweep-{len(list(folder.glob('sweep-*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump({"method": "grid", "command": COMMAND, "parameters": parameters} | more))
    return path


class Fleet:
    """A server, a folder that agents share, and what happened there."""

    def __init__(self, stub: WandbStub, folder: Path) -> None:
        self.stub, self.folder, self.runs = stub, folder, folder / "runs"
        (folder / "witness").mkdir(parents=True)
        (folder / "witness" / "sitecustomize.py").write_text(textwrap.dedent(WITNESS))
        self.agents: list[Agent] = []

    def register(self, fixed: Mapping[str, object] = TINY, swept: Mapping[str, list] = GRID, **more: object) -> Sweep:
        return register(self.stub, sweep_file(self.folder, fixed, swept, **more), self.folder)

    def agent(self, sweep: Sweep, *options: str, **environment: str) -> Agent:
        path = os.pathsep.join([str(self.folder / "witness"), str(ROOT)])
        made = {"PYTHONPATH": path, "WITNESS": str(self.folder / "witness.jsonl")} | environment
        self.agents.append(Agent(self.stub, sweep, self.folder, *options, **made))
        return self.agents[-1]

    def processes(self) -> list[dict]:
        """Every scaling.train that ended by itself: its flags, whether it imported torch, its W&B run."""
        path = self.folder / "witness.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def records(self, run_id: str) -> list[dict]:
        return list(records(self.runs / run_id / RECORDS))

    def of(self, sweep: Sweep) -> list[Run]:
        return self.stub.runs_of(sweep)

    def in_the_middle(self, sweep: Sweep, folders: set[str]) -> Callable[[], tuple[Run, int] | None]:
        """For wait_for: (W&B run, process id) of a run not in `folders` with two or three of its four evaluations."""

        def found() -> tuple[Run, int] | None:
            known = {run.config.get("run_id"): run for run in self.of(sweep)}
            for path in self.runs.glob(f"*/{RECORDS}"):
                name = path.parent.name
                if name in known and name not in folders and path.read_text().count("\n") in (2, 3):
                    return known[name], read_status(path.parent)["pid"]
            return None

        return found

    def close(self) -> None:
        """End what is left of a failed test."""
        for agent in self.agents:
            agent.process.kill()
        for path in self.runs.glob("*/status.json"):
            try:
                status = read_status(path.parent)
            except StoreError:
                continue
            if status.get("state") == "running":
                try:
                    os.kill(status["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    continue


@pytest.fixture(scope="session")
def stub() -> Iterator[WandbStub]:
    with WandbStub() as server:
        yield server


@pytest.fixture(scope="session")
def shared(stub, tmp_path_factory) -> Iterator[tuple[Fleet, Sweep]]:
    """A grid of four cells, trained by two agents that share a folder."""
    fleet = Fleet(stub, tmp_path_factory.mktemp("shared"))
    try:
        sweep = fleet.register()
        for agent in [fleet.agent(sweep), fleet.agent(sweep)]:
            agent.end(600)  # some 15 s where nothing else runs
        yield fleet, sweep
    finally:
        fleet.close()
