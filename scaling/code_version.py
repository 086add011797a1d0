"""Which code wrote a record."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_version() -> str:
    """Commit of the code, with `+` where scaling/ was changed since; the package's version outside its repository."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) == package.parent:  # not a repository that merely contains a venv
            return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or no commit in it yet
        pass
    try:
        return version("diffusion-memorization-scaling")
    except PackageNotFoundError:
        return "unknown"
