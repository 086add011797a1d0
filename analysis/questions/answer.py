"""What a question is answered with: a value with its interval, or why these data cannot tell (design.md section 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import Any


class CannotTell(Exception):
    """Raised where the data cannot tell; the question's function answers `not_answerable` with this reason."""


@dataclass(frozen=True)
class Answer:
    """A value with its interval and what they rest on; or answerable False, and `why` says what is lacking."""

    question: str
    answerable: bool
    value: float | None = None  # None: not answerable
    lo: float | None = None  # None: no limit on this side
    hi: float | None = None
    level: float | None = None
    unit: str = ""
    extrapolated: bool = False  # the value lies outside the data's range, or rests on a point outside it
    why: str = ""  # sentences for people: the answer, what it rests on, what was left out
    rows: Sequence[Mapping[str, object]] = field(default_factory=tuple)  # what the answer was made from

    def as_json(self) -> dict[str, Any]:
        """The contract of design.md section 6; a number that is not finite is null."""
        return {
            "question": self.question,
            "answerable": bool(self.answerable),
            "value": plain(self.value),
            "lo": plain(self.lo),
            "hi": plain(self.hi),
            "level": self.level,
            "unit": self.unit,
            "extrapolated": bool(self.extrapolated),
            "why": self.why,
            "rows": [{name: plain(value) for name, value in row.items()} for row in self.rows],
        }


def not_answerable(
    question: str, why: str, *, level: float | None = None, unit: str = "", rows: Sequence[Mapping[str, object]] = ()
) -> Answer:
    """No value: `why` says what the data lack and what would supply it."""
    return Answer(question, False, level=level, unit=unit, why=f"not answerable from these data: {why}", rows=rows)


def plain(value: Any) -> Any:
    """A value that JSON knows: NumPy's numbers and truth values as Python's, what is not finite as None."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return value if isfinite(value) else None


def sentences(*parts: str) -> str:
    """The parts that say something, joined by semicolons."""
    return "; ".join(part for part in parts if part)
