"""Under CI a test that needs Ray, an agent or a browser may not be skipped; a GPU may be missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("mark", "ci", "code"), [("ray", "true", 1), ("gpu", "true", 0), ("ray", "", 0)])
def test_a_skipped_test_fails_under_ci_where_it_must_run(tmp_path, mark, ci, code):
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport")
    text = f"import pytest\n\n@pytest.mark.{mark}\n@pytest.mark.skip\ndef test_one():\n    pass\n"
    (tmp_path / "test_one.py").write_text(text)
    env = os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    assert subprocess.run(command, env=env, cwd=tmp_path, capture_output=True).returncode == code
