import dataclasses
import json

import numpy as np
import pandas
import pytest

from analysis.summary import (
    duplicated_recovery,
    holdout_minima,
    last_evaluations,
    main_setting,
    pooled_rates,
    study_fits,
    varied_keys,
    with_exposures,
)
from analysis.table import load
from tests.analysis.asked_study import two_sizes_of_training_set

TRUTH = {"b_params": 0.6, "b_copies": 0.9}  # of conftest


def test_the_study_s_truth_comes_back(runs_folder):
    fits, missing = study_fits(load(runs_folder), draws=60, level=0.95, seed=0)
    recovery = next(found for found in fits if found.name == "recovery")
    for name, truth in TRUTH.items():
        assert recovery.result.params[name].lo < truth < recovery.result.params[name].hi
    assert recovery.result.bootstrap["draws"] == 60
    assert {found.name for found in fits} == {"recovery", "memorized"}
    # Two training sets only: what came of their sizes cannot be told apart.
    by_stratum, by_cell = missing
    assert "n_train moves together with params, copies, n_unique" in by_stratum
    assert "n_unique moves together with params, exposures" in by_cell


def test_copies_are_not_mistaken_for_what_the_size_of_the_training_set_does():
    """A spectrum and single images pooled: the same copies are seen ten times less often in the larger training set.

    Without n_train the slope of copies is pulled from 2 to below 1.6, and a phase boundary drawn by it is wrong.
    """
    truth = {"b_0": 0.3, "params": 1.0, "copies": 2.0, "n_train": -2.0}
    tables = two_sizes_of_training_set(np.random.default_rng(0), truth)
    (recovery,), _ = study_fits(tables, draws=60, level=0.95, seed=0)
    for name in ("params", "copies", "n_train"):
        found = recovery.result.params[f"b_{name}"]
        assert found.lo < truth[name] < found.hi, name


def test_one_run_is_no_curve_and_says_so(make_runs):
    tables = load(make_runs(seeds=1, levels=(8,), widths=(40489,)))
    fits, missing = study_fits(tables, draws=20, level=0.95, seed=0)
    assert fits == [] and len(missing) == 2
    assert "8 rows of 1 run" in missing[0]


def test_a_collinear_variable_is_left_out_and_said(runs_folder):
    tables = load(runs_folder)
    strata = tables.strata.assign(images_seen=tables.strata["images_seen"])
    last = strata["images_seen"] == strata["images_seen"].max()
    strata.loc[last, "n_unique"] = strata.loc[last, "params"]
    fits, missing = study_fits(dataclasses.replace(tables, strata=strata), draws=20, level=0.95, seed=0)
    assert "n_unique" not in fits[0].result.law.variables
    assert any("n_unique moves together with" in line for line in missing)


def test_pooled_counts_are_sums_with_the_interval_of_fewer_trials():
    frame = pandas.DataFrame({"run_id": ["a", "b", "c"], "p": [1, 1, 1], "x": [3, 5, np.nan], "n": [20, 20, 20]})
    plain, shared = (pooled_rates(frame, ["p"], "x", "n", overdispersion=c) for c in (0.0, 0.2))
    assert plain[["n_runs", "hits", "trials", "rate"]].values.tolist() == [[2, 8, 40, 0.2]]
    assert shared["hi"][0] - shared["lo"][0] > 1.5 * (plain["hi"][0] - plain["lo"][0])


def test_exposures_of_a_cell_are_those_behind_an_average_draw():
    """2 images with 1 copy, 1 with 3: N = 5; a draw shows an image with sum r^2/N = 11/5 copies on average."""
    strata = pandas.DataFrame({"run_id": ["a", "a"], "images_seen": [50, 50], "copies": [1, 3], "n_images": [2, 1]})
    strata = strata.assign(n_train=5, exposures=50 * strata["copies"] / 5)
    evals = pandas.DataFrame({"run_id": ["a", "b"], "images_seen": [50, 50]})
    found = with_exposures(evals, strata)["exposures"]
    assert found[0] == pytest.approx(50 / 5 * 11 / 5) and np.isnan(found[1])


def test_last_and_lowest_evaluations_are_one_a_run(runs_folder):
    evals = load(runs_folder).evals
    last, lowest = last_evaluations(evals), holdout_minima(evals)
    assert (last["images_seen"] == evals["images_seen"].max()).all() and last["run_id"].is_unique
    for row in lowest.itertuples():
        own = evals[(evals["run_id"] == row.run_id) & (evals["images_seen"] > 0)]
        assert row.holdout_loss == own["holdout_loss"].min()


def test_recovery_of_duplicated_images_leaves_single_ones_out(runs_folder):
    tables = load(runs_folder)
    found = duplicated_recovery(tables, last_evaluations(tables.evals)).iloc[0]
    own = tables.strata[(tables.strata["run_id"] == found.run_id) & (tables.strata["images_seen"] == found.images_seen)]
    assert found.y == own.loc[own["copies"] > 1, "n_basin_recovered"].sum()


def test_the_main_setting_is_the_one_with_most_rows(runs_folder):
    rows, said = main_setting(last_evaluations(load(runs_folder).strata))
    assert rows["n_unique"].unique().tolist() == [256]
    assert "n_unique 256" in said and "one of 2" in said


def test_of_equally_large_settings_the_one_that_tells_most_is_taken():
    """Two sizes of two training sets, two runs each: rates .1 and .9 at 64 images, .4 and .5 at 128: the former."""
    rows = pandas.DataFrame([
        {"run_id": f"{n}-{p}-{k}", "n_unique": n, "params": p, "copies": 1, "n_memorized": 100 * f, "n_generated": 100}
        for n, rates in ((64, (0.1, 0.9)), (128, (0.4, 0.5))) for p, f in zip((10, 20), rates, strict=True)
        for k in range(2)
    ])  # fmt: skip
    keys = ["n_unique", "copies"]
    kept, said = main_setting(rows, keys)
    assert kept["n_unique"].unique().tolist() == [64] and said == " of the setting n_unique 64, copies 1 (one of 2)"
    larger, _ = main_setting(rows.drop(index=0), keys)  # most runs come first
    assert larger["n_unique"].unique().tolist() == [128]
    for lacking in (rows.assign(n_memorized=np.nan), rows.drop(columns="n_memorized")):  # no rate tells
        assert main_setting(lacking, keys)[0]["n_unique"].unique().tolist() == [128]
    one_cell = rows.assign(params=1, n_memorized=[0, 20, 80, 100, 40, 40, 50, 50])  # how its runs scatter tells no law
    assert main_setting(one_cell, keys)[0]["n_unique"].unique().tolist() == [128]


def test_keys_that_vary_are_found_in_nested_configurations():
    configs = [{"seed": 0, "data": {"n": 5, "f": None}}, {"seed": 1, "data": {"n": 5, "f": "1/2"}}]
    varied, found = varied_keys(pandas.DataFrame({"config": [json.dumps(c) for c in configs] * 2}))
    assert varied == {"seed": [0, 1], "data.f": [None, "1/2"]}
    assert found == configs
