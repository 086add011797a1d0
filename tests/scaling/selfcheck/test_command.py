"""The command: groups in order, exit status, JSON, and nothing heavy before the flags are read."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from scaling.selfcheck import __main__ as command
from scaling.selfcheck.table import Row, answered, within

GOOD = Row("good", "1", lambda on: within(1.0, 1, 1))
BAD = Row("bad", "1", lambda on: within(2.0, 1, 1))


def breaks_off(device: torch.device):
    yield GOOD.check("third", device)
    raise OSError("disk full")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three groups: all ok; one miss; one that breaks off."""
    made = {
        "first": lambda device: answered("first", [GOOD], device),
        "second": lambda device: answered("second", [BAD, GOOD], device),
        "third": breaks_off,
    }
    for name, checks in made.items():
        monkeypatch.setitem(sys.modules, f"scaling.selfcheck.{name}", SimpleNamespace(checks=checks))
    monkeypatch.setattr(command, "GROUPS", tuple(made))


def test_all_ok_ends_with_0_and_a_miss_with_1(groups, capsys):
    assert command.main(["--only", "first"]) == 0
    out = capsys.readouterr().out
    assert "instrument" in out and "first: 1 ok, 0 miss" in out and "second" not in out
    assert command.main(["--only", "first", "--only", "second"]) == 1
    out = capsys.readouterr().out
    assert out.index("first:") < out.index("second: 1 ok, 1 miss") < out.index("selfcheck: 2 ok, 1 miss")


def test_json_alone_is_on_standard_output(groups, capsys):
    assert command.main(["--json"]) == 1
    seen = capsys.readouterr()
    tree = json.loads(seen.out)
    assert (tree["summary"]["ok"], tree["summary"]["miss"]) == (3, 2)
    assert [row["ok"] for row in tree["checks"]] == [True, False, True, True, False]
    assert tree["checks"][-1]["gave"] == "OSError: disk full"
    assert "second: 1 ok, 1 miss" in seen.err


def test_a_group_that_cannot_be_imported_is_a_miss_and_the_rest_goes_on(groups, capsys, monkeypatch):
    monkeypatch.setattr(command, "GROUPS", ("nowhere", "first"))
    assert command.main(["--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["checks"]
    assert "ModuleNotFoundError" in rows[0]["gave"] and rows[0]["group"] == "nowhere" and rows[1]["ok"]


def test_wrong_usage_ends_with_2(capsys):
    assert command.main(["--device", "nonsense"]) == 2
    assert "--device=nonsense: torch finds" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "nonsense"])
    assert ended.value.code == 2 and "closed_forms" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom scaling.selfcheck.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules or 'rich' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0 and "closed_forms" in ended.stdout
