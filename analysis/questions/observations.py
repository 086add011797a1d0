"""The rows of a study that a question is asked of: one evaluation a run, counts with what varied, runs and draws.

Two responses, never mixed in one fit (design.md section 4): basin recovery of a stratum's images, and the memorized
share of a cell's generated samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analysis.columns import TableError
from analysis.onsets.run_setting import constant_rate, width_rule
from analysis.questions.answer import CannotTell
from analysis.rates import checked_counts
from analysis.replicates import design_cells
from analysis.summary import holdout_minima, last_evaluations
from analysis.table import Tables
from analysis.words import amount, number, several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
VARIABLES = ("params", "copies", "images_seen", "n_unique")
BESIDE = ("n_train",)  # of a stratum's rows: the same copies are seen less often in a larger training set
# What a run is besides these: runs that differ in it are other experiments and are not pooled into one surface.
SETTING = ("dataset", "image_size", "family", "conditioning", "noise_draws", "near", "protocol", "lr", "batch_size",
           "weight_decay", "ema", "blocks", "attention", "skips", "prune")  # fmt: skip
NEAR_ENOUGH = 0.02  # of images_seen: a requested evaluation is rounded up to a whole batch
FEWEST_DRAWS = 5  # below it whole draws of images cannot be resampled


class Response(NamedTuple):
    """What is counted: a table, its columns of hits and trials, its name in words, and what it may depend on."""

    table: str
    hits: str
    trials: str
    words: str
    variables: tuple[str, ...]


RESPONSES = {
    "stratum": Response(
        "strata",
        "n_basin_recovered",
        "n_basin",
        "recovery of a stratum's images from their basins",
        (*VARIABLES, *BESIDE),
    ),
    "cell": Response("evals", "n_memorized", "n_generated", "memorized share of generated samples", VARIABLES),
}


@dataclass(frozen=True)
class Observations:
    """Counts and variables of n rows, one evaluation a run; `notes` say what was left out."""

    response: Response
    x: Mapping[str, Array]  # every one of the response's variables that was recorded [n]
    hits: Array  # [n]
    trials: Array  # [n]
    run: Array  # [n] train_id: runs that share it share their weights
    cell: Array  # [n] of `design_cells`
    draw: Array  # [n] text; one and the same where it was not recorded
    frame: "DataFrame"
    notes: tuple[str, ...]

    @property
    def varied(self) -> tuple[str, ...]:
        """The variables that differ between rows, in their order."""
        return tuple(name for name, values in self.x.items() if varies(values))

    @property
    def cluster(self) -> tuple[Array, str]:
        """What a bootstrap resamples [n], and its name: draws of images where there are enough of them, else runs."""
        draws = len(set(self.draw))
        return (self.draw, "draw of images") if draws >= FEWEST_DRAWS else (self.run, "run")


def observations(tables: Tables, response: str, evaluation: str = "last") -> Observations:
    """The rows of `response` (stratum, cell) at one evaluation a run: last, holdout_min or a number of images seen.

    Raises TableError on words it does not know, CannotTell where nothing was measured.
    """
    if response not in RESPONSES:
        raise TableError(f"--response {response}: use {' or '.join(RESPONSES)}")
    chosen = RESPONSES[response]
    evals, notes = one_setting(tables.evals)
    evals, said = evaluated(evals, evaluation)
    frame = getattr(tables, chosen.table)
    frame = frame.merge(evals[["run_id", "images_seen"]], on=["run_id", "images_seen"])
    known = (frame[chosen.hits].notna() & (frame[chosen.trials] > 0)).to_numpy(bool)
    if not known.any():
        raise CannotTell(f"no row of {chosen.table} has {chosen.hits} and {chosen.trials}; measure them, "
                         f"or ask with --response {' or '.join(set(RESPONSES) - {response})}")  # fmt: skip
    recorded = [name for name in chosen.variables if frame[name][known].notna().any()]
    whole = known & (frame[recorded] > 0).all(axis=1).to_numpy(bool)
    said = [*notes, *said, _left_out(frame, known, whole, chosen)]
    frame = frame[whole].reset_index(drop=True)
    if frame.empty:
        raise CannotTell(f"no row of {chosen.table} has {', '.join(recorded)} above 0")
    hits, trials = checked_counts(frame[chosen.hits].to_numpy(float), frame[chosen.trials].to_numpy(float), chosen.hits)
    # Runs that share their weights share their luck: they count as one.
    trained = frame["run_id"].map(evals.set_index("run_id")["train_id"]).fillna(frame["run_id"])
    if trained.nunique() < frame["run_id"].nunique():
        said.append(
            f"{several(frame['run_id'].nunique() - trained.nunique(), 'run')} measured the weights of another: "
            f"drawn together"
        )
    cell = frame["run_id"].map(dict(zip(evals["run_id"], design_cells(evals), strict=True))).to_numpy()
    draw = frame["draw"].astype(str).to_numpy() if frame["draw"].notna().all() else np.full(len(frame), "")
    x = {name: frame[name].to_numpy(float) for name in recorded}
    return Observations(
        chosen, x, hits, trials, trained.astype(str).to_numpy(), cell, draw, frame,
        tuple(part for part in said if part),
    )  # fmt: skip


def evaluated(evals: "DataFrame", evaluation: str) -> tuple["DataFrame", list[str]]:
    """One row of evals a run: last, at lowest holdout_loss or at a number of images seen; TableError on other words."""
    trained = evals[evals["images_seen"] > 0]
    if evaluation == "last":
        return last_evaluations(trained), []
    constant = constant_rate(trained)
    decayed = trained["run_id"].nunique() - constant["run_id"].nunique()
    said = [f"{several(decayed, 'run')} with a decaying learning rate left out: inside a decay no point is a "
            f"run of its "
            f"length" if decayed else ""]  # fmt: skip
    if evaluation == "holdout_min":
        return holdout_minima(constant), said
    try:
        wanted = float(evaluation)
    except ValueError:
        raise TableError(f"--eval {evaluation}: use last, holdout_min or a number of images seen") from None
    away = np.abs(np.log(constant["images_seen"] / wanted)) if wanted > 0 else constant["images_seen"] + np.inf
    kept = constant[away <= NEAR_ENOUGH]
    if kept.empty:
        there = ", ".join(f"{value:g}" for value in sorted(constant["images_seen"].unique())[:12])
        raise TableError(f"--eval {evaluation}: no evaluation within 2 % of it; the runs have {there or 'none'}")
    missing = trained["run_id"].nunique() - decayed - kept["run_id"].nunique()
    said.append(f"without an evaluation at {amount(wanted)} images: {several(missing, 'run')}" if missing else "")
    return kept.loc[away[kept.index].groupby(kept["run_id"]).idxmin()].reset_index(drop=True), said


def one_setting(evals: "DataFrame") -> tuple["DataFrame", list[str]]:
    """The rows of the setting with most of them: other networks or other training are other surfaces."""
    ruled = evals.assign(lr=width_rule(evals))
    differing = [name for name in SETTING if ruled[name].nunique(dropna=False) > 1]
    # Without a configuration: a rate that differs with the width alone is part of what a size is.
    differing = [name for name in differing if not (name == "lr" and _follows(evals, "lr", "width"))]
    if not differing:
        return evals, []
    group = ruled.groupby(differing, dropna=False).ngroup()
    largest = evals.groupby(group)["run_id"].nunique().idxmax()
    kept, left = evals[group == largest], evals["run_id"].nunique() - evals[group == largest]["run_id"].nunique()
    where = ", ".join(f"{name} {ruled[name][group == largest].iloc[0]}" for name in differing)
    return kept, [
        f"only the {several(kept['run_id'].nunique(), 'run')} with {where}; {several(left, 'other')} left out"
    ]


def _follows(frame: "DataFrame", name: str, leader: str) -> bool:
    return bool((frame.groupby(leader)[name].nunique(dropna=False) <= 1).all())


def _left_out(frame: "DataFrame", known: Array, whole: Array, chosen: Response) -> str:
    parts = [
        f"{int(np.sum(~known))} of {several(len(frame), 'row')} without {chosen.hits}" if not known.all() else "",
        f"{several(int(np.sum(known & ~whole)), 'row')} without a variable of the law"
        if np.any(known & ~whole)
        else "",
    ]
    said = " and ".join(part for part in parts if part)
    return f"{said}: left out" if said else ""


def check_point(at: Mapping[str, float]) -> None:
    """Raises ValueError on a name that is no variable of a surface, or a value that has no logarithm."""
    for name, value in at.items():
        if name not in (*VARIABLES, *BESIDE):
            near = get_close_matches(name, (*VARIABLES, *BESIDE), n=1)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join((*VARIABLES, *BESIDE))}"
            raise ValueError(f"--at {name}={value:g}: no variable of the surface; {hint}")
        if not 0 < value < np.inf:
            raise ValueError(f"--at {name}={value:g}: the surface is in logarithms; give a positive number")


def varies(values: Array) -> bool:
    """Do positive values [n] differ by more than rounding?"""
    return bool(np.ptp(np.log(values)) > 1e-9)


def level_below_middle(values: Array) -> float:
    """The median as one of values [n]: of an even number, the lower of the middle two."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def named(values: Mapping[str, float], defaults: Sequence[str] = ()) -> str:
    """`params 40 489 (median), copies 8`: a point in words."""
    return ", ".join(f"{k} {number(v, 6)}{' (median)' if k in defaults else ''}" for k, v in values.items())
