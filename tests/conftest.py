"""What tests of every part share: the tables that slow tests leave for README, with seed, commit and machine."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from scaling.code_version import code_version
from scaling.sweep.machine import cores

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


@pytest.fixture
def keep_table() -> Callable[[str, str, list[Mapping[str, object]], str], None]:
    """keep_table(file, title, rows, seeds): benchmarks/results/<file>.md, replaced whole."""

    def keep(file: str, title: str, rows: list[Mapping[str, object]], seeds: str) -> None:
        head = list(rows[0])
        lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
        lines += [f"| {' | '.join(str(row[name]) for name in head)} |" for row in rows]
        origin = f"Written by `make test-slow`: seeds {seeds}; code {code_version()}; {cores()} cores."
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{file}.md").write_text(f"# {title}\n\n" + "\n".join(lines) + f"\n\n{origin}\n")

    return keep
