"""One measured number beside its goal, as a line of the table that `python -m benchmarks` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

SEPARATOR = " | "


@dataclass(frozen=True)
class Row:
    what: str
    ratio: str
    goal: str

    def line(self) -> str:
        return SEPARATOR.join((self.what, self.ratio, self.goal))

    @classmethod
    def parse(cls, line: str) -> "Row | None":
        """The row that a benchmark printed; None for any other line."""
        parts = line.split(SEPARATOR)
        return cls(*parts) if len(parts) == 3 else None


def spread(ratios: Sequence[float]) -> str:
    """Median with the range, since machines vary."""
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
