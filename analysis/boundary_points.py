"""The points of a study's boundary: memorization beside a quality column, a point a cell where cells have runs.

The geometry and its uncertainty are in the room `boundary`; here the rows of a study become its points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.boundary.cell_means import Cells, cell_means
from analysis.boundary.redraw import Rows
from analysis.replicates import design_cells
from analysis.summary import duplicated_recovery
from analysis.table import Tables
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
SHORT = {"holdout_loss": "hold-out loss", "kid": "KID"}


@dataclass(frozen=True)
class BoundaryPoints:
    """Means of cells where some cell has two runs, else the runs."""

    points: Rows | Cells
    of_point: "DataFrame"  # params, cell_id, runs (tuple), x_se, y_se, hits, trials
    what: str
    n_runs: int
    n_exact: int  # runs without a standard error of the quality column
    features: str  # of KID
    left_out: str  # in words: runs whose quality does not compare


def boundary_points(
    tables: Tables, rows: "DataFrame", column: str, *, of_samples: bool = False
) -> BoundaryPoints | None:
    """`rows` of evals, one a run; None where fewer than two runs have both. of_samples: as `counted_rows`."""
    counted, what, left_out = counted_rows(tables, rows, column, of_samples=of_samples)
    if counted["run_id"].nunique() < 2:
        return None
    features = ", ".join(sorted(map(str, counted["feature_space"].dropna().unique()))) or "not named"
    exact = int(counted[f"{column}_se"].isna().sum())
    every = rates_and_quality(counted, column)
    counted = counted.assign(cell_id=design_cells(counted))
    cell = counted["cell_id"]
    groups: Sequence[Array] = [np.array([k]) for k in range(len(counted))]
    points: Rows | Cells = every
    if cell.duplicated().any():
        runs = Rows(every.value, every.se, every.hits, every.trials, counted["run_id"].astype(str).to_numpy())
        points = cell_means(runs, cell.to_numpy())
        groups = points.rows
    return BoundaryPoints(
        points, _of_points(counted, groups, points), what, counted["run_id"].nunique(), exact, features, left_out
    )


def counted_rows(
    tables: Tables, rows: "DataFrame", column: str, *, of_samples: bool = False
) -> tuple["DataFrame", str, str]:
    """`rows` that have `column` and a count of memorization (y of y_trials), what is counted, and what was left out.

    of_samples: by the memorized share of samples, also where chains from training images tell more. KID of other
    features than most runs have is left out.
    """
    by_stratum = not of_samples and tables.strata["n_basin_recovered"].notna().any()
    what = "recovered share of duplicated images" if by_stratum else "memorized share of samples"
    counted = with_quality(duplicated_recovery(tables, rows) if by_stratum else counted_samples(rows), column)
    spaces = counted["feature_space"].dropna().value_counts()
    if column != "kid" or len(spaces) < 2:
        return counted, what, ""
    most = min(name for name, count in spaces.items() if count == spaces.max())
    other = counted["feature_space"].notna() & (counted["feature_space"] != most)
    left = ", ".join(sorted(counted["feature_space"][other].unique()))
    said = f"{several(int(other.sum()), 'run')} with KID in other features ({left}) left out."
    return counted[~other].reset_index(drop=True), what, said


def counted_samples(rows: "DataFrame") -> "DataFrame":
    """`rows` of evals with y, y_trials: memorized samples of all."""
    return rows.assign(y=rows["n_memorized"], y_trials=rows["n_generated"])


def with_quality(counted: "DataFrame", column: str) -> "DataFrame":
    """The rows that have `column` and a count."""
    return counted[counted[column].notna() & counted["y"].notna() & (counted["y_trials"] > 0)].reset_index(drop=True)


def rates_and_quality(counted: "DataFrame", column: str) -> Rows:
    """Quality with its standard error (a missing one is 0) and the rate with its counts, a row a run."""
    nothing = np.full(len(counted), np.nan)
    hits, trials = counted["y"].to_numpy(float), counted["y_trials"].to_numpy(float)
    return Rows(
        np.stack([counted[column].to_numpy(float), hits / trials], axis=1),
        np.stack([counted[f"{column}_se"].fillna(0).to_numpy(float), np.zeros(len(counted))], axis=1),
        np.stack([nothing, hits], axis=1), np.stack([nothing, trials], axis=1),
    )  # fmt: skip


def _of_points(counted: "DataFrame", groups: Sequence[Array], points: Rows | Cells) -> "DataFrame":
    """Params, runs and standard errors of each point: of its runs' scatter, or of the measurement if larger."""
    import pandas

    if isinstance(points, Cells):
        scatter = np.asarray(points.shift.multiply(points.shift).sum(axis=0)).reshape(points.value.shape)
        measured = points.errors.se if points.errors is not None else None
        se = np.maximum(np.sqrt(scatter), np.zeros(points.value.shape) if measured is None else measured)
    else:
        se = np.zeros(points.value.shape) if points.se is None else points.se
    hits, trials = ([counted[name].iloc[rows].sum() for rows in groups] for name in ("y", "y_trials"))
    return pandas.DataFrame({
        "params": [counted["params"].iloc[rows[0]] for rows in groups],
        "cell_id": [counted["cell_id"].iloc[rows[0]] for rows in groups],
        "runs": [tuple(sorted(map(str, counted["run_id"].iloc[rows]))) for rows in groups],
        "x_se": se[:, 0], "y_se": se[:, 1], "hits": hits, "trials": trials,
    })  # fmt: skip
