"""The version of the code is what makes a record: not a commit to README, not a command that only shows."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.code_version import NO_RECORD_DEPENDS_ON, PACKAGE

ASK = "import sys; sys.path.insert(0, sys.argv[1]); from scaling import code_version as c; print(c.%s())"


def ask(root, function):
    command = [sys.executable, "-B", "-P", "-c", ASK % function, str(root)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout.strip()


@pytest.fixture
def copied(tmp_path):
    """The Python files of the package in another place."""
    for path in PACKAGE.rglob("*.py"):
        target = tmp_path / "scaling" / path.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_the_same_files_elsewhere_are_the_same_version(copied):
    version = ask(copied, "code_version")
    assert re.fullmatch(r"[0-9a-f]{12}", version) and version == ask(PACKAGE.parent, "code_version")


def test_an_edit_changes_it_and_what_makes_no_record_does_not(copied):
    version = ask(copied, "code_version")
    (copied / "README.md").touch()
    (copied / "scaling" / "notes.txt").touch()
    with open(copied / "scaling" / "status.py", "a") as file:
        file.write("# shows only\n")
    with open(copied / "scaling" / "sweep" / "board.py", "a") as file:
        file.write("# shows only\n")
    assert ask(copied, "code_version") == version
    seen = {version}
    for path, change in [
        ("training/run.py", lambda text: text + "# \n"),
        ("diffusion/loss.py", lambda text: text.replace("\n", "\n\n", 1)),
        ("memorization/new.py", lambda text: ""),
    ]:
        file = copied / "scaling" / path
        file.write_text(change(file.read_text() if file.exists() else ""))
        seen.add(ask(copied, "code_version"))
    shutil.move(copied / "scaling" / "store.py", copied / "scaling" / "shop.py")  # the name counts too
    seen.add(ask(copied, "code_version"))
    assert len(seen) == 5


def test_training_imports_nothing_of_what_is_left_out():
    """Followed through every import, wherever it stands in a file."""
    todo, seen = ["scaling.training.run"], set()
    while todo:
        module = todo.pop()
        base = PACKAGE.parent / module.replace(".", "/")
        path = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
        if module in seen or not path.exists():
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                todo += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    parts = {module.split(".")[1] for module in seen if module.startswith("scaling.")}
    assert {"training", "store", "diffusion"} <= parts
    assert not parts & {name.removesuffix(".py") for name in NO_RECORD_DEPENDS_ON}


def test_commit_says_for_people_where_the_code_stands(tmp_path):
    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@e", *arguments],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    package = tmp_path / "scaling"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(Path(PACKAGE) / "code_version.py", package)
    assert not re.fullmatch(r"[0-9a-f]{12}\+?", ask(tmp_path, "commit"))  # no repository: the package's version
    git("init")
    assert not re.fullmatch(r"[0-9a-f]{12}\+?", ask(tmp_path, "commit"))  # no commit yet
    git("add", ".")
    git("commit", "-m", "x")
    (tmp_path / "notes.txt").touch()  # not the code
    assert ask(tmp_path, "commit") == git("rev-parse", "--short=12", "HEAD")
    (package / "new.py").touch()
    assert ask(tmp_path, "commit") == git("rev-parse", "--short=12", "HEAD") + "+"
