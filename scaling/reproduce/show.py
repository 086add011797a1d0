"""What the user sees of a comparison: a table and a line that sums it up."""

import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from scaling.reproduce.comparison import ALPHA, Compared, Comparison, Verdict

STYLES = {Verdict.EQUAL: "green", Verdict.AGREES: "green", Verdict.MISS: "bold red", Verdict.CANNOT_TELL: "yellow"}


def show(found: Comparison) -> None:
    """Prints it."""
    Console(width=None if sys.stdout.isatty() else 120).print(table(found))
    for note in found.notes:
        print(f"reproduce: {note}")
    print(f"reproduce: {summary(found)}")


def table(found: Comparison) -> Table:
    """A row for each value, a section for each reading."""
    made = Table()
    for name in ("column", "committed", "again", "difference", "tolerance", "verdict"):
        made.add_column(name, justify="left" if name in ("column", "verdict") else "right")
    reading = ""
    for value in found.values:
        if value.reading != reading:
            reading = value.reading
            made.add_section()
            made.add_row(f"[bold]{reading}[/bold]")
        cells = (_number(value.committed), _number(value.again), _difference(value), _number(value.tolerance))
        made.add_row(f"  {value.column}", *cells, f"[{STYLES[value.verdict]}]{value.verdict}[/]")
    return made


def summary(found: Comparison) -> str:
    """Counts of verdicts, and the largest difference in standard deviations of the replicates."""
    counts = Counter(value.verdict for value in found.values)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    sizes = [(size, value) for value in found.values if (size := in_spreads(value)) is not None]
    if not sizes:
        return said
    size, value = max(sizes, key=lambda pair: pair[0])
    return (
        f"{said}; largest difference {size:.2g} s ({value.column}, {value.reading}), s the replicates' standard "
        f"deviation; of equal-law runs {ALPHA:.0%} at most are refused"
    )


def in_spreads(value: Compared) -> float | None:
    """|again - committed| in standard deviations of the replicates; None where there is none."""
    if value.again is None or not value.spread:
        return None
    return abs(value.again - value.committed) / value.spread


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _difference(value: Compared) -> str:
    if value.again is None:
        return "not measured"
    size = in_spreads(value)
    return f"{value.again - value.committed:+.3g}" + ("" if size is None else f" ({size:.2g} s)")
