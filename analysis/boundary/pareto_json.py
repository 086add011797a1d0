"""The JSON of analysis.pareto (design.md 6), and the rows it speaks about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.boundary.boundary import Boundary
from analysis.boundary.cell_means import Cells
from analysis.boundary.place import MOST, Placed
from analysis.boundary.redraw import Rows

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


@dataclass(frozen=True)
class Study:
    """The rows that take part: `number` [n] is their place in the table as read, 0 below the header."""

    frame: "DataFrame"
    number: Array
    rows: Rows
    points: Rows | Cells
    n_read: int
    said: Sequence[str]

    @property
    def point_number(self) -> Array:
        """How the answer numbers the points [k]: as rows of the table, or as entries of its list of cells."""
        return np.arange(len(self.points.value)) if isinstance(self.points, Cells) else self.number


def placed_json(row: int, found: Placed, study: Study) -> dict[str, Any]:
    """One entry of `placed` (design.md 6): `row` counts the models, every other row the study's points."""
    number = study.point_number
    return {
        "row": row,
        "p_front": found.p_front,
        "p_dominated": found.p_dominated,
        "by": [int(number[k]) for k, _ in found.by],
        "by_share": [share for _, share in found.by],
        "moves": [vars(move) for move in found.moves],
        "dominating": [
            {
                "row": int(number[way.row]), "on_front": way.on_front, "share": way.share, "gains": way.gains,
                "changes": way.changes, "n_changed": way.n_changed, "words": way.words,
            }
            for way in found.dominating
        ],
    }  # fmt: skip


def boundary_json(
    found: Boundary, study: Study, names: Sequence[str], message: str, there: list[dict[str, Any]]
) -> dict[str, Any]:
    """The answer, `placed` being `there`; membership is that of each cell, or of each row as read, null if left out."""
    cells = isinstance(study.points, Cells)
    n = len(study.points.value)
    number = study.point_number
    membership: list[float | None] = [None] * (n if cells else study.n_read)
    if found.membership is not None:
        for row, share in zip(number, found.membership, strict=True):
            membership[row] = None if np.isnan(share) else float(share)
    knees = np.zeros(n) if found.knees is None else found.knees
    answer = {
        "n": n,
        "front": [int(number[row]) for row in found.front],
        "membership": membership,
        "message": message,
        "hypervolume": {
            "value": found.volume,
            "lo": found.volume_lo,
            "hi": found.volume_hi,
            "bias": found.volume_bias,
            "reference": {name: float(value) for name, value in zip(names, found.reference, strict=True)},
        },
        "knee": None if found.knee is None else int(number[found.knee]),
        "knee_membership": found.knee_membership,
        "knees": [
            {"row": int(number[k]), "share": float(knees[k])}
            for k in np.argsort(-knees, kind="stable")[:MOST]
            if knees[k] > 0
        ],
        "placed": there,
    }
    if isinstance(study.points, Cells):
        answer["cells"] = _cells_json(study.points, study, names)
    elif "run_id" in study.frame.columns:
        answer["front_run_id"] = [str(study.frame["run_id"].iloc[row]) for row in found.front]
    return answer


def _cells_json(made: Cells, study: Study, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "cell": str(label),
            "rows": [int(study.number[row]) for row in rows],
            "n_runs": int(n_runs),
            "mean": {name: float(value) for name, value in zip(names, mean, strict=True)},
        }
        for label, rows, n_runs, mean in zip(made.labels, made.rows, made.n_runs, made.value, strict=True)
    ]
