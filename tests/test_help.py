"""`--help` of every command: one screen, an example that names the command, nothing heavy imported for it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scaling import config
from scaling.train import USUAL

ROOT = Path(__file__).resolve().parents[1]
LINES, COLUMNS = 24, 100
NO_COMMAND = {"scaling.training.packing"}  # a process that scaling.sweep starts; it takes no arguments
HEAVY = "{'torch', 'pytorch_lightning', 'diffusers', 'matplotlib', 'pandas', 'wandb'}"


def commands() -> list[str]:
    """Every module that runs as `python -m MODULE`."""
    paths = [path for package in ("analysis", "scaling") for path in sorted((ROOT / package).rglob("*.py"))]
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if "\nif __name__ ==" in path.read_text()
    }
    return sorted({name.removesuffix(".__main__") for name in names} - NO_COMMAND)


def shown(module: str, columns: int = COLUMNS) -> str:
    code = (
        f"import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__', alter_sys=False)\n"
        f"except SystemExit as end: assert not end.code\n"
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    env = os.environ | {"COLUMNS": str(columns), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]", f"{module} --help imports {done.stderr}"
    return done.stdout


def test_all_commands_are_found():
    known = {
        "scaling.train",
        "scaling.sweep",
        "scaling.compare",
        "scaling.selfcheck",
        "analysis.fit",
        "analysis.report",
    }
    assert known <= set(commands())


@pytest.mark.parametrize("module", commands())
def test_help_is_a_screen_that_ends_with_an_example(module):
    text = shown(module)
    lines = text.rstrip("\n").split("\n")
    assert len(lines) <= LINES, f"{module} --help has {len(lines)} lines"
    assert max(map(len, lines)) <= COLUMNS
    assert lines[0].startswith(f"usage: python -m {module} ")
    assert lines[-1].startswith(f"example: python -m {module} ")
    check_example(lines[-1].split()[4:], text[: text.rindex("example:")])
    assert not re.findall(r"^  (--\S+)(?: \S+)?\n(?! {4})", text, re.MULTILINE), "an option without a word of help"


def check_example(words: list[str], explained: str) -> None:
    """It gives something, by options that are explained above it, of files that are there."""
    assert words
    for word in words:
        option = word.partition("=")[0]
        assert not word.startswith("--") or f"  {option} " in explained, word
        assert not word.startswith(("configs/", "sweeps/", "results/")) or (ROOT / word).exists(), word


def test_help_fits_a_narrow_window():
    options = [line for line in shown("analysis.fit", 80).split("\n") if not line.startswith(("usage: ", "example: "))]
    assert max(map(len, options)) <= 80  # the two others are there to be copied


def test_usual_keys_are_keys_and_all_are_a_flag_away():
    assert set(USUAL) <= set(config.keys())
    assert "--help-all" in shown("scaling.train")
