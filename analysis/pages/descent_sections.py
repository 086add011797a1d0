"""The report's verdicts: does hold-out loss, along size, data or time, rise and fall a second time?"""

import json
from typing import TYPE_CHECKING

import numpy as np

from analysis.double_descent import predicted_threshold, verdicts
from analysis.onsets.run_setting import config
from analysis.pages import page, words
from analysis.summary import last_evaluations

if TYPE_CHECKING:
    from pandas import DataFrame

AXES = {"params": "model-wise", "n_unique": "sample-wise", "images_seen": "epoch-wise"}
FIXED = ("family", "n_unique", "params", "design", "copies", "noise_draws", "conditioning", "images_seen")
OF_AXIS = {"params": {"model": ("width", "params")}, "n_unique": {"data": ("n_unique", "n_train")}, "images_seen": {}}
OF_REPLICATE = {"data": ("draw", "fold"), "train": ("images", "epochs"), "evaluate": ("at",)}  # and the seed
FEWEST_X = 3  # fewer points are no curve: no row, no verdict
SAID = {"present": "double descent", "absent": "none", "cannot_tell": "cannot tell"}


def descent_table(evals: "DataFrame", level: float, seed: int) -> tuple[page.Html | str, list[dict], list[str]]:
    """A row a curve of the study, its verdict and why; the verdicts; or in words why there is no table."""
    measured = evals[evals["holdout_loss"].notna() & (evals["images_seen"] > 0)]
    rows, found = [], []
    for axis, kind in AXES.items():
        frame = measured if axis == "images_seen" else last_evaluations(measured)
        labels = np.array([_setting(row, axis) for row in frame.to_dict("records")], object)
        for _, part in frame.groupby(labels, sort=False) if len(frame) else ():
            if part[axis].nunique() < FEWEST_X:
                continue
            threshold = _threshold(part) if axis == "params" else None
            (verdict,) = verdicts(part, x=axis, y="holdout_loss", predicted=threshold, level=level, seed=seed)
            setting = ", ".join(f"{name} {part[name].iloc[0]:g}" for name in ("n_unique", "params") if name != axis)
            found.append({"axis": axis, "setting": setting, **verdict})
            peak = "–" if verdict["peak_x"] is None else words.whole(verdict["peak_x"])
            rows.append([f"{kind}: along {axis}", setting, SAID[verdict["verdict"]],
                         f"{words.number(verdict['prominence'])}", peak, words.number(verdict["p_value"]),
                         verdict["why"]])  # fmt: skip
    if not rows:
        return "", [], [f"No verdict on double descent: it takes {FEWEST_X} sizes, amounts of data or evaluations."]
    headers = ("curve of hold-out loss", "at", "verdict", "prominence", "peak at", "p-value", "why")
    note = (
        "Search test of measures.md 3.3: a rise and a second fall wherever they may be, against the least favourable "
        "valley. Overfitting alone, a U shape, is none. Prominence is never negative and biased up."
    )
    return (
        page.joined([page.table("verdicts", headers, rows, texts=(0, 1, 2, 6)), page.paragraph(note, "note")]),
        found,
        [],
    )


def _setting(row: dict, axis: str) -> str:
    """What the points of one curve share: all of the configuration but the axis and what replicates differ in."""
    found = config(row)
    found.pop("seed", None)
    for names in (OF_AXIS[axis], OF_REPLICATE):
        for section, keys in names.items():
            found[section] = {key: value for key, value in found.get(section, {}).items() if key not in keys}
    return json.dumps([found, [str(row[name]) for name in FIXED if name != axis]], sort_keys=True)


def _threshold(part: "DataFrame") -> float | None:
    """Parameters at which frozen noise puts the peak, n m d; None for fresh noise."""
    first = part.iloc[0]
    d = first["channels"] * first["image_size"] ** 2
    if np.isnan([first["noise_draws"], d]).any():
        return None
    return predicted_threshold(first["n_unique"], first["noise_draws"], int(d))
