"""Study 1: memorization over size, copies, data and time; what `results/memorization/README.md` states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.ask import question
from analysis.columns import read_table
from analysis.onset import onsets
from analysis.onsets.collapse import collapse
from analysis.onsets.run_setting import width_rule
from analysis.per_image.rank_correlation import spearman
from analysis.questions.answer import Answer
from analysis.rates import wilson
from analysis.registered import outcome
from analysis.studies.competing import competing
from analysis.studies.memorization_figures import collapsed, predicted_against_measured
from analysis.studies.quoted import count, interval, number, share
from analysis.studies.rate_law import rate_law, slopes
from analysis.studies.robustness import by_design, by_rule, by_steps, elsewhere, offset, one_spectrum
from analysis.studies.robustness_figures import other_images
from analysis.studies.study import Study, drawn
from analysis.summary import holdout_minima, last_evaluations, pooled_rates, study_fits, with_exposures
from analysis.table import Tables, load

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

BASE_RULE = "0.005 (width/16)^-0.9"
EARLIEST = 25_600  # images seen: before it the averaged weights are those of the warm-up
LATEST = 102_400  # images seen from which the law is fitted again, to see what its beginning does
SEED, DRAWS = 0, 500
PREDICTION, STEPS, ELSEWHERE = "prediction.csv", "beside/steps", "beside/fashion"
CEILING = "n_ideal_basin_recovered"
ENDS, RATE = ("value", "lo", "hi"), ("rate", "lo", "hi")
SIZES = (10_405, 40_489, 159_697)  # parameters for which a limit of copies is told
LEVEL, BOUNDARY = 0.95, "boundary_holdout_last"


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number the pages quote, by name; `folder` holds the registered predictions."""
    evals, strata = base(tables)
    found: dict[str, str] = {}
    found |= _law(strata)
    late = strata[strata["images_seen"] >= EARLIEST]
    variables = quotients(late)
    found |= by_design(late, {name: variables[name] for name in ("params_per_unique", "exposures", "time")})
    found |= competing(late.assign(exposures=variables["exposures"]), "n_basin_recovered", CEILING, "recovery")
    found |= by_rule(tables.evals, tables.strata, EARLIEST)
    found |= _cells(evals, tables.strata)
    found |= _questions(tables)
    found |= _simulates(last_evaluations(evals))
    found |= _by_copies(last_evaluations(evals), last_evaluations(strata))
    found |= _before_overfitting(evals)
    found |= _clock(evals)
    found |= _registered(tables, folder)
    return found | _beside(evals, strata, folder)


def base(tables: Tables) -> tuple["DataFrame", "DataFrame"]:
    """Evaluations and strata of the runs at the width rule with averaged weights: robustness is told apart."""
    evals = tables.evals[(width_rule(tables.evals) == BASE_RULE) & tables.evals["ema"].notna()]
    strata = tables.strata.merge(evals[["run_id", "images_seen"]], on=["run_id", "images_seen"])
    return evals, strata


def _law(strata: "DataFrame") -> dict[str, str]:
    """Recovery of a stratum in five logarithms, and as a share of its ceiling in the quotients of the debate."""
    late = strata[strata["images_seen"] >= EARLIEST]
    plain = {name: late[name] for name in ("params", "copies", "images_seen", "n_unique", "n_train")}
    found = {"n_rows": count(len(late)), "n_runs": count(late["run_id"].nunique())}
    found |= slopes(rate_law(late, "n_basin_recovered", "n_basin", plain), "law")
    latest = strata[strata["images_seen"] >= LATEST]
    for name, rows in (("quotients", late), ("quotients_latest", latest)):
        found |= slopes(rate_law(rows, "n_basin_recovered", CEILING, quotients(rows)), name)
    return found


def quotients(strata: "DataFrame") -> dict[str, Any]:
    """The debate's variables, a value a stratum: parameters per image, how often an image was seen, how long, …"""
    return {
        "params_per_unique": strata["params"] / strata["n_unique"], "unique": strata["n_unique"],
        "exposures": strata["images_seen"] * strata["copies"] / strata["n_train"], "time": strata["images_seen"],
        "train": strata["n_train"],
    }  # fmt: skip


def _cells(evals: "DataFrame", strata: "DataFrame") -> dict[str, str]:
    """The memorized share of samples at three thresholds, and how far it ranges."""
    cells = with_exposures(evals[evals["images_seen"] >= EARLIEST], strata)
    x = {name: cells[name] for name in ("params", "exposures", "n_unique")}
    found: dict[str, str] = {}
    for name, hits in (("third", "n_memorized"), ("quarter", "n_memorized_14"), ("half", "n_memorized_12")):
        found |= slopes(rate_law(cells, hits, "n_generated", x), f"cell_{name}")
    found |= competing(cells.drop(columns=["copies", "n_train"], errors="ignore"), "n_memorized", "n_generated", "cell")
    last = last_evaluations(evals)
    cell = pooled_rates(last, ("cell_id",), "n_memorized", "n_generated").sort_values("rate")
    lowest, highest = cell.iloc[0], cell.iloc[-1]
    return found | {
        "n_cells": count(len(cell)),
        "share_lowest": share(lowest["rate"], lowest["lo"], lowest["hi"]),
        "share_highest": share(highest["rate"], highest["lo"], highest["hi"]),
        "null": f"{count(last['n_null_memorized'].sum())} of {count(last['n_generated'].sum())}",
    }


def _questions(tables: Tables) -> dict[str, str]:
    how = dict(rate=0.01, at={}, level=LEVEL, draws=DRAWS, seed=SEED)
    asked: dict[str, Answer] = {name: question(name)(tables, **how) for name in ("exchange", "absolute_vs_fraction")}
    amount: dict[str, Any] = {str(row["slope_of_ln"]).split(":")[0]: row for row in asked["absolute_vs_fraction"].rows}
    chi = asked["exchange"]
    return {
        "chi": interval(chi.value, chi.lo, chi.hi),
        **{f"grows_{name}": interval(amount[name]["value"], amount[name]["lo"], amount[name]["hi"])
           for name in ("amount", "fraction")},
        **_most_copies(tables, how),
    }  # fmt: skip


def _most_copies(tables: Tables, how: Mapping[str, Any]) -> dict[str, str]:
    """Up to how many copies fewer than 1 % of an image's chains come back, in the spectrum of 256 images at its end."""
    found = {}
    for params in SIZES:
        at = {"params": params, "n_unique": 256, "n_train": 8_160, "images_seen": 204_800}
        one = question("max_copies")(tables, **{**how, "at": at})
        found[f"most_copies_{params}"] = interval(one.value, one.lo, one.hi)
    return found


def _simulates(last: "DataFrame") -> dict[str, str]:
    """Distance to the ideal denoiser of the training set where most samples are copies and where none is."""
    rate = last["n_memorized"] / last["n_generated"]
    rho = spearman(last["ideal_distance"].to_numpy(float), rate.to_numpy(float), LEVEL)
    copying, none = last[rate > 0.5], last[rate == 0]
    return {
        "ideal_with_share": interval(rho.value, rho.lo, rho.hi),
        "ideal_where_copying": number(copying["ideal_distance"].mean()),
        "ideal_where_copying_null": number(copying["ideal_distance_null"].mean()),
        "ideal_where_none": number(none["ideal_distance"].mean()),
        "ideal_where_none_null": number(none["ideal_distance_null"].mean()),
        "runs_copying": count(len(copying)), "runs_without": count(len(none)),
    }  # fmt: skip


def _by_copies(last: "DataFrame", strata: "DataFrame") -> dict[str, str]:
    """Recovery of rare and of frequent images of one spectrum, and what is copied where every image is single."""
    of = strata[(strata["design"] == "spectrum") & (strata["n_unique"] == 256) & (strata["params"] == SIZES[-1])]
    rates = pooled_rates(of, ("copies",), "n_basin_recovered", "n_basin").set_index("copies")
    found = {f"spectrum_{r}": share(*rates.loc[r, list(RATE)]) for r in (1, 8, 32, 128)}
    single = last[(last["design"] == "none") & (last["n_unique"] == last["n_unique"].min())]
    cell = pooled_rates(single, ("params",), "n_memorized", "n_generated").sort_values("rate").iloc[-1]
    return found | {"single_most": share(*cell[list(RATE)]), "single_most_params": count(cell["params"]),
                    "single_n_unique": count(single["n_unique"].iloc[0])}  # fmt: skip


def _before_overfitting(evals: "DataFrame") -> dict[str, str]:
    """What is memorized where a run's hold-out loss is lowest, of the runs that memorize more than 1 % at their end."""
    last, lowest = last_evaluations(evals), holdout_minima(evals)
    rate = (lowest["n_memorized"] / lowest["n_generated"]).to_numpy()
    ends = last.set_index("run_id").loc[lowest["run_id"]]
    memorizes = (ends["n_memorized"] / ends["n_generated"]).to_numpy() > 0.01
    extracted, most = lowest["n_extracted"].to_numpy()[memorizes], lowest.iloc[int(rate.argmax())]
    return {
        "runs_memorizing": count(memorizes.sum()),
        "of_them_at_minimum": count(np.sum(rate[memorizes] > 0.01)),
        "most_at_minimum": share(*map(float, wilson(most["n_memorized"], most["n_generated"]))),
        "extracted_at_minimum": count(np.sum(extracted > 0)),
    }


def _clock(evals: "DataFrame") -> dict[str, str]:
    """Slopes of the onsets' logarithms in n_unique and width, of the runs without copies; theory 1 and -1."""
    runs = onsets(evals[evals["design"] == "none"], rng=np.random.default_rng(SEED))
    found: dict[str, str] = {}
    for onset in ("tau_mem", "tau_gen"):
        row = min(collapse(runs, onset, 0.95), key=lambda fitted: fitted["aicc"])  # of the two laws of scatter
        for name in ("n_unique", "width"):
            one = row["params"][name]
            found[f"{onset}_{name}"] = interval(one["value"], one["lo"], one["hi"])
    return found


def _beside(evals: "DataFrame", strata: "DataFrame", folder: Path) -> dict[str, str]:
    """What runs that are no part of the law say of it: finer sampling, other images; nothing until they are there."""
    found = dict[str, str]()
    if (folder / STEPS).exists():
        found |= by_steps(evals, load(folder / STEPS).evals)
    if (folder / ELSEWHERE).exists():
        other = load(folder / ELSEWHERE)
        found |= elsewhere(other.evals, other.strata, EARLIEST) | offset(evals, strata, other, EARLIEST)
    return found


def _registered(tables: Tables, folder: Path) -> dict[str, str]:
    """Coverage and error of the registered predictions; nothing until their runs are there."""
    prediction = read_table(folder / PREDICTION)
    if not set(prediction["run_id"]) & set(tables.evals["run_id"]):
        return {}
    found: dict[str, str] = {}
    for one in outcome(prediction, tables, seed=SEED):
        name = one["response"].replace(" ", "_")
        found |= {f"registered_{name}_n": count(one["n_measured"])}
        for kind in ("coverage", "could_miss"):
            found[f"registered_{name}_{kind}"] = share(*(one[kind][end] for end in ENDS))
        beyond = one["beyond"]
        found[f"registered_{name}_beyond"] = f"{count(beyond['value'] * beyond['n'])} of {count(beyond['n'])}"
        for part in ("rmse", "worse"):
            for how, told in one[part].items():
                found[f"registered_{name}_{part}_{how}"] = interval(*(told[end] for end in ENDS))
    return found


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """The collapse on one curve, the registered cells where their runs are there, and the report's two boundaries."""
    evals, strata = base(tables)
    made = [collapsed(strata[strata["images_seen"] >= EARLIEST])]
    prediction = read_table(folder / PREDICTION)
    if set(prediction["run_id"]) & set(tables.evals["run_id"]):
        made.append(predicted_against_measured(prediction, tables))
    if (folder / ELSEWHERE).exists():
        made.append(other_images(evals, strata, load(folder / ELSEWHERE)))
    kept = Tables(evals, strata, tables.noise_levels, tables.prompts, tables.images)
    return [*made, *_attack(kept), *_of_the_report(kept)]


def _attack(tables: Tables) -> list["ReportFigure"]:
    """Images found against samples drawn beside the perfect copier: one spectrum of 256 images, a run a size."""
    from analysis.pictures.instrument_figures import budget

    evals, images = tables.evals, tables.images
    one = evals[one_spectrum(evals) & (evals["seed"] == 0)]
    kept = Tables(one, tables.strata, tables.noise_levels, tables.prompts, images[images["run_id"].isin(one["run_id"])])
    return drawn(budget(kept, LEVEL))


def _of_the_report(tables: Tables) -> list["ReportFigure"]:
    """The phase boundary and the Pareto boundary at the end, as the report draws them."""
    from analysis.pictures.boundary_figures import boundaries
    from analysis.pictures.map_figures import maps
    from analysis.pictures.scales import study_scale

    params = study_scale(tables, "params")
    fits, _ = study_fits(tables, draws=DRAWS, level=LEVEL, seed=SEED)
    found = drawn(maps(tables, params, {one.name: one for one in fits}, LEVEL))
    return [*found, *(one for one in drawn(boundaries(tables, params, {}, LEVEL)) if one.name == BOUNDARY)]


STUDY = Study("memorization", numbers, figures)
