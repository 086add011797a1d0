"""The points of a boundary in the report: a cell's mean or a run each, memorization beside hold-out loss or KID."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.boundary.cell_means import Cells, cell_means
from analysis.boundary.redraw import Rows
from analysis.summary import duplicated_recovery
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


@dataclass(frozen=True)
class StudyPoints:
    """The points of one boundary: means of cells where some cell has two runs, else the runs."""

    points: Rows | Cells
    of_point: "DataFrame"  # params, cell_id, runs (tuple), x_se, y_se, hits, trials
    what: str
    n_runs: int
    n_exact: int  # runs without a standard error of the quality column
    features: str  # of KID


def study_points(tables: Tables, rows: "DataFrame", column: str, *, of_samples: bool = False) -> StudyPoints | None:
    """The points of `rows` against the column of quality; None where fewer than two runs measured both.

    of_samples: by the memorized share of samples, also where chains from training images tell more.
    """
    by_stratum = not of_samples and tables.strata["n_basin_recovered"].notna().any()
    what = "recovered share of duplicated images" if by_stratum else "memorized share of samples"
    counted = known(duplicated_recovery(tables, rows) if by_stratum else of_samples_only(rows), column)
    if counted["run_id"].nunique() < 2:
        return None
    features = ", ".join(sorted(map(str, counted["feature_space"].dropna().unique()))) or "not named"
    exact = int(counted[f"{column}_se"].isna().sum())
    every = quality_and_rate(counted, column)
    cell = counted["cell_id"].where(counted["cell_id"].notna(), counted["run_id"]).astype(str)
    groups: Sequence[Array] = [np.array([k]) for k in range(len(counted))]
    points: Rows | Cells = every
    if cell.duplicated().any():
        runs = Rows(every.value, every.se, every.hits, every.trials, counted["run_id"].astype(str).to_numpy())
        points = cell_means(runs, cell.to_numpy())
        groups = points.rows
    return StudyPoints(points, _of_points(counted, groups, points), what, counted["run_id"].nunique(), exact, features)


def of_samples_only(rows: "DataFrame") -> "DataFrame":
    """`rows` with y of y_trials: memorized of generated samples."""
    return rows.assign(y=rows["n_memorized"], y_trials=rows["n_generated"])


def known(counted: "DataFrame", column: str) -> "DataFrame":
    """The rows that have `column` and a count y of y_trials."""
    return counted[counted[column].notna() & counted["y"].notna() & (counted["y_trials"] > 0)].reset_index(drop=True)


def quality_and_rate(counted: "DataFrame", column: str) -> Rows:
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
        "cell_id": [str(counted["cell_id"].iloc[rows[0]]) for rows in groups],
        "runs": [tuple(sorted(map(str, counted["run_id"].iloc[rows]))) for rows in groups],
        "x_se": se[:, 0], "y_se": se[:, 1], "hits": hits, "trials": trials,
    })  # fmt: skip
