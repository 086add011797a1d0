"""The server's sweeps and their agents: `wandb sweep` registers one, `wandb agent` asks for runs until there are none.

A run that asked for it (mark_preempting) and did not end well is given out again before new points, as `resume`: at
once after a non-zero exit; after `lose`, at once too, where the server waits five minutes for a heartbeat.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import yaml

from tests.wandb_stub.nodes import ENTITY, project_node, sweep_node
from tests.wandb_stub.points import points
from tests.wandb_stub.runs import Run


@dataclass
class Sweep:
    """text: the YAML that `wandb sweep` sent, from which the agent takes `command`. waiting: runs to give out again."""

    id: str
    project: str
    text: str
    spec: dict
    points: Iterator[dict]
    waiting: list[str] = field(default_factory=list)
    state: str = "PENDING"

    @property
    def path(self) -> str:
        return f"{ENTITY}/{self.project}/{self.id}"


class SweepOperations:
    """One method a GraphQL operation, and what a test does to the server's runs."""

    runs: dict[str, Run]

    def __init__(self) -> None:
        self.sweeps: dict[str, Sweep] = {}
        self._sweep_of: dict[str, Sweep] = {}  # by agent
        self._stopping: set[str] = set()
        self._numbers = count(1)

    def create_sweep(self, config: str | dict, project: str = "study") -> Sweep:
        text = config if isinstance(config, str) else json.dumps(config)
        spec = yaml.safe_load(text)
        sweep = Sweep(f"sw{next(self._numbers)}", spec.get("project") or project, text, spec, points(spec))
        self.sweeps[sweep.id] = sweep
        return sweep

    def requeue(self, run: Run) -> None:
        run.state, run.preempting = "preempted", False
        self.sweeps[run.sweep].waiting.append(run.id)

    def lose(self, run: Run) -> None:
        """No heartbeat comes from this run any more."""
        run.state = "crashed"
        if run.preempting:
            self.requeue(run)

    def stop_run(self, run: Run) -> None:
        """The web page's button: its agent is told to end it."""
        self._stopping.add(run.id)

    def op_UpsertSweep(self, asked: dict) -> dict:
        sweep = self.create_sweep(asked["config"], asked.get("projectName") or "uncategorized")
        found = {"name": sweep.id, "project": project_node(sweep.project)}
        return {"upsertSweep": {"configValidationWarnings": [], "sweep": found}}

    def op_SweepWithRuns(self, asked: dict) -> dict:
        sweep = self.sweeps.get(asked.get("sweep") or asked["name"])
        return {"project": {"sweep": sweep and sweep_node(sweep, self.runs_of(sweep))}}

    op_GetSweep = op_GetSweepLegacy = op_SweepWithRuns

    def runs_of(self, sweep: Sweep) -> list[Run]:
        return [run for run in self.runs.values() if run.sweep == sweep.id]

    def op_CreateAgent(self, asked: dict) -> dict:
        agent, sweep = f"agent{next(self._numbers)}", self.sweeps[asked["sweep"]]
        self._sweep_of[agent], sweep.state = sweep, "RUNNING"
        return {"createAgent": {"agent": {"id": agent}}}

    def op_Heartbeat(self, asked: dict) -> dict:
        """An agent that runs nothing gets the next run, or `exit` where there is none left."""
        sweep, busy = self._sweep_of[asked["id"]], json.loads(asked.get("runState") or "{}")
        if busy:
            commands = [{"type": "stop", "run_id": run} for run in busy if run in self._stopping]
        elif sweep.waiting:
            commands = [self._command("resume", sweep, self.runs[sweep.waiting.pop(0)])]
        elif (point := next(sweep.points, None)) is not None:
            name = f"r{next(self._numbers)}"
            self.runs[name] = Run(name, sweep.project, sweep=sweep.id, state="pending", config=point)
            commands = [self._command("run", sweep, self.runs[name])]
        else:
            sweep.state, commands = "FINISHED", [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": asked["id"]}, "commands": json.dumps(commands)}}

    def _command(self, kind: str, sweep: Sweep, run: Run) -> dict:
        run.given_out += 1
        self._stopping.discard(run.id)
        args = {key: {"value": run.config[key]} for key in sweep.spec["parameters"]}
        return {"type": kind, "run_id": run.id, "program": sweep.spec.get("program"), "args": args}
