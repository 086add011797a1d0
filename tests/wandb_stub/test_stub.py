"""The real wandb client finds in the stub the server that it expects."""

import subprocess
import sys

from tests.wandb_stub.stub import WandbStub

SCRIPT = """
import wandb
wandb.setup(wandb.Settings(silent=True, console="off"))
assert wandb.login(prompt=False, verify=True)
run = wandb.init(id="cell", project="study", config={"width": 16}, group="g", tags=["t"], resume="allow")
run.log({"loss": 2.0})
run.log({"loss": 1.0})
run.finish(exit_code=3)
"""


def test_the_real_client_leaves_nothing_unanswered(tmp_path):
    with WandbStub() as stub:
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=stub.environ(WANDB_DIR=str(tmp_path)), timeout=60)
        run = stub.runs["cell"]
        assert (done.returncode, stub.unanswered) == (0, [])
        assert [row["loss"] for row in run.history] == [2.0, 1.0]
        assert (run.config["width"], run.summary["loss"], run.group, run.tags) == (16, 1.0, "g", ["t"])
        assert (run.project, run.state, run.exit_code) == ("study", "failed", 3)
