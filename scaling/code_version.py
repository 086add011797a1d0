"""Which code wrote a record: a hash of its files, so that a commit to README changes nothing and an edit does."""

import subprocess
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# Engines and commands bring a configuration to `scaling.training` and show what came of it; no record depends on them.
# tests/scaling/test_code_version.py: training imports none of these.
NO_RECORD_DEPENDS_ON = frozenset({
    "forecasts", "sweep", "selfcheck", "compare", "export", "audits", "reproduce",
    "machine.py", "finished_run.py", "audit.py", "train.py", "status.py", "collect.py", "command.py",
})  # fmt: skip


@cache
def code_version() -> str:
    """First 12 hex digits of SHA-256 over the names and contents of the Python files that make a record.

    Kept for the life of the process: it is asked for when a run folder is opened, before training is imported, so a
    worker that lives through an edit goes on to name the code that it runs.
    """
    digest = sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if name.parts[0] not in NO_RECORD_DEPENDS_ON:
            content = path.read_bytes()
            digest.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


@cache
def commit() -> str:
    """The commit, with `+` where scaling/ was changed since; the package's version outside a repository.

    Kept for the life of the process, as `code_version`: a commit that comes while a worker lives is not its code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) == PACKAGE.parent:  # not a repository that merely contains a venv
            return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or no commit in it yet
        pass
    try:
        return version("diffusion-memorization-scaling")
    except PackageNotFoundError:
        return "unknown"
