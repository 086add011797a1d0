"""Which curves of a study are judged for double descent: along size, data and time, with the verdict on each.

Runs are pooled only where nothing but the axis and the replicate differs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.double_descent import predicted_threshold, verdicts
from analysis.onsets.run_setting import config
from analysis.replicates import REPLICATE_KEYS, without
from analysis.summary import last_evaluations
from analysis.words import number

if TYPE_CHECKING:
    from pandas import DataFrame

AXES = {"params": "model-wise", "n_unique": "sample-wise", "images_seen": "epoch-wise"}
FIXED = ("family", "n_unique", "params", "design", "copies", "noise_draws", "conditioning", "images_seen")
OF_AXIS = {"params": ("model.width", "model.params"), "n_unique": ("data.n_unique", "data.n_train"), "images_seen": ()}
NOT_OF_CURVE = (*REPLICATE_KEYS, "train.images", "train.epochs", "evaluate.at")  # of one length: FIXED says which
FEWEST_X = 3  # fewer points are no curve: no verdict


@dataclass(frozen=True)
class DescentCurve:
    """A curve of hold-out loss: its rows of evals, the verdict (double_descent.verdicts), the predicted peak if any."""

    axis: str
    rows: "DataFrame" = field(repr=False)
    verdict: Mapping[str, Any]
    threshold: float | None

    @property
    def kind(self) -> str:
        """model-wise, sample-wise or epoch-wise."""
        return AXES[self.axis]

    @property
    def fixed(self) -> dict[str, float]:
        """What is the same along the curve, of data and size."""
        return {name: float(self.rows[name].iloc[0]) for name in ("n_unique", "params") if name != self.axis}

    @property
    def setting(self) -> str:
        """n_unique 512, params 40 489."""
        return ", ".join(f"{name} {number(value, 6)}" for name, value in self.fixed.items())


def descent_curves(evals: "DataFrame", level: float, seed: int) -> list[DescentCurve]:
    """Every curve with FEWEST_X or more points along its axis, ordered by AXES, n_unique and params.

    Deterministic in `seed`, and in the order of the rows only where curves share both numbers.
    """
    measured = evals[evals["holdout_loss"].notna() & (evals["images_seen"] > 0)]
    found = []
    for axis in AXES:
        frame = measured if axis == "images_seen" else last_evaluations(measured)
        frame = frame.sort_values([name for name in ("n_unique", "params") if name != axis], kind="stable")
        labels = np.array([_setting(row, axis) for row in frame.to_dict("records")], object)
        for _, part in frame.groupby(labels, sort=False) if len(frame) else ():
            if part[axis].nunique() < FEWEST_X:
                continue
            threshold = _threshold(part) if axis == "params" else None
            (verdict,) = verdicts(part, x=axis, y="holdout_loss", predicted=threshold, level=level, seed=seed)
            found.append(DescentCurve(axis, part, verdict, threshold))
    return found


def _setting(row: dict[str, Any], axis: str) -> str:
    """What the points of one curve share: all of the configuration but the axis and what replicates differ in."""
    found = without(config(row), (*OF_AXIS[axis], *NOT_OF_CURVE))
    return json.dumps([found, [str(row[name]) for name in FIXED if name != axis]], sort_keys=True)


def _threshold(part: "DataFrame") -> float | None:
    """Parameters at which frozen noise puts the peak, n m d; None for fresh noise."""
    first = part.iloc[0]
    d = first["channels"] * first["image_size"] ** 2
    if np.isnan([first["noise_draws"], d]).any():
        return None
    return predicted_threshold(first["n_unique"], first["noise_draws"], int(d))
