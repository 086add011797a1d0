import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest
import yaml

from scaling.config import build
from scaling.identity import run_id
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


def many(out, count, **fields):
    """`count` runs as a killed writer leaves them, with these fields of their status."""
    for seed in range(count):
        with run(out, seed) as store:
            store.set_status("failed")
            status = json.loads((store.folder / "status.json").read_text()) | fields
        (store.folder / "status.json").write_text(json.dumps(status))


def test_of_many_runs_a_screenful_is_shown_and_all_on_demand(tmp_path, capsys):
    many(tmp_path, 30, state="failed", reason="out of memory")
    assert main(["--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "30 failed, as " in said and said.count("out of memory") == 1 and len(said.splitlines()) < 24
    assert main(["--out", str(tmp_path), "--all"]) == 0
    said = capsys.readouterr().out
    assert all(run_id(build({"seed": seed})) in said for seed in range(30))


def test_text_of_a_run_moves_no_cursor(tmp_path, capsys):
    many(tmp_path, 1, reason="\x1b[2Jgone\r\u202e", host="\x1b]0;title\x07")
    for options in ([], ["--all"], ["--json"]):
        main(["--out", str(tmp_path), *options])
        said = capsys.readouterr().out
        assert "gone" in said and not {"\x1b", "\r", "\x07", "\u202e"} & set(said)


def test_machines_read_json(runs, capsys):
    assert main(["--out", str(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"done": 1, "running": 1, "interrupted": 1, "stale": 1, "failed": 1}
    assert [row["reason"] for row in found["reasons"]] == ["ValueError: odd [red]loss[/red]"]
    assert sorted(row["state"] for row in found["runs"]) == ["failed", "interrupted", "running", "stale"]


def sweep_of(tmp_path, seeds):
    sweep = {
        "method": "grid",
        "command": ["python", "-m", "scaling.train", "${args}"],
        "parameters": {"seed": {"values": list(range(seeds))}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    return [str(tmp_path / "sweep.yaml"), f"--runtime.out={tmp_path / 'runs'}"]


def test_the_end_is_that_of_the_cells_left_over_the_writers_at_work(tmp_path, monkeypatch, capsys):
    """A run of 120 s at a third of its images has 240 s left; four others of 60 s go to two writers: 240 and 240 s."""
    asked = sweep_of(tmp_path, 6)
    monkeypatch.setattr("scaling.overview._seconds", lambda cells, calibration: [60.0] * len(cells))
    with run(tmp_path / "runs", 0) as slow, run(tmp_path / "runs", 1) as fast:
        slow.set_status("running", images_seen=100, images_total=300, wall_seconds=120.0)
        fast.set_status("running", images_seen=50, images_total=100, wall_seconds=1e-3)
        assert main([*asked, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["writers"] == 2 and found["seconds_left"] == pytest.approx(240, abs=5)
        assert main(asked) == 0
        assert "2 running, 4 pending; 4:00 left with 2 writers, until " in capsys.readouterr().out.replace(
            "3:59", "4:00"
        )


def test_a_forecast_needs_no_run_yet(tmp_path, capsys):
    """Cells that differ in their seed alone share a forecast; each counts."""
    for seeds in (2, 4):
        assert main([*sweep_of(tmp_path, seeds), "--json"]) == 0
    one, two = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert one["counts"] == {"pending": 2} and one["writers"] == two["writers"] > 0
    total = [found["seconds_left"] * found["writers"] for found in (one, two)]
    assert total[0] > 0 and total[1] == pytest.approx(2 * total[0], rel=0.5)


def test_watching_ends_when_nothing_is_left(tmp_path, monkeypatch, capsys):
    asked, slept = sweep_of(tmp_path, 1), []
    with run(tmp_path / "runs", 0) as store:

        def sleep(seconds):
            slept.append(seconds)
            store.set_status("running" if len(slept) < 2 else "done", images_seen=64, images_total=64)

        store.set_status("running", images_seen=0, images_total=64)
        monkeypatch.setattr("scaling.status.time.sleep", sleep)
        assert main([*asked, "--watch", "2"]) == 0
    assert slept == [2.0, 2.0]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and "1 running" in said[0] and said[-1].endswith("1 runs: 1 done")


def test_watching_is_ended_by_ctrl_c(tmp_path, monkeypatch, capsys):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("scaling.status.time.sleep", interrupted)
    assert main([*sweep_of(tmp_path, 1), "--watch"]) == 130
    assert "1 pending" in capsys.readouterr().out


def test_watching_on_a_terminal_is_one_table_that_is_drawn_again(tmp_path):
    """Through a real pseudo-terminal: colours and cursor moves are rich's, and the last table stays."""
    many(tmp_path / "runs", 1, state="failed", reason="odd")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "scaling.status", "--out", str(tmp_path / "runs"), "--watch", "1"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # the terminal is gone with its last writer
            while piece := os.read(ours, 4096):
                said += piece
    os.close(ours)
    assert process.returncode == 0 and b"1 failed" in said and b"odd" in said and b"\x1b[" in said


@pytest.mark.parametrize("seconds", ["0", "nan", "soon"])
def test_watch_takes_seconds(seconds, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--watch", seconds])
    assert "seconds from 0.1" in capsys.readouterr().err
