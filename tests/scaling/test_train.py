"""The command: what it refuses before any work is begun."""

import subprocess
import sys

import pytest

from scaling import train
from scaling.config import ConfigError, load


def test_features_that_are_not_installed_are_refused_before_training(monkeypatch):
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'an extra that is not installed: pip install -e "\.\[features\]"'):
        train.check(load(["--evaluate.features=efficientnet_lite0"]))
    train.check(load(["--evaluate.features=pixels"]))


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--evaluate.samples=0", "evaluate.samples=0"),
        ("--data.fold.index=2", "of 2 parts, allowed are 0 to 1"),
        ("--evaluate.measures=[neighbours]", "evaluate.measures"),
        ("--evaluate.contexts=[1/3]", "evaluate.contexts"),
    ],
)
def test_bad_input_ends_with_one_line(flag, says, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "scaling.train", f"--runtime.out={tmp_path}", flag], capture_output=True, text=True
    )
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
