"""Study 1: memorization over size, copies, data and time; what `results/memorization/README.md` states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.ask import question
from analysis.columns import read_table
from analysis.onset import onsets
from analysis.onsets.collapse import collapse
from analysis.onsets.run_setting import width_rule
from analysis.questions.answer import Answer
from analysis.registered import outcome
from analysis.studies.memorization_figures import collapsed, predicted_against_measured
from analysis.studies.quoted import count, interval, number, share
from analysis.studies.rate_law import rate_law, slopes
from analysis.studies.study import Study
from analysis.summary import holdout_minima, last_evaluations, with_exposures
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

BASE_RULE = "0.005 (width/16)^-0.9"
EARLIEST = 25_600  # images seen: before it the averaged weights are those of the warm-up
SEED, DRAWS = 0, 500
PREDICTION = "prediction.csv"


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    evals, strata = _base(tables)
    found: dict[str, str] = {}
    found |= _law(strata)
    found |= _cells(evals, tables.strata)
    found |= _questions(tables)
    found |= _before_overfitting(evals)
    found |= _clock(evals)
    found |= _registered(tables, folder)
    return found


def _base(tables: Tables) -> tuple["DataFrame", "DataFrame"]:
    """Evaluations and strata of the runs at the width rule with averaged weights: robustness is told apart."""
    evals = tables.evals[(width_rule(tables.evals) == BASE_RULE) & tables.evals["ema"].notna()]
    strata = tables.strata.merge(evals[["run_id", "images_seen"]], on=["run_id", "images_seen"])
    return evals, strata


def _law(strata: "DataFrame") -> dict[str, str]:
    """Recovery of a stratum in five logarithms, and in the quotients that the debate is about."""
    late = strata[strata["images_seen"] >= EARLIEST]
    plain = {name: late[name] for name in ("params", "copies", "images_seen", "n_unique", "n_train")}
    quotients = {
        "params_per_unique": late["params"] / late["n_unique"], "unique": late["n_unique"],
        "exposures": late["images_seen"] * late["copies"] / late["n_train"], "time": late["images_seen"],
        "train": late["n_train"],
    }  # fmt: skip
    found = {"n_rows": count(len(late)), "n_runs": count(late["run_id"].nunique())}
    for name, trials in (("law", "n_basin"), ("ceiling", "n_ideal_basin_recovered")):
        found |= slopes(rate_law(late, "n_basin_recovered", trials, plain), name)
    return found | slopes(rate_law(late, "n_basin_recovered", "n_ideal_basin_recovered", quotients), "quotients")


def _cells(evals: "DataFrame", strata: "DataFrame") -> dict[str, str]:
    """The memorized share of samples at three thresholds, and how far it ranges."""
    cells = with_exposures(evals[evals["images_seen"] >= EARLIEST], strata)
    x = {name: cells[name] for name in ("params", "exposures", "n_unique")}
    found = {}
    for name, hits in (("third", "n_memorized"), ("quarter", "n_memorized_14"), ("half", "n_memorized_12")):
        found |= slopes(rate_law(cells, hits, "n_generated", x), f"cell_{name}")
    last = last_evaluations(evals)
    f = (last["n_memorized"] / last["n_generated"]).groupby(last["cell_id"]).mean()
    null = last["n_null_memorized"].sum() / last["n_generated"].sum()
    return found | {"n_cells": count(len(f)), "share_lowest": share(f.min()), "share_highest": share(f.max()),
                    "share_null": share(null)}  # fmt: skip


def _questions(tables: Tables) -> dict[str, str]:
    how = dict(rate=0.01, at={}, level=0.95, draws=DRAWS, seed=SEED)
    asked: dict[str, Answer] = {name: question(name)(tables, **how) for name in ("exchange", "absolute_vs_fraction")}
    amount = {row["slope_of_ln"].split(":")[0]: row for row in asked["absolute_vs_fraction"].rows}
    chi = asked["exchange"]
    return {
        "chi": interval(chi.value, chi.lo, chi.hi),
        **{f"grows_{name}": interval(amount[name]["value"], amount[name]["lo"], amount[name]["hi"])
           for name in ("amount", "fraction")},
    }  # fmt: skip


def _before_overfitting(evals: "DataFrame") -> dict[str, str]:
    """What is memorized where a run's hold-out loss is lowest, of the runs that memorize more than 1 % at their end."""
    last, lowest = last_evaluations(evals), holdout_minima(evals)
    rate = (lowest["n_memorized"] / lowest["n_generated"]).to_numpy()
    ends = last.set_index("run_id").loc[lowest["run_id"]]
    memorizes = (ends["n_memorized"] / ends["n_generated"]).to_numpy() > 0.01
    extracted = lowest["n_extracted"].to_numpy()[memorizes]
    return {
        "runs_memorizing": count(memorizes.sum()),
        "of_them_at_minimum": count(np.sum(rate[memorizes] > 0.01)),
        "most_at_minimum": share(rate.max()),
        "extracted_at_minimum": count(np.sum(extracted > 0)),
    }


def _clock(evals: "DataFrame") -> dict[str, str]:
    """Slopes of the onsets' logarithms in n_unique and width, of the runs without copies; theory 1 and -1."""
    runs = onsets(evals[evals["design"] == "none"], rng=np.random.default_rng(SEED))
    found = {}
    for onset in ("tau_mem", "tau_gen"):
        row = min(collapse(runs, onset, 0.95), key=lambda fitted: fitted["aicc"])  # of the two laws of scatter
        for name in ("n_unique", "width"):
            one = row["params"][name]
            found[f"{onset}_{name}"] = interval(one["value"], one["lo"], one["hi"])
    return found


def _registered(tables: Tables, folder: Path) -> dict[str, str]:
    """Coverage and error of the registered predictions; nothing until their runs are there."""
    prediction = read_table(folder / PREDICTION)
    if not set(prediction["run_id"]) & set(tables.evals["run_id"]):
        return {}
    found = {}
    for one in outcome(prediction, tables, seed=SEED):
        name = one["response"].replace(" ", "_")
        found |= {f"registered_{name}_n": count(one["n_measured"])}
        for kind in ("coverage", "could_miss"):
            part = one[kind]
            found[f"registered_{name}_{kind}"] = share(part["value"], part["lo"], part["hi"])
        found |= {f"registered_{name}_rmse_{how}": number(error) for how, error in one["rmse"].items()}
    return found


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    _, strata = _base(tables)
    drawn = [collapsed(strata[strata["images_seen"] >= EARLIEST])]
    prediction = read_table(folder / PREDICTION)
    if set(prediction["run_id"]) & set(tables.evals["run_id"]):
        drawn.append(predicted_against_measured(prediction, tables))
    return drawn


STUDY = Study("memorization", numbers, figures)
