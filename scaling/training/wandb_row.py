"""One evaluation as a row of a W&B history; scaling.wandb_records makes the record of it again."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from scaling.columns import NESTED


def history_row(evals: Mapping[str, object], nested: Mapping[str, Sequence[Mapping[str, object]]]) -> dict[str, object]:
    """One evaluation as a flat row: numbers to draw, and the whole record as text; what is missing is left out."""
    record = {"evals": _present(evals), **{name: [_present(row) for row in nested[name]] for name in NESTED}}
    row = _numbers(record["evals"])
    for stratum in record["strata"]:
        copies, measured = stratum["copies"], {name: value for name, value in stratum.items() if name != "copies"}
        row |= {f"strata/{copies}/{name}": value for name, value in _numbers(measured).items()}
    return {**row, "record": json.dumps(record, allow_nan=False, separators=(",", ":"))}


def _present(row: Mapping[str, object]) -> dict[str, object]:
    """The row in plain Python types, without what is None or not finite."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    present = {name: value for name, value in plain.items() if value is not None}
    return {name: value for name, value in present.items() if not isinstance(value, float) or isfinite(value)}


def _numbers(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if isinstance(value, (int, float))}
