import os
import subprocess

import pytest
import yaml

from scaling.config import build, run_id
from scaling.schema import SCHEMA_VERSION
from scaling.status import main
from scaling.store import RunStore
from scaling.sweep.plan import state_of


def run(out, seed):
    return RunStore.open(build({"seed": seed, "runtime": {"out": str(out)}}))


@pytest.fixture
def runs(tmp_path):
    """One run of every state; the running one is held by this process."""
    out = tmp_path / "runs"
    with run(out, 0) as store:
        store.append({"evals": {"run_id": store.run_id, "images_seen": 64, "schema_version": SCHEMA_VERSION}})
        store.set_status("done", images_seen=6400, images_total=6400, wall_seconds=75, n_memorized=3, n_generated=10)
    with pytest.raises(ValueError), run(out, 1) as store:
        raise ValueError("odd [red]loss[/red]")
    with run(out, 2) as store:
        store.set_status("interrupted", images_seen=64)
    with run(out, 3) as store:
        store.set_status("running")
        status = (store.folder / "status.json").read_bytes()
    (store.folder / "status.json").write_bytes(status)  # as a killed writer leaves it
    with run(out, 4) as store:
        yield out


def test_every_state_is_told_apart(runs, capsys):
    folders = {seed: runs / run_id(build({"seed": seed})) for seed in range(6)}
    states = [state_of(folder)[0] for folder in folders.values()]
    assert states == ["done", "failed", "interrupted", "stale", "running", "pending"]
    assert main(["--out", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "ValueError: odd [red]loss[/red]" in said  # as it is, not as markup
    assert "6,400 of 6,400" in said and "3/10" in said and "1:15" in said
    assert "5 runs: 1 done, 1 running, 1 interrupted, 1 stale, 1 failed" in said


def test_a_sweep_shows_what_is_pending_too(runs, tmp_path, capsys):
    sweep = {
        "method": "grid",
        "command": ["python", "-m", "scaling.train", "${args}"],
        "parameters": {"seed": {"values": [0, 1, 7]}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    for options in (["--out", str(runs)], [f"--runtime.out={runs}"]):
        assert main([str(tmp_path / "sweep.yaml"), *options]) == 0
        said = capsys.readouterr().out
        assert "seed=7" in said and "3 runs: 1 done, 1 pending, 1 failed" in said


def test_a_broken_status_is_a_failed_run_that_says_why(runs, capsys):
    folder = runs / run_id(build({"seed": 0}))
    (folder / "status.json").write_text("{}")
    assert state_of(folder)[0] == "failed"
    main(["--out", str(runs)])
    assert "not a status" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "nowhere"], "nowhere: no such folder"),
        (["none.yaml"], "none.yaml: cannot be read"),
        (["--seed=1"], "--seed=1: flags belong to a sweep"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, monkeypatch, capsys, options, says):
    monkeypatch.chdir(tmp_path)
    assert main(options) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"scaling.status: {says}") and said.err.count("\n") == 1 and not said.out


def test_an_empty_folder_has_no_runs(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0 and "no runs" in capsys.readouterr().out


def test_a_killed_writer_is_stale(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    with run(tmp_path, 0) as store:
        store.set_status("running")
        lock = (store.folder / "lock.json").read_text()
        status = (store.folder / "status.json").read_bytes()
    (store.folder / "lock.json").write_text(lock.replace(f'"pid": {os.getpid()}', f'"pid": {dead.pid}'))
    (store.folder / "status.json").write_bytes(status)
    assert state_of(store.folder)[0] == "stale"
