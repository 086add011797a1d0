"""Tiny finished runs, exported once: a plain one; one with labels, attention, pruning, a fold and 3 of its 4 skips."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from scaling.config import load
from scaling.data.sources import load_images
from scaling.data.training_set import assemble
from scaling.export.__main__ import main
from scaling.training.bench import Bench
from tests.scaling.tiny_run import FLAGS, trained

TINY = [
    *FLAGS, "--train.images=512", "--evaluate.draws=4", "--evaluate.measures=[loss,neighbors,basin]",
    "--evaluate.basin_images=6",
]  # fmt: skip
LABELLED = [
    "--data.conditioning=class", "--model.skips=3/4", "--model.prune=1/4", "--model.attention=true",
    "--evaluate.measures=[neighbors]", "--data.fold.index=0",
]  # fmt: skip


class Exported(NamedTuple):
    run: Path
    out: Path


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp("plain")
    made = Exported(trained(folder / "runs", *TINY), folder / "out" / "plain")
    assert main([str(made.run), "--out", str(made.out)]) == 0
    return made


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp("labelled")
    made = Exported(trained(folder / "runs", *TINY, *LABELLED), folder / "out" / "labelled")
    assert main([str(made.run), "--out", str(made.out), "--samples"]) == 0
    return made


@pytest.fixture(scope="session")
def start():
    """start(run folder, *flags) -> unit noise [24 1 8 8] and labels [24] or None, those of the run's own samples."""

    def of(*flags: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        config = load([*TINY, *flags])
        source = load_images(config.data.source, config.data.image_size)
        bench = Bench.of(config, assemble(config, source), source, torch.device("cpu"))
        return bench.sample_noise(24), bench.sample_labels(24)

    return of


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """outside(script) -> what it printed: a process to which this package is none, with a hub that is out of reach."""
    home = tmp_path_factory.mktemp("home")

    def call(script: str) -> str:
        blocked = f"import sys\nsys.modules['scaling'] = None\n{script}"
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env = {**kept, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", blocked], cwd=home, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def drawn_by(folder: Path) -> np.ndarray:
    """The samples [24 1 8 8] in [-1, 1] that the run itself drew when it was measured."""
    with np.load(folder / "samples.npz", allow_pickle=False) as arrays:
        return arrays["samples"]
