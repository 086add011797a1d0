"""Predictions of runs to come, against simulated studies of known law and against counting by hand."""

import json
from itertools import product

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.columns import TableError
from analysis.registered import main, nearest, observed, outcome, predictions
from analysis.table import load
from tests.analysis.asked_study import of_rows

LAW = {"params": 1.3, "copies": 2.0, "images_seen": 2.5, "n_unique": -1.4, "n_train": -2.0}
PLANS = ((64, (1,)), (128, (1, 2, 4, 8)), (256, (1, 3, 9, 27)), (512, (1, 2, 4, 8)))  # n_unique, equal strata of copies
CHAINS = 60


def plan(n_unique, copies):
    each = n_unique // len(copies)
    return each, sum(each * r for r in copies)


def rows_to_come(sizes, plans, lengths, first=0):
    """What `scaling.sweep --dry-run --rows` writes: one row a stratum of each run."""
    rows = []
    for k, (p, (n, copies), t) in enumerate(product(sizes, plans, lengths)):
        each, n_train = plan(n, copies)
        rows += [
            {"run_id": f"new{first + k}", "cell_id": f"cell{first + k}", "params": p, "n_unique": n, "n_train": n_train,
             "images_seen": t, "copies": r, "n_images": each, "exposures": t * r / n_train, "n_basin": CHAINS,
             "n_generated": 256}
            for r in copies
        ]  # fmt: skip
    return pandas.DataFrame(rows)


def measured(rows, rng, *, luck=0.3, b_0=-28.5):
    """The runs of `rows` under the law, each with luck of its own: recovery by stratum, and an own law of cells."""
    own = dict(zip(rows["run_id"].unique(), luck * rng.standard_normal(rows["run_id"].nunique()), strict=True))
    logit = b_0 + sum(b * np.log(rows[name]) for name, b in LAW.items()) + rows["run_id"].map(own)
    strata = rows.assign(n_basin_recovered=rng.binomial(CHAINS, expit(logit)))
    strata["n_ideal_basin_recovered"] = CHAINS
    weight = rows["n_images"] * rows["copies"] / rows["n_train"] * rows["exposures"]
    cells = rows.assign(mean=weight.groupby(rows["run_id"]).transform("sum")).drop_duplicates("run_id")
    f = expit(-22 + 1.2 * np.log(cells["params"]) + 1.5 * np.log(cells["mean"]) - np.log(cells["n_unique"])
              + cells["run_id"].map(own))  # fmt: skip
    evals = cells.assign(n_memorized=rng.binomial(256, f)).drop(columns=["mean", "exposures", "n_basin"])
    return of_rows(evals.to_dict("records"), strata.to_dict("records"))


@pytest.mark.slow
def test_intervals_hold_what_new_runs_measure():
    """12 studies of 32 runs, 8 new runs each at other sizes, plans, lengths: nine tenths inside, or a little more."""
    inside, closed = {}, []
    for k in range(12):
        rng = np.random.default_rng(k)
        known = measured(rows_to_come((2743, 10405, 40489, 159697), PLANS, (51_200, 204_800)), rng)
        rows = rows_to_come((22987, 90253), ((96, (1, 2, 4)), (192, (1, 6, 12))), (102_400, 204_800), first=100)
        found = observed(predictions(known, rows, seed=k), measured(rows, rng))
        for name, part in found.groupby("response"):
            lively = part[part["hi"] > 0]
            inside.setdefault(name, []).extend((lively["lo"] <= lively["rate"]) & (lively["rate"] <= lively["hi"]))
            closed.extend(part[part["hi"] == 0]["rate"])
    assert set(inside) == {"recovery", "memorized"}
    for hits in inside.values():
        assert len(hits) > 90 and 0.85 <= np.mean(hits) <= 0.97
    assert np.mean(np.array(closed) > 0) <= 0.1 if closed else True


def test_recovery_is_a_share_of_the_ceiling_where_it_is_known():
    """A law that ends at half of all chains, the ceiling: the largest model is predicted to reach all of that."""
    rng = np.random.default_rng(3)
    known = measured(rows_to_come((2743, 10405, 40489, 159697), PLANS, (51_200, 204_800)), rng, luck=0.1)
    strata = known.strata.assign(n_ideal_basin_recovered=30.0)
    strata["n_basin_recovered"] = np.floor(strata["n_basin_recovered"] / 2) + (strata["n_basin_recovered"] == CHAINS)
    known = of_rows(known.evals.to_dict("records"), strata.to_dict("records"))
    rows = rows_to_come((634273,), ((64, (1,)),), (204_800,), first=100).assign(n_ideal_basin_recovered=30)
    found = predictions(known, rows).set_index("response")
    assert found.loc["recovery of ceiling", "value"] > 0.97 and found.loc["recovery of ceiling", "trials"] == 30
    assert list(predictions(known, rows.drop(columns="n_ideal_basin_recovered"))["response"]) == [
        "recovery",
        "memorized",
    ]


def test_naive_values_are_those_of_a_search_by_hand():
    """Two trained points tie for the nearest of ln x = (0, 0) after standardising; the mean of their rates."""
    x = {"a": np.exp([1.0, -1.0, 3.0]), "b": np.exp([0.0, 0.0, 2.0])}
    assert nearest(x, np.array([0.2, 0.4, 0.9]), {"a": np.array([1.0]), "b": np.array([1.0])}) == pytest.approx([0.3])


def test_outcome_counts_by_hand(tmp_path, capsys):
    """Of four strata three measured, one outside; of two cells one inside; the naive errors are differences by hand."""
    strata = [{"run_id": "a", "images_seen": 10, "copies": r, "n_basin": 10, "n_basin_recovered": x, "params": 5}
              for r, x in ((1, 0), (2, 5), (4, 9))]  # fmt: skip
    evals = [{"run_id": run, "images_seen": 10, "n_generated": 10, "n_memorized": x, "params": 5}
             for run, x in (("a", 2), ("b", 4))]  # fmt: skip
    tables = of_rows(evals, strata)
    columns = ("response", "run_id", "copies", "images_seen", "value", "lo", "hi", "nearest_cell", "log_linear")
    rows = [("recovery", "a", 1, 10, 0.0, 0, 0, 0, 0.1), ("recovery", "a", 2, 10, 0.5, 0.3, 0.7, 0.5, 0.5),
            ("recovery", "a", 4, 10, 0.5, 0.3, 0.7, 0.9, 0.9), ("recovery", "b", 1, 10, 0.5, 0, 1, 0.5, 0.5),
            ("memorized", "a", None, 10, 0.2, 0.1, 0.3, 0.5, 0.2),
            ("memorized", "b", None, 10, 0.1, 0, 0.3, 0.4, 0.4)]  # fmt: skip
    prediction = pandas.DataFrame(rows, columns=columns).assign(extrapolated=[False, False, True, False, False, False])
    recovery, memorized = outcome(prediction, tables)
    assert (recovery["n"], recovery["n_measured"]) == (4, 3)
    assert recovery["coverage"]["value"] == pytest.approx(2 / 3)
    assert recovery["could_miss"] == {"n": 2, "value": 0.5, "lo": None, "hi": None}  # one run: no spread can be told
    assert recovery["beyond"] == {"n": 1, "value": 0.0, "lo": None, "hi": None}
    assert recovery["rmse"]["value"]["value"] == pytest.approx(0.4 / np.sqrt(3))
    assert recovery["rmse"]["log_linear"]["value"] == pytest.approx(0.1 / np.sqrt(3))
    assert recovery["worse"]["log_linear"]["value"] == pytest.approx((0.1**2 - 0.4**2) / 3)
    # Two runs whose squared errors differ by .09 and -.09: mean 0, and Student's t with one degree of freedom.
    worse = memorized["worse"]["nearest_cell"]
    assert worse["value"] == pytest.approx(0, abs=1e-12) and worse["hi"] == pytest.approx(12.7062 * 0.09, rel=1e-4)
    assert memorized["coverage"]["value"] == 0.5 and memorized["beyond"]["n"] == 0
    path = tmp_path / "prediction.csv"
    prediction.to_csv(path, index=False)
    tables.evals.to_parquet(tmp_path / "evals.parquet")
    tables.strata.to_parquet(tmp_path / "strata.parquet")
    assert main(["score", str(path), str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"][0]["n_measured"] == 3
    assert len(load(tmp_path).strata) == 3


def test_rows_without_a_plan_and_levels_outside_are_refused(tmp_path, capsys):
    with pytest.raises(TableError, match=r"no column .*exposures.*--dry-run --rows"):
        predictions(of_rows([{"run_id": "a", "images_seen": 1, "params": 1}]), pandas.DataFrame({"run_id": ["a"]}))
    seen = rows_to_come((2743,), ((64, (1,)),), (51_200,))
    known = of_rows([{"run_id": "new0", "images_seen": 1, "params": 1}])
    with pytest.raises(TableError, match=r"1 of the runs to predict are among the runs known \(new0"):
        predictions(known, seen)
    assert main(["predict", str(tmp_path), "rows.csv", "--level", "2"]) == 2
    assert "--level 2 must lie in (0, 1)" in capsys.readouterr().err
    assert main(["predict", str(tmp_path), "rows.csv"]) == 2
    assert "--out: missing" in capsys.readouterr().err
