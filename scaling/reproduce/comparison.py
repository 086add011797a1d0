"""A run made again beside the committed one, column by column: equal bits, within the tolerance, or a miss.

Of runs again that follow the normal law of their replicates, at most ALPHA are refused in any of the compared values
(Bonferroni over both readings, independent columns or not; tolerance.py has the law). With 3 replicates and no other
cells that is wide: one degree of freedom is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from scaling.columns import EVALS
from scaling.reproduce.choice import FEWEST
from scaling.reproduce.committed import Run
from scaling.reproduce.tolerance import Prior, count_tolerance, prior, spread, tolerance

ALPHA = 0.05  # of equal-law runs again that are refused in one value or more
COLUMNS = (
    "train_loss", "seen_loss", "holdout_loss", "n_memorized", "n_calibrated", "n_extracted", "n_basin_recovered",
    "n_flagged", "membership_auc", "ideal_distance", "kid",
)  # fmt: skip
LAST, MINIMUM = "last evaluation", "hold-out minimum"


class Verdict(StrEnum):
    """What became of one value."""

    EQUAL, AGREES, MISS, CANNOT_TELL = "equal bits", "agrees", "miss", "cannot tell"


class Reading(NamedTuple):
    """One evaluation of each run."""

    name: str
    committed: Mapping[str, Any]
    again: Mapping[str, Any]
    others: Sequence[Mapping[str, Any]]  # the replicates but the committed run
    cells: Sequence[Sequence[Mapping[str, Any]]]  # replicates of other cells


@dataclass(frozen=True)
class Compared:
    """One value of one reading; tolerance and spread are None where they cannot be measured."""

    reading: str
    column: str
    committed: float
    again: float | None
    spread: float | None  # standard deviation of replicates
    tolerance: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All values, and what else is to be said."""

    values: list[Compared]
    notes: list[str]

    @property
    def agrees(self) -> bool:
        """Whether no value is a miss."""
        return all(value.verdict is not Verdict.MISS for value in self.values)


def compare(committed: Run, others: Sequence[Run], again: Run, cells: Sequence[Sequence[Run]] = ()) -> Comparison:
    """Every measured column at the last committed evaluation and at each run's hold-out minimum.

    others: the replicates of `committed`, with the same last images_seen, where `again` has an evaluation. cells: the
    replicates of each of the study's other cells.
    """
    at = committed[-1]["images_seen"]
    readings, notes = _readings(committed, others, [row for row in again if row["images_seen"] <= at], cells)
    found = [
        (reading, column) for reading in readings for column in COLUMNS if reading.committed.get(column) is not None
    ]
    tested = sum(len(_values(reading.others, column)) >= FEWEST - 1 for reading, column in found)
    if absent := [column for column in COLUMNS if committed[-1].get(column) is None]:
        notes.append(f"not compared, since the table has no value: {', '.join(absent)}")
    return Comparison([_compared(reading, column, ALPHA / max(tested, 1)) for reading, column in found], notes)


def _readings(
    committed: Run, others: Sequence[Run], again: Run, cells: Sequence[Sequence[Run]]
) -> tuple[list[Reading], list[str]]:
    ends = [[run[-1] for run in cell] for cell in cells]
    last = Reading(LAST, committed[-1], again[-1], [run[-1] for run in others], ends)
    runs = (committed, again, *others)
    lowest = [row for run in runs if (row := _holdout_minimum(run)) is not None]
    if len(lowest) < len(runs):
        return [last], ["not compared at the hold-out minimum, since a run has no holdout_loss"]
    if all(row is run[-1] for row, run in zip(lowest, runs, strict=True)):
        return [last], ["the hold-out minimum is the last evaluation"]
    first, second, *rest = lowest
    minima = [[row for run in cell if (row := _holdout_minimum(run)) is not None] for cell in cells]
    clock = f"{first['images_seen']:,} images_seen committed, {second['images_seen']:,} again"
    return [last, Reading(MINIMUM, first, second, rest, minima)], [f"the hold-out minimum is at {clock}"]


def _holdout_minimum(run: Run) -> Mapping[str, Any] | None:
    """Of the evaluations that saw images, as the studies read it; the first of equals."""
    rows = [row for row in run if row["images_seen"] > 0 and row.get("holdout_loss") is not None]
    return min(rows, key=lambda row: row["holdout_loss"]) if rows else None


def _values(rows: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    return [row[column] for row in rows if row.get(column) is not None]


def _compared(reading: Reading, column: str, alpha: float) -> Compared:
    committed, again = reading.committed[column], reading.again.get(column)
    s, allowed = _tolerance(reading, column, alpha)
    if again is None:
        verdict = Verdict.MISS  # it was measured once
    elif again == committed:
        verdict = Verdict.EQUAL
    elif allowed is None:
        verdict = Verdict.CANNOT_TELL
    else:
        verdict = Verdict.AGREES if abs(again - committed) <= allowed else Verdict.MISS
    return Compared(reading.name, column, committed, again, s, allowed, verdict)


def _tolerance(reading: Reading, column: str, alpha: float) -> tuple[float | None, float | None]:
    """Standard deviation and tolerance; None for what has none, as an AUC of 1 in all replicates of the only cell."""
    values = _values(reading.others, column)
    if len(values) < FEWEST - 1:
        return None, None
    (declared,) = (known for known in EVALS if known.name == column)
    if declared.type is int and len(set(values)) == 1:
        trials = reading.committed[declared.trials] if declared.trials else None
        return None, float(count_tolerance(reading.committed[column], trials, alpha))
    s, degrees = spread(values, _prior(reading.cells, column))
    return (s, tolerance(s, degrees, alpha)) if s > 0 else (None, None)


def _prior(cells: Sequence[Sequence[Mapping[str, Any]]], column: str) -> Prior:
    known = [values for cell in cells if len(values := _values(cell, column)) >= FEWEST]
    return prior([float(np.var(one, ddof=1)) for one in known], [len(one) - 1 for one in known])
