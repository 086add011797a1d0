"""The tables of a study made again from W&B are those of its run folders, all but pictures and per-image numbers."""

import subprocess
import sys

import pandas as pd
import pytest

from tests.agents.conftest import ROOT

pytestmark = pytest.mark.agent


def test_tables_from_wandb_equal_those_of_the_run_folders(shared, tmp_path):
    fleet, sweep = shared
    sources = {"folders": [str(fleet.runs)], "wandb": ["--wandb", sweep.path]}
    for name, source in sources.items():
        command = [sys.executable, "-m", "scaling.collect", *source, "--out", str(tmp_path / name)]
        done = subprocess.run(command, env=fleet.stub.environ(), cwd=ROOT, text=True, capture_output=True, timeout=180)
        assert (done.returncode, done.stderr) == (0, "")
    assert "pictures and per-image numbers are in run folders only" in done.stdout
    for table in ("evals", "strata", "noise_levels", "prompts"):
        first, second = (pd.read_parquet(tmp_path / name / f"{table}.parquet") for name in sources)
        assert len(first) >= 8
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert len(pd.read_parquet(tmp_path / "folders" / "images.parquet")) > 0
    assert len(pd.read_parquet(tmp_path / "wandb" / "images.parquet")) == 0
    assert fleet.stub.sampled == 0 and fleet.stub.unanswered == []
