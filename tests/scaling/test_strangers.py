import shutil

import pytest

from scaling import collect, status
from scaling.code_version import code_version
from scaling.config import build
from scaling.identity import SCIENCE_VERSION
from scaling.schema import SCHEMA_VERSION
from scaling.store import RunStore
from scaling.strangers import mixed_versions, no_runs


def finished(out, seed):
    with RunStore.open(build({"seed": seed, "runtime": {"out": str(out)}})) as store:
        evals = {"run_id": store.run_id, "images_seen": 64, "schema_version": SCHEMA_VERSION, "science_version": 2}
        store.append({"evals": evals | {"code_version": code_version(), "seed": seed}})
        store.set_status("done", images_seen=64)
        return store.folder


@pytest.fixture
def strange(tmp_path):
    """A store with two runs, and with what people, desktops and broken copies leave in it."""
    out = tmp_path / "runs"
    first, _ = finished(out, 0), finished(out, 1)
    (out / "README.txt").write_text("mine")
    (out / ".DS_Store").write_bytes(b"\0")
    (out / "empty").mkdir()
    shutil.copytree(first, out / f"{first.name}.bak")
    (out / "0123456789ab").mkdir()  # a copy that ended before its first file
    (out / "ba9876543210").write_text("a file")
    return out


STRANGE = "left out: 6 thing(s) in {} that are no run: .DS_Store, 0123456789ab, "


def test_status_says_what_is_no_run_and_shows_the_others(strange, capsys):
    assert status.main(["--out", str(strange)]) == 0
    said = capsys.readouterr().out
    assert "2 runs: 2 done" in said and STRANGE.format(strange) in said


def test_collect_says_what_is_no_run_and_takes_no_run_twice(strange, tmp_path, capsys):
    assert collect.main([str(strange), "--out", str(tmp_path / "tables")]) == 0
    said = capsys.readouterr().out
    assert "2 runs: 2 evals" in said and STRANGE.format(strange) in said


def test_nothing_is_said_where_all_are_runs_or_our_own(tmp_path):
    assert no_runs(tmp_path, [".workers", ".trained", "0123456789ab"], ["0123456789ab"]) == []


def test_a_strange_name_moves_no_cursor(tmp_path):
    (line,) = no_runs(tmp_path, ["\x1b[2J" + "x" * 300], [])
    assert "\x1b" not in line and len(line) < 300


def test_versions_are_told_where_they_differ():
    now = {"science_version": SCIENCE_VERSION, "code_version": "new", "commit": "c2"}
    assert mixed_versions([now, now, {}]) == []
    older = {"science_version": SCIENCE_VERSION - 1, "code_version": "old", "commit": "c1"}
    science, code = mixed_versions([now, now, older])
    assert science.startswith(
        f"science_version: 1 of {SCIENCE_VERSION - 1}, 2 of {SCIENCE_VERSION}; this code is {SCIENCE_VERSION}"
    )
    assert code.startswith("code_version: runs 2 by new (commit c2), 1 by old (commit c1); this is ")
    assert mixed_versions([now, now | {"commit": None}, older])[1] == code  # a record older than the column
    assert len(mixed_versions([older])) == 1  # all of another science than this code's
