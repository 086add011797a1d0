"""Models from elsewhere (tables of scaling.audit) on a study's boundaries: where each stands, which cannot and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.boundary.place import Placed, placed
from analysis.boundary.placeable import unlike_data, unlike_measures
from analysis.boundary_points import (
    SHORT,
    BoundaryPoints,
    boundary_points,
    counted_rows,
    counted_samples,
    rates_and_quality,
    with_quality,
)
from analysis.columns import TableError
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

DRAWS = 500
MOST_NAMED = 3  # models in one sentence


@dataclass(frozen=True)
class Placement:
    """Models on the boundary of one quality column; its columns are x (quality) and y (memorized share of samples)."""

    column: str
    study: BoundaryPoints
    models: "DataFrame"  # rows of evals with y, y_trials
    found: Sequence[Placed]  # of each model

    def anchor(self, model: int) -> str:
        """The identifier of a model's row on the page."""
        return f"placed-{self.column}-{model}"


@dataclass(frozen=True)
class PlacedModels:
    """Models from elsewhere against the boundaries of one data set."""

    of_data: "DataFrame"  # rows of evals: the models whose images are the study's
    placements: Sequence[Placement]
    said: Sequence[str]  # what was not placed, and why


@dataclass(frozen=True)
class _Candidates:
    of_data: "DataFrame"
    by_column: Mapping[str, "DataFrame"]  # measured, and as the study is
    said: Sequence[str]


def placed_models(tables: Tables, place: Tables, level: float) -> PlacedModels:
    """`place` on the boundaries of `tables`, which hold one data set: hold-out loss and KID at the last evaluation."""
    found, placements = _candidates(tables, place), list[Placement]()
    said = list(found.said)
    for column, models in found.by_column.items():
        if not len(models):
            continue
        study = boundary_points(tables, last_evaluations(tables.evals), column, of_samples=True)
        if study is None:
            said.append(f"No model is placed by {SHORT[column]}: it takes two runs with it and memorized samples.")
            continue
        rows = rates_and_quality(models, column)
        there = placed(study.points, rows, ("x", "y"), draws=DRAWS, level=level)
        placements.append(Placement(column, study, models, there))
    return PlacedModels(found.of_data, placements, said)


def check_placeable(parts: Sequence[Tables], place: Tables) -> None:
    """Raises TableError where no model can stand on a boundary of any part (a data set each), with the reasons."""
    found = [_candidates(tables, place) for tables in parts]
    if any(len(models) for one in found for models in one.by_column.values()):
        return
    said = list(dict.fromkeys(line for one in found for line in one.said))
    raise TableError(f"--place: no model can be placed. {' '.join(said)}")


def _candidates(tables: Tables, place: Tables) -> _Candidates:
    models = last_evaluations(place.evals)
    why = unlike_data(tables.evals, models)
    said = _refused(models, why, "is not placed")
    of_data = models[[not one for one in why]].reset_index(drop=True)
    by_column = {}
    for column in SHORT:
        known = with_quality(counted_samples(of_data), column)
        lacking = of_data[~of_data["run_id"].isin(known["run_id"])]
        reason = f"its tables lack {column} or n_memorized of n_generated"
        said += _refused(lacking, [reason] * len(lacking), f"is not placed by {SHORT[column]}")
        rows, *_ = counted_rows(tables, last_evaluations(tables.evals), column, of_samples=True)
        why = unlike_measures(rows, known, (column,))
        said += _refused(known, why, f"is not placed by {SHORT[column]}")
        by_column[column] = known[[not one for one in why]].reset_index(drop=True)
    return _Candidates(of_data, by_column, said)


def _refused(models: "DataFrame", why: Sequence[str], what: str) -> list[str]:
    """A sentence for each reason, with the models that it keeps out; an empty reason keeps none."""
    by_reason: dict[str, list[str]] = {}
    for run, reason in zip(models["run_id"].astype(str), why, strict=True):
        if reason:
            by_reason.setdefault(reason, []).append(run)
    said = []
    for reason, runs in by_reason.items():
        more = f" and {len(runs) - MOST_NAMED} more, each" if len(runs) > MOST_NAMED else ""
        said.append(f"Model {', '.join(runs[:MOST_NAMED])}{more} {what}: {reason}.")
    return said
