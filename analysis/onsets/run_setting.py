"""What a row of evals says of its run besides numbers: which weights, how long, at which learning rate."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def config(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's configuration; empty where the table has none."""
    return json.loads(row["config"]) if row["config"] else {}


def weights(row: Mapping[str, Any]) -> str:
    """raw, or the averaging time of the measured weights as a share of the images seen: onsets of both never mix."""
    return "raw" if np.isnan(row["ema"]) else f"ema {row['ema']:g}"


def ended_early(last: Mapping[str, Any]) -> bool | None:
    """Does a run's last row lie before the length its configuration asks for? None = that length is not known."""
    train = config(last).get("train", {})
    length = train.get("images") or (train["epochs"] * last["n_train"] if train.get("epochs") else None)
    return None if length is None else bool(last["images_seen"] < length)


def width_rule(evals: "DataFrame") -> "Series[str]":
    """The rule that gives a run's peak rate at its width, in words [n]; the rate itself where the table has no config.

    Runs of one rule have another rate at every width, and are one setting: the rule is part of what a size is.
    """
    rules = {text: _rule(json.loads(text).get("train", {})) for text in evals["config"].dropna().unique()}
    return evals["config"].map(rules).where(evals["config"].notna(), evals["lr"].astype(str))


def _rule(train: Mapping[str, Any]) -> str:
    exponent = train.get("lr_width_exponent") or 0
    return f"{train.get('lr')}" + (f" (width/16)^{exponent:g}" if exponent else "")


def constant_rate(evals: "DataFrame") -> "DataFrame":
    """The rows of runs whose learning rate does not decay: a point inside a decay is no run of that length."""
    decays = {text for text in evals["config"].dropna().unique() if _decays(text)}
    return evals[~evals["config"].isin(decays)]


def _decays(text: str) -> bool:
    return json.loads(text).get("train", {}).get("lr_schedule", "constant") != "constant"
