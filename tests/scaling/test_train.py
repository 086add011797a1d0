"""The command: what it refuses before any work is begun."""

import os
import signal
import subprocess
import sys
from threading import Event, Thread

import pytest

from scaling import train
from scaling.config import ConfigError, load
from scaling.store import RunStore


def test_features_that_are_not_installed_are_refused_before_training(monkeypatch):
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'an extra that is not installed: pip install -e "\.\[features\]"'):
        train.check(load(["--evaluate.features=efficientnet_lite0"]))
    train.check(load(["--evaluate.features=pixels"]))


def test_a_signal_while_the_lock_is_taken_waits_until_it_can_be_ended(tmp_path, monkeypatch):
    """The instant between the two would leave a lock of a dead process: here the signal comes exactly then."""
    opened = RunStore.open.__func__

    def open_and_be_stopped(cls, config):
        store = opened(cls, config)
        os.kill(os.getpid(), signal.SIGTERM)
        return store

    idle = Event()
    Thread(target=idle.wait, daemon=True).start()  # as a library's: the kernel may give the signal to it
    handlers = {signum: signal.getsignal(signum) for signum in train.STOPS}
    monkeypatch.setattr(RunStore, "open", classmethod(open_and_be_stopped))
    try:
        with pytest.raises(SystemExit) as stopped:
            train.main([f"--runtime.out={tmp_path}", "--runtime.progress=false"])
    finally:
        idle.set()
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    assert stopped.value.code == 143 and not list(tmp_path.glob("*/lock.json"))
    assert list(tmp_path.glob("*/config.yaml"))


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
