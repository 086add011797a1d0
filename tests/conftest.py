"""What tests of every part share: the tables that slow tests leave for README, with seed, commit and machine."""

import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

from scaling.code_version import commit
from scaling.machine import cores

NEVER_SKIPPED = ("ray", "agent", "browser")  # under CI: what they need is installed there
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and any(map(item.get_closest_marker, NEVER_SKIPPED)):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} was skipped, which CI does not allow"
    return report


@pytest.fixture
def keep_table() -> Callable[[str, str, list[Mapping[str, object]], str], None]:
    """keep_table(file, title, rows, seeds): benchmarks/results/<file>.md, replaced whole."""

    def keep(file: str, title: str, rows: list[Mapping[str, object]], seeds: str) -> None:
        head = list(rows[0])
        lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
        lines += [f"| {' | '.join(str(row[name]) for name in head)} |" for row in rows]
        origin = f"Written by `make test-slow`: seeds {seeds}; code {commit()}; {cores()} cores."
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{file}.md").write_text(f"# {title}\n\n" + "\n".join(lines) + f"\n\n{origin}\n")

    return keep
