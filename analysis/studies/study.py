"""What a study is to its page: numbers by name, each a short text with its interval, and its own figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.table import Tables, load

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
    of: str = ""  # the study whose tables it is given; empty: its own
    beside: tuple[str, ...] = ()  # studies whose tables it reads besides

    def tables(self, results: Path) -> Tables:
        """What it is given, from results/."""
        return load(results / (self.of or self.name))

    def fingerprint(self, results: Path) -> dict[str, str]:
        """File (from results/) -> first 16 hex digits of SHA-256, of every table and csv that its numbers come from."""
        folders = [results / name for name in dict.fromkeys((self.name, self.of or self.name, *self.beside))]
        files = sorted(file for folder in folders for file in (*folder.rglob(TABLES), *folder.glob("*.csv")))
        return {str(file.relative_to(results)): sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def drawn(figures: "list[ReportFigure] | str") -> "list[ReportFigure]":
    """What a builder of the report has drawn; raises ValueError with its words where it could not."""
    if isinstance(figures, str):
        raise ValueError(figures)
    return figures
