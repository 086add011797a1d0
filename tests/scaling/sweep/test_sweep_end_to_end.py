"""Real training, tiny: from a sweep file to tables, with an interruption in the middle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scaling.collect import main as collect
from scaling.schema import RECORDS
from scaling.status_file import read_status

ROOT = Path(__file__).parents[3]
VALUES = {
    "data.n_unique": 32, "data.holdout": 32, "train.images": 1280, "evaluate.at": 2, "evaluate.samples": 8,
    "evaluate.sampler_steps": 4, "evaluate.draws": 2,
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """A folder with a sweep of two cells that share their training: one is pruned when it is measured."""
    parameters = {key: {"value": value} for key, value in VALUES.items()} | {
        "model.width": {"value": 2},
        "model.prune": {"values": [0, 0.5]},
        "seed": {"value": 1},
    }
    command = ["${env}", "${interpreter}", "-m", "scaling.train", "${args}"]
    sweep = {"method": "grid", "command": command, "parameters": parameters}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    return tmp_path


def start(study, out, *flags):
    command = [sys.executable, "-m", "scaling.sweep", "sweep.yaml", f"--runtime.out={out}", "--workers=1", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=study, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )  # fmt: skip


def records(out):
    """All rows but the clock's."""
    made = pd.read_parquet(out / "evals.parquet").drop(columns="wall_seconds")
    return made.sort_values(["run_id", "images_seen"]).reset_index(drop=True)


@pytest.mark.slow
def test_a_sweep_killed_in_the_middle_ends_with_the_rows_of_an_undisturbed_one(study):
    process = start(study, "runs")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "2 cells: 2 done, 0 failed, 0 left" in said, said

    process = start(study, "killed")
    end = time.monotonic() + 60
    while not list((study / "killed").glob(f"*/{RECORDS}")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert {read_status(path.parent)["state"] for path in (study / "killed").glob("*/status.json")} <= {
        "interrupted",
        "done",
    }
    process = start(study, "killed")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said

    for name in ("runs", "killed"):
        assert collect([str(study / name), "--out", str(study / "tables" / name)]) == 0
    undisturbed, resumed = records(study / "tables" / "runs"), records(study / "tables" / "killed")
    pd.testing.assert_frame_equal(resumed, undisturbed)

    assert len(undisturbed.run_id.unique()) == 2 and set(undisturbed.images_seen) == {0, 64, 1280}
    # prune is not in train_id: the pruned runs measured the weights of the others, with the same optimised loss
    assert len(undisturbed.train_id.unique()) == 1
    by_training = undisturbed[undisturbed.images_seen == 1280].groupby("train_id").train_loss
    assert (by_training.nunique() == 1).all()
    assert len(list((study / "runs").glob("*/checkpoints"))) == 0
