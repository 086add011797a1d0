from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.fitting.estimate import fit
from analysis.laws import law
from analysis.questions.absolute import absolute_vs_fraction, poisson
from analysis.questions.answer import CannotTell
from analysis.questions.luck import run_luck
from analysis.questions.observations import observations
from analysis.questions.prediction import predict
from analysis.questions.surface import candidates, held_out, straight, stretched, surface, usable_variables
from analysis.rates import betabinom_logpmf
from analysis.table import load
from tests.analysis.asked_study import TRUTH, logit_f, of_rows, study

FIT = {"level": 0.9, "draws": 60, "seed": 0}
ASKED = {"rate": 0.01, "at": {}, **FIT}


def chosen(tables, target: str = "copies") -> str:
    return surface(observations(tables, "stratum"), target, **FIT).competitors[0].spec


def test_the_error_of_a_level_is_that_of_a_fit_without_it():
    """Brute force: fit anew on the other levels, score the level with an independent likelihood."""
    observed = observations(study(np.random.default_rng(0), luck=0.4), "stratum")
    x = {name: observed.x[name] for name in ("copies", "params")}
    whole = fit(law("logistic", ("copies", "params")), x, observed.hits, trials=observed.trials)
    errors = held_out(whole, x["copies"])
    for level in np.unique(x["copies"]):
        out = x["copies"] == level
        part = fit(whole.law, {k: v[~out] for k, v in x.items()}, observed.hits[~out], trials=observed.trials[~out])
        f = part.predict({k: v[out] for k, v in x.items()})
        expected = -betabinom_logpmf(observed.hits[out], observed.trials[out], f, part.overdispersion)
        np.testing.assert_allclose(errors[out], expected, rtol=1e-4, atol=1e-4)


def test_a_law_that_extrapolates_wins_and_a_plain_truth_stays_plain():
    many = {"chains": 4000, "luck": 0.05}
    assert chosen(study(np.random.default_rng(0), **many)) == "logistic"
    rng = np.random.default_rng(1)
    tables = study(rng, **many)
    strata = tables.strata
    hazard = (strata["copies"] * strata["params"] ** 0.5 / 3000) ** 1.3
    strata["n_basin_recovered"] = rng.binomial(4000, 1 - np.exp(-hazard)).astype(float)
    assert chosen(tables) == "exposure"
    eta = -3 + 0.2 * np.log(strata["copies"]) * (np.log(strata["params"]) - 7)
    strata["n_basin_recovered"] = rng.binomial(4000, 1 / (1 + np.exp(-eta))).astype(float)
    assert chosen(tables) == "logistic:copies*params"


def test_the_exposure_law_is_scaled_by_a_variable_whose_effect_is_positive():
    names = dict(candidates(("n_unique", "copies", "images_seen"), "n_unique"))
    assert names["exposure"] == ("images_seen", "n_unique", "copies")
    assert "exposure" not in dict(candidates(("n_unique",), "n_unique"))


def test_variables_that_move_together_are_refused_or_said():
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.standard_normal(30)), np.exp(rng.standard_normal(30))
    x = {"params": a, "copies": b, "n_unique": b**2 * (1 + 1e-3 * rng.standard_normal(30))}
    kept, notes = usable_variables(x, "params")
    assert kept == ("params", "copies") and "n_unique moves together with copies" in notes[0]
    with pytest.raises(CannotTell, match="copies moves together with n_unique"):
        usable_variables(x, "copies")
    with pytest.raises(CannotTell, match="copies is 3 in every row"):
        usable_variables({**x, "copies": np.full(30, 3.0)}, "copies")


def test_the_stretched_interval_is_students_for_a_mean():
    """Normal draws around 0 with sd 1: factor t(G - k)/z sqrt(G/(G - 1)), here 2.3534/1.6449 sqrt(4/3), k 1, G 4."""
    drawn = np.random.default_rng(0).standard_normal(200_000)
    lo, hi = stretched(np.array(0.0), drawn, 0.9, 4, 1)
    np.testing.assert_allclose([lo, hi], [-2.3534 * np.sqrt(4 / 3), 2.3534 * np.sqrt(4 / 3)], rtol=0.02)


@pytest.mark.parametrize(("response", "luck"), [("stratum", 0.5), ("cell", 0.5), ("stratum", 0.0), ("cell", 0.0)])
def test_the_luck_of_runs_comes_back(response, luck):
    """60 runs: the standard error of an sd is about 9 %; without luck it is small against the counts' own scatter."""
    tables = study(np.random.default_rng(4), luck=luck, seeds=15, truth={**TRUTH, "b_0": -9.0})
    observed = observations(tables, response)
    names = observed.varied
    result = fit(law("logistic", names), {n: observed.x[n] for n in names}, observed.hits, trials=observed.trials)
    found = run_luck(result, observed.run)
    assert found.sd == pytest.approx(luck, abs=0.13 if luck else 0.08)
    low, high = np.quantile(found.draws(4000, np.random.default_rng(0)), [0.02, 0.98])
    assert low <= luck <= high and low < high


def test_runs_that_share_weights_are_one_run():
    tables = study(np.random.default_rng(0))
    tables.evals["train_id"] = [f"t{k // 2}" for k in range(len(tables.evals))]
    observed = observations(tables, "stratum")
    assert len(set(observed.run)) == 6
    assert "6 runs measured the weights of another" in "".join(observed.notes)


def test_other_settings_are_left_out_and_said():
    tables = study(np.random.default_rng(0))
    tables.evals["conditioning"] = ["class"] * 3 + ["none"] * 9
    observed = observations(tables, "cell")
    assert len(observed.hits) == 9 and "3 others left out" in "".join(observed.notes)


def test_the_evaluation_asked_for_is_taken():
    rows = [{"run_id": f"r{k}", "cell_id": "c", "params": 10.0, "images_seen": t, "copies": 1, "n_unique": 9,
             "n_generated": 100, "n_memorized": t // 100, "holdout_loss": loss}
            for k in range(3) for t, loss in ((1000, 2.0), (2010, 1.0), (4000, 3.0))]  # fmt: skip
    tables = of_rows(rows)
    assert set(observations(tables, "cell").hits) == {40}
    assert set(observations(tables, "cell", "holdout_min").hits) == {20}
    assert set(observations(tables, "cell", "2000").hits) == {20}
    with pytest.raises(ValueError, match="the runs have 1000, 2010, 4000"):
        observations(tables, "cell", "3000")
    with pytest.raises(ValueError, match="last, holdout_min"):
        observations(tables, "cell", "first")


def test_an_unseen_cell_is_predicted_and_a_new_run_spreads_more_than_the_mean():
    tables = study(np.random.default_rng(6), luck=0.4, seeds=8)
    at = {"params": 20000.0, "copies": 8.0}
    answer = predict(tables, **{**ASKED, "at": at, "draws": 200})
    truth = 1 / (1 + np.exp(-logit_f(TRUTH, **at)))
    mean = next(row for row in answer.rows if row.get("for") == "mean of runs")
    assert mean["lo"] < truth < mean["hi"] and answer.lo < mean["lo"] < mean["hi"] < answer.hi
    # A run's logit is normal with sd .4 around the truth: about that much must lie between the ends.
    runs = 1 / (1 + np.exp(-logit_f(TRUTH, **at) - 0.4 * np.random.default_rng(0).standard_normal(20_000)))
    assert 0.84 < np.mean((runs > answer.lo) & (runs < answer.hi)) < 0.97
    checked = [row for row in answer.rows if "predicted" in row]
    assert len(checked) == 16 and np.mean([row["inside"] for row in checked]) > 0.7
    assert not answer.extrapolated and predict(tables, **{**ASKED, "at": {**at, "params": 1e6}}).extrapolated


def test_what_was_constant_cannot_be_asked():
    answer = predict(study(np.random.default_rng(0)), **{**ASKED, "at": {"images_seen": 5.0, "copies": 2.0}})
    assert not answer.answerable and "it is 128\u202f000 in every row" in answer.why
    assert (
        "cannot be told; add runs"
        in predict(
            study(np.random.default_rng(0), params=(2743, 10405, 40489), seeds=1), **{**ASKED, "at": {"copies": 2.0}}
        ).why
    )


def grown(rng: np.random.Generator, amount: float, fraction: float, runs: int = 5) -> object:
    """E n_extracted = 20 (p/1e4)^amount, E n_memorized = 60 (p/1e4)^fraction of 2,000, with luck of sd .1."""
    rows = []
    for k, p in enumerate(np.repeat([2e3, 1e4, 5e4, 2.5e5], runs)):
        own = np.exp(0.1 * rng.standard_normal())
        rows.append({"run_id": f"r{k}", "cell_id": f"c{p}", "params": p, "copies": 4, "n_unique": 2000,
                     "images_seen": 1e5, "n_generated": 2000,
                     "n_extracted": rng.poisson(20 * own * (p / 1e4) ** amount),
                     "n_memorized": rng.poisson(60 * own * (p / 1e4) ** fraction)})  # fmt: skip
    return of_rows(rows)


@pytest.mark.parametrize(
    ("amount", "fraction", "says"),
    [(0.6, 0.3, "both grow; the amount changes more"), (0.4, -0.3, "the amount grows; the fraction falls"),
     (0.0, 0.4, "the amount may grow or fall: these data cannot tell; the fraction grows")],
)  # fmt: skip
def test_amount_and_fraction_grow_apart(amount, fraction, says):
    answer = absolute_vs_fraction(
        grown(np.random.default_rng(2), amount, fraction), **{**ASKED, "draws": 400, "level": 0.98}
    )
    assert says in answer.why
    for row, truth in zip(answer.rows, (amount, fraction, amount - fraction), strict=True):
        assert row["lo"] < truth < row["hi"] and row["hi"] - row["lo"] < 0.4


def test_nothing_memorized_has_no_slope():
    tables = grown(np.random.default_rng(1), 0.5, 0.5)
    tables.evals["n_extracted"] = 0.0
    assert "a slope of ln 0 does not exist" in absolute_vs_fraction(tables, **ASKED).why


def test_the_poisson_maximum_is_that_of_another_search_and_weights_are_repetitions():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(40)
    y = rng.poisson(np.exp(0.3 + 0.8 * z)).astype(float)
    design, times = np.column_stack([np.ones(40), z - z.mean()]), rng.integers(0, 4, 40)
    found = poisson(design, y, np.stack([np.ones(40), times]))
    for beta, rows in zip(found, (np.arange(40), np.repeat(np.arange(40), times)), strict=True):
        other = minimize(
            lambda b, r=rows: np.sum(np.exp(design[r] @ b) - y[r] * (design[r] @ b)), [0.0, 0.0], tol=1e-10
        )
        np.testing.assert_allclose(beta, other.x, atol=1e-4)


def test_the_exposure_scale_is_exact_where_rates_are_next_to_nothing():
    """ln(ln(1 + e^x)) = x where e^x is below double precision, also where e^x is 0 ; the others by math.log1p."""
    exposure = SimpleNamespace(law=SimpleNamespace(name="exposure"))
    x = np.array([-800.0, -700.0, -40.0, -36.0, -30.0, 0.0, 5.0])
    expected = [-800, -700, -40, -36, -30.000000000000046, -0.36651292058166435, 1.6107800810205641]
    np.testing.assert_allclose(straight(exposure, x), expected, rtol=1e-13)


def test_laws_that_only_one_level_determines_cannot_be_chosen():
    """In this part of the study copies differ at 256 images only: without these no law knows what copies do."""
    observed = observations(load(Path(__file__).parents[3] / "results" / "memorization" / "parts" / "rate"), "cell")
    with pytest.raises(CannotTell, match="by the error on each of 4 levels of n_unique left out: without one of them"):
        surface(observed, "n_unique", level=0.95, draws=20, seed=0, starts=4)
