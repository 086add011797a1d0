import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import spearmanr

from analysis.fitting.estimate import fit
from analysis.laws import law
from analysis.questions.next_cell import information, next_cell
from analysis.questions.observations import observations
from analysis.questions.run_cost import run_cost
from tests.analysis.asked_study import TRUTH, logit_f, study

ASKED = {"rate": 0.05, "at": {"params": 10405.0}, "level": 0.9, "draws": 60, "seed": 0}


def test_the_information_of_a_run_is_that_of_the_whole_covariance_matrix():
    """X' V^-1 X with V = diag(1/w) + s^2 11' inverted as it stands."""
    observed = observations(study(np.random.default_rng(0), seeds=1), "stratum")
    x = {name: observed.x[name] for name in ("copies", "params")}
    result = fit(law("logistic", ("copies", "params")), x, observed.hits, trials=observed.trials, starts=4)
    place = np.unique(observed.run, return_inverse=True)[1]
    found = information(result, x, observed.trials, place, result.best[None], 1.5, np.array([0.4]))[0]
    for k in range(4):
        rows = place == k
        f = result.predict({name: values[rows] for name, values in x.items()})
        design = np.column_stack([np.ones(rows.sum()), *(np.log(x[name][rows]) for name in ("copies", "params"))])
        v = np.diag(1.5 / (observed.trials[rows] * f * (1 - f))) + 0.4**2
        np.testing.assert_allclose(found[k], design.T @ np.linalg.inv(v) @ design, rtol=1e-8)


def maxima(eta_design: np.ndarray, hits: np.ndarray, trials: float) -> np.ndarray:
    """Binomial logistic maxima [s k] of many count vectors [s n] by Newton's method: an implementation of its own."""
    beta = np.tile(
        np.linalg.lstsq(eta_design, logit((hits.mean(0) + 0.5) / (trials + 1)), rcond=None)[0], (len(hits), 1)
    )
    for _ in range(12):
        f = expit(beta @ eta_design.T)
        fisher = np.einsum("sn,nj,nk->sjk", trials * f * (1 - f), eta_design, eta_design, optimize=True)
        beta += np.linalg.solve(fisher, ((hits - trials * f) @ eta_design)[..., None])[..., 0]
    return beta


def test_the_ranking_is_that_of_really_training_the_runs():
    """Brute force: 1,500 simulated studies of 8 runs, each with one more run of a candidate, refitted; sd of ln r*."""
    tables = study(np.random.default_rng(3), seeds=2, luck=0.3)
    answer = next_cell(tables, **ASKED)
    expected = {(row["params"], row["trained"] > 0): row["shrinkage"] for row in answer.rows}
    rng, copies, many = np.random.default_rng(1), np.array([1, 4, 16, 64]), 1500

    def rows_of(params: float) -> np.ndarray:
        return np.stack([np.array([1.0, np.log(params), np.log(r)]) for r in copies])

    def counts(params: float) -> np.ndarray:
        eta = np.array([logit_f(TRUTH, params=params, copies=r) for r in copies])
        return rng.binomial(128, expit(eta + 0.3 * rng.standard_normal((many, 1))))

    base = [2743, 2743, 10405, 10405, 40489, 40489, 159697, 159697]
    design, hits = np.vstack([rows_of(p) for p in base]), np.hstack([counts(p) for p in base])

    def spread(design: np.ndarray, hits: np.ndarray) -> float:
        b = maxima(design, hits, 128.0)
        return float(np.std((logit(0.05) - b[:, 0] - b[:, 1] * np.log(10405)) / b[:, 2]))

    before, seen, found = spread(design, hits), [], []
    for (params, _), shrinkage in expected.items():
        after = spread(np.vstack([design, rows_of(params)]), np.hstack([hits, counts(params)]))
        seen.append(1 - after / before)
        found.append(shrinkage)
    assert len(found) == 6
    assert spearmanr(seen, found).statistic > 0.8
    assert np.max(np.abs(np.array(seen) - found)) < 0.05


def test_cost_is_the_line_through_the_runs():
    """wall_seconds = 1e-7 params images_seen in the simulated study: two slopes of 1, no scatter."""
    tables = study(np.random.default_rng(0), seen=(16_000, 128_000), seeds=1)
    cost = run_cost(observations(tables, "stratum"), tables.evals)
    assert cost.unit == "second"
    np.testing.assert_allclose(cost.of(np.array([5000.0]), np.array([64_000.0])), 1e-7 * 5000 * 64_000, rtol=1e-6)
    tables.evals["wall_seconds"] = np.nan
    tables.evals["train_flops"] = 6.0 * tables.evals["params"] * tables.evals["images_seen"]
    assert run_cost(observations(tables, "stratum"), tables.evals).unit == "FLOP"
    tables.evals["train_flops"] = np.nan
    assert run_cost(observations(tables, "stratum"), tables.evals).unit == "run"


def test_dear_cells_rank_behind_cheap_ones_that_tell_as_much():
    answer = next_cell(study(np.random.default_rng(3), seeds=2), **ASKED)
    per = [row["shrinkage_per_cost"] for row in answer.rows]
    assert answer.answerable and per == sorted(per, reverse=True)
    assert answer.lo <= answer.value <= answer.hi and answer.unit.endswith("per second")
    np.testing.assert_allclose(per, [row["shrinkage"] / row["second"] for row in answer.rows])
    assert {row["trained"] for row in answer.rows} == {0, 2}


def test_a_parameter_may_be_named_and_a_wrong_one_is_told():
    tables = study(np.random.default_rng(3), seeds=2)
    answer = next_cell(tables, **ASKED, quantity="b_params")
    ends = sorted(answer.rows, key=lambda row: -row["shrinkage"])[0]
    assert ends["params"] in (723, 2743, 159697, 629878)  # a slope is learnt at the ends, as in any regression
    with pytest.raises(ValueError, match="b_params"):
        next_cell(tables, **ASKED, quantity="slope")


def test_too_few_runs_to_know_their_luck_give_no_advice():
    answer = next_cell(study(np.random.default_rng(3), seeds=1, params=(2743, 10405, 40489)), **ASKED)
    assert not answer.answerable
