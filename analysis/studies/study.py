"""What a study is to its page: numbers by name, each a short text with its interval, and its own figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.table import Tables

if TYPE_CHECKING:
    from analysis.plots import ReportFigure

TABLES = "*.parquet"
NUMBERS = "numbers.json"


@dataclass(frozen=True)
class Study:
    """`numbers` and `figures` take the study's tables and its folder (for what else is committed there)."""

    name: str  # of its folder in results/
    numbers: Callable[[Tables, Path], Mapping[str, str]]
    figures: Callable[[Tables, Path], Sequence["ReportFigure"]]


def fingerprint(folder: Path) -> dict[str, str]:
    """File (from `folder`) -> first 16 hex digits of SHA-256, of every table and csv that numbers come from."""
    files = sorted([*folder.rglob(TABLES), *folder.glob("*.csv")])
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()[:16] for file in files}
