"""The real command line of wandb against the stub: `wandb sweep`, and `wandb agent` with less time between polls."""

import subprocess
import sys
from pathlib import Path

from tests.wandb_stub.stub import WandbStub
from tests.wandb_stub.sweeps import Sweep

POLL_SECONDS = 0.2
# The time between polls is 5 s, an attribute of a class that no option sets.
COMMAND = """
import sys, wandb.wandb_agent
wandb.wandb_agent.Agent.POLL_INTERVAL = float(sys.argv.pop(1))
from wandb.cli.cli import cli
cli(prog_name="wandb")
"""


def environ(stub: WandbStub, **more: str) -> dict[str, str]:
    """The stub's, with this interpreter as `python`: what ${interpreter} of a sweep's command becomes."""
    made = stub.environ(**more)
    return made | {"PATH": f"{Path(sys.executable).parent}:{made['PATH']}"}


def register(stub: WandbStub, file: Path | str, cwd: Path) -> Sweep:
    """`wandb sweep FILE` -> the sweep that the server has of it."""
    before = set(stub.sweeps)
    command = [sys.executable, "-m", "wandb", "sweep", "--project", "study", str(file)]
    done = subprocess.run(command, cwd=cwd, env=environ(stub), text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (new,) = set(stub.sweeps) - before
    assert f"wandb agent {stub.sweeps[new].path}" in done.stderr
    return stub.sweeps[new]


class Agent:
    """A `wandb agent` process; what it and its runs print is in the file `log`."""

    def __init__(self, stub: WandbStub, sweep: Sweep | str, cwd: Path, *options: str, **more: str) -> None:
        self.log = cwd / f"agent-{len(list(cwd.glob('agent-*.log')))}.log"
        path = sweep if isinstance(sweep, str) else sweep.path
        command = [sys.executable, "-c", COMMAND, str(POLL_SECONDS), "agent", *options, path]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environ(stub, **more), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, seconds: float = 120) -> str:
        """What was printed, once the agent has ended by itself; raises AssertionError if it does not."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"agent still busy after {seconds:g} s:\n{self.log.read_text()}") from None
        return self.log.read_text()
