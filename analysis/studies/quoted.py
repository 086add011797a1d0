"""Numbers quoted in pages: each stands between marks that name it, and is written there from the tables.

    the exchange rate is <!--=memorization/chi-->0.76 (0.71 to 0.82)<!--/-->

A reader sees the number only; a page that says another one than the tables is a page to write again, and a failed test.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np

MARK = re.compile(r"<!--=(?P<name>[\w./ -]+?)-->(?P<text>.*?)<!--/-->", re.DOTALL)


def filled(page: str, numbers: Mapping[str, str], where: str) -> str:
    """`page` with every quoted number as `numbers` has it; raises ValueError on a name that is none of them."""

    def of(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in numbers:
            near = get_close_matches(name, numbers, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(numbers)[:5]) or 'none'} …"
            raise ValueError(f"{where}: quotes {name}, which no study gives; {hint}")
        return f"<!--={name}-->{numbers[name]}<!--/-->"

    return MARK.sub(of, page)


def quoted(page: str) -> Iterable[tuple[str, str]]:
    """(name, text) of every number that a page quotes."""
    return [(found["name"], found["text"]) for found in MARK.finditer(page)]


def number(value: float | None, digits: int = 2) -> str:
    """Two significant digits, in plain notation: 0.0345 -> 0.035, 12345 -> 12,000; missing: none."""
    if value is None or not np.isfinite(value):
        return "none"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")  # first: 0.998 is 1.0 and not 1.00
    places = max(digits - 1 - int(np.floor(np.log10(abs(rounded)))), 0)
    return f"{rounded:,.{places}f}"


def count(value: float) -> str:
    """A whole number, grouped: 3660 -> 3,660."""
    return f"{value:,.0f}"


def interval(value: float | None, lo: float | None, hi: float | None, digits: int = 2) -> str:
    """`1.7 (1.6 to 1.8)`, the ends to the places of the value; an open end is said, two tell nothing."""
    if not any(end is not None and np.isfinite(end) for end in (lo, hi)) or value is None or not np.isfinite(value):
        return "cannot tell"
    ends = [number(end, digits) if end is not None and np.isfinite(end) else "no limit" for end in (lo, hi)]
    return f"{number(value, digits)} ({ends[0]} to {ends[1]})"


def share(value: float | None, lo: float | None = None, hi: float | None = None) -> str:
    """`85 %`, or `85 % (83 to 87)` where ends are given."""
    if value is None or not np.isfinite(value):
        return "cannot tell"
    said = f"{number(100 * value)} %"
    return said if lo is None or hi is None else f"{said} ({number(100 * lo)} to {number(100 * hi)})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as a table of a page, to be quoted as one text; the first column is words, the others numbers."""
    head = ["", f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows), ""])
