import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.fitting.estimate import fit
from analysis.fitting.predictions import predict
from analysis.fitting.uncertainty import ClusteredFit, _refit, bootstrap, by_run, p_value
from analysis.laws import POWER, log_linear, logistic

TRUTH = {"b_0": -9.0, "b_p": 0.5, "b_r": 0.8}
SIZES, COPIES = np.repeat([1e3, 5e3, 2e4, 1e5], 2), 2.0 ** np.arange(6)


def study(seed: int, *, luck: float, c: float = 0.05) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray]:
    """8 runs (4 sizes x 2 seeds) of 6 strata of 64 chains; the strata of a run share a normal `luck` in the logit."""
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(8), len(COPIES))
    p, r = SIZES[run], np.tile(COPIES, 8)
    logit = TRUTH["b_0"] + TRUTH["b_p"] * np.log(p) + TRUTH["b_r"] * np.log(r) + luck * rng.standard_normal(8)[run]
    f = 1 / (1 + np.exp(-logit))
    f = rng.beta(f * (1 - c) / c, (1 - f) * (1 - c) / c)
    return {"p": p, "r": r}, rng.binomial(64, f).astype(float), np.full(run.size, 64.0), run


def covered(studies: int, *, luck: float, runs: bool) -> dict[str, float]:
    """Share of studies whose 90 % interval holds the truth; an end without limit counts as holding it."""
    hits = dict.fromkeys(TRUTH, 0)
    for seed in range(studies):
        x, y, trials, run = study(seed, luck=luck)
        result = fit(logistic(("p", "r")), x, y, trials=trials, level=0.9, starts=4)
        if runs:
            result = by_run(result, run)
        for name, truth in TRUTH.items():
            found = result.params[name]
            above = found.lo is None or found.lo <= truth
            hits[name] += above and (found.hi is None or truth <= found.hi)
    return {name: count / studies for name, count in hits.items()}


@pytest.mark.slow
def test_profile_intervals_cover_where_rows_are_independent():
    """60 studies: the standard error of a coverage of .9 is .039."""
    assert all(0.78 <= share <= 0.99 for share in covered(60, luck=0, runs=False).values())


@pytest.mark.slow
def test_90_percent_intervals_cover_over_300_studies(keep_table):
    """Standard error of a coverage of .9: .017. By run: the upper bound admits intervals wide for want of runs."""
    settings = {
        "profile, rows independent": dict(luck=0, runs=False),
        "by run, strata of a run share its luck": dict(luck=0.7, runs=True),
        "profile, strata of a run share its luck (wrong, as a check)": dict(luck=0.7, runs=False),
    }
    found = {name: covered(300, **setting) for name, setting in settings.items()}
    rows = [{"90 % intervals": name} | {k: f"{share:.3f}" for k, share in by.items()} for name, by in found.items()]
    keep_table("coverage_by_run_or_row", "Coverage of logistic fits: 8 runs of 6 strata, 300 studies", rows, "0 to 299")
    right, runs, wrong = found.values()
    assert all(0.83 <= share <= 0.96 for share in right.values())
    assert all(0.84 <= share <= 0.985 for share in runs.values())
    assert wrong["b_p"] < 0.75


@pytest.mark.slow
def test_intervals_by_run_cover_where_the_strata_of_a_run_share_its_luck():
    """8 runs; what varies between runs is covered too, which the profile of independent rows does not (next test)."""
    assert all(share >= 0.78 for share in covered(30, luck=0.7, runs=True).values())


@pytest.mark.slow
def test_rows_taken_for_independent_would_not_cover():
    """The oracle of the test above: with shared luck the profile's interval of b_p is far too short."""
    assert covered(30, luck=0.7, runs=False)["b_p"] < 0.75


def test_a_bootstrap_is_a_function_of_its_seed():
    x, y, trials, run = study(0, luck=0.3)
    result = fit(logistic(("p", "r")), x, y, trials=trials)
    one, two, other = (bootstrap(result, run, draws=64, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.draws, two.draws)
    assert not np.array_equal(one.draws, other.draws)
    assert one.params == two.params == other.params  # ends are those of by_run, which draws nothing
    assert one.bootstrap == {"draws": 64, "failed": 0, "seed": 1}


def test_the_bootstrap_refits_the_drawn_rows():
    """One draw by hand: the weights of a drawn study give the fit of the rows so often repeated."""
    x, y, trials, run = study(0, luck=0.3)
    result = fit(logistic(("p", "r")), x, y, trials=trials)
    drawn = np.bincount(np.random.default_rng(4).integers(8, size=(1, 8))[0], minlength=8)
    rows = np.repeat(np.arange(run.size), drawn[run])
    by_hand = fit(logistic(("p", "r")), {k: v[rows] for k, v in x.items()}, y[rows], trials=trials[rows])
    found = bootstrap(result, run, draws=1, seed=4)
    assert found.bootstrap["failed"] == 0
    u, good = _refit(result, drawn[run][None].astype(float))
    assert good.all()
    np.testing.assert_allclose(u[0, :3], [e.value for e in by_hand.params.values()], rtol=1e-5)


def test_one_cluster_is_refused():
    x, y, trials, run = study(0, luck=0)
    with pytest.raises(ValueError, match="one cluster"):
        bootstrap(fit(logistic(("p", "r")), x, y, trials=trials), np.zeros(run.size))


def test_prediction_intervals_of_a_line_are_students():
    """Closed form: yhat +- t_(n-2) s sqrt(1 + 1/n + z^2/S)."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(0, 3, 10))
    result = fit(log_linear(("p",)), {"p": x}, 1 + 2 * np.log(x) + 0.3 * rng.standard_normal(10))
    new = np.array([np.exp(1.5), np.exp(6.0)])
    found = predict(result, {"p": new}, draws=40_000)
    z = np.log(x)
    s = np.sqrt(result.objective / 8)
    half = 2.306004 * s * np.sqrt(1 + 1 / 10 + (np.log(new) - z.mean()) ** 2 / np.sum((z - z.mean()) ** 2))
    np.testing.assert_allclose(found.hi - found.value, half, rtol=0.03)
    np.testing.assert_allclose(found.value - found.lo, half, rtol=0.03)
    assert found.extrapolated.tolist() == [False, True]


@pytest.mark.slow
def test_predictions_of_new_runs_cover_their_counts():
    """Cells nobody trained: 90 % intervals for 32 samples of a new run, over 30 studies."""
    inside = 0
    for seed in range(30):
        x, y, trials, _ = study(seed, luck=0)
        result = fit(logistic(("p", "r")), x, y, trials=trials, level=0.9, starts=4)
        found = predict(result, {"p": [1e4], "r": [16.0]}, trials=np.array([32]), draws=1000)
        rng = np.random.default_rng(1000 + seed)
        f = 1 / (1 + np.exp(9 - 0.5 * np.log(1e4) - 0.8 * np.log(16)))
        rate = rng.binomial(32, rng.beta(f * 19, (1 - f) * 19)) / 32
        inside += found.lo[0] <= rate <= found.hi[0]
    assert inside / 30 >= 0.8


def test_few_samples_are_predicted_less_sharply_than_the_rate_of_the_run():
    x, y, trials, _ = study(0, luck=0)
    result = fit(logistic(("p", "r")), x, y, trials=trials)
    rate, few = (predict(result, {"p": [1e4], "r": [64.0]}, trials=t) for t in (None, np.array([8])))
    assert few.hi[0] - few.lo[0] > rate.hi[0] - rate.lo[0] > 0


def test_rows_that_cannot_be_predicted_are_empty():
    result = fit(POWER, {"x": np.array([1.0, 2, 4, 8])}, np.array([4.0, 2.2, 0.9, 0.5]), loss="lsq_log")
    found = predict(result, {"x": [2.0, np.nan, 0.0]})
    assert np.isfinite(found.lo[0]) and np.isnan(found.value[1:]).all() and np.isnan(found.hi[1:]).all()


def line(seed: int, groups: int = 8, rows: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(groups), rows)
    x = np.exp(rng.uniform(0, 3, run.size))
    return x, 1 + 2 * np.log(x) + 0.3 * rng.standard_normal(run.size), run


def test_the_sandwich_is_the_textbook_s_cr2():
    """Bell & McCaffrey 2002 in its own form, on a line: X_g' (I - H_gg)^(-1/2) e_g with n x n matrices."""
    x, y, run = line(0, groups=6, rows=4)
    made = by_run(fit(log_linear(("p",)), {"p": x}, y), run).sandwich
    design = np.stack([np.ones_like(x), np.log(x)], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    residual = y - design @ inverse @ design.T @ y
    meat, hat = np.zeros((2, 2)), np.eye(x.size) - design @ inverse @ design.T
    weights = []
    for g in range(6):
        part = design[run == g]
        values, vectors = np.linalg.eigh(np.eye(4) - part @ inverse @ part.T)
        root = vectors * values**-0.5 @ vectors.T
        score = part.T @ root @ residual[run == g]
        meat += np.outer(score, score)
        weights.append(hat[:, run == g] @ root @ part @ inverse[1])
    variance, freedom = made.variance(np.eye(2))
    known = (inverse @ meat @ inverse)[1, 1]
    independent = replace(made, spread=made.information)  # the working model without luck of runs
    eigenvalues = np.linalg.eigvalsh(np.array(weights) @ np.array(weights).T)
    assert independent.variance(np.eye(2))[0][1] == pytest.approx(known, rel=1e-9)
    assert independent.variance(np.eye(2))[1][1] == pytest.approx(eigenvalues.sum() ** 2 / np.sum(eigenvalues**2))
    assert 0.3 < variance[1] / known < 3 and 1 <= freedom[1] <= 6


def test_a_prediction_of_a_new_run_by_one_row_a_run_is_nearly_students():
    """One row a run: the textbook's interval of a line, its leverage term by the robust variance."""
    x, y, run = line(1, groups=40)
    result = fit(log_linear(("p",)), {"p": x}, y)
    plain, clustered = predict(result, {"p": [5.0]}, draws=40_000), predict(by_run(result, run), {"p": [5.0]})
    assert clustered.hi[0] - clustered.lo[0] == pytest.approx(plain.hi[0] - plain.lo[0], rel=0.08)


def test_luck_of_runs_widens_what_a_new_run_may_give():
    x, y, trials, run = study(3, luck=0.7)
    result = fit(logistic(("p", "r")), x, y, trials=trials)
    alone = predict(result, {"p": [1e4], "r": [64.0]})
    found = by_run(result, run)
    new = predict(found, {"p": [1e4], "r": [64.0]})
    assert new.hi[0] - new.lo[0] > 1.2 * (alone.hi[0] - alone.lo[0])
    assert found.scatter.between > 0.3 and found.as_json()["between_runs"]["runs"] == 8


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_p_value_at_an_end_is_one_minus_the_level(level):
    x, y, trials, run = study(0, luck=0.3)
    found = by_run(fit(logistic(("p", "r")), x, y, trials=trials, level=level), run)
    for name, e in found.params.items():
        assert p_value(found, name, e.lo) == pytest.approx(1 - level, abs=1e-4)
        assert p_value(found, name, e.hi) == pytest.approx(1 - level, abs=1e-4)
        assert p_value(found, name, e.value) == pytest.approx(1, abs=1e-3)


def test_a_p_value_needs_runs_and_a_fitted_parameter():
    x, y, trials, run = study(0, luck=0.3)
    result = fit(logistic(("p", "r")), x, y, trials=trials)
    with pytest.raises(ValueError, match="needs the fit's runs"):
        p_value(result, "b_r", 1.0)
    with pytest.raises(ValueError, match="'b_t' is not one"):
        p_value(by_run(result, run), "b_t", 1.0)


def test_separated_counts_keep_their_open_sides():
    x, _, trials, run = study(0, luck=0.0)
    result = fit(logistic(("p", "r")), x, np.where(x["r"] > 4, trials, 0), trials=trials)
    found = by_run(result, run)
    assert not isinstance(found, ClusteredFit) and found.params == result.params
    assert "take rows for independent" in found.message


def test_runs_whose_rows_balance_give_no_interval_instead_of_one_without_width():
    """Least absolute deviations: a row above and one below in every run, so no run pulls at the fit."""
    x = np.repeat(np.geomspace(1, 100, 6), 2)
    y = 3 * x**-0.5 * np.exp(np.tile([0.05, -0.05], 6))
    found = by_run(fit(POWER, {"x": x}, y, loss="huber_log:1e-3"), np.repeat(np.arange(6), 2))
    assert all(e.lo is None and e.hi is None and not e.identifiable for e in found.params.values())
    assert "balance exactly" in found.message and np.isnan(p_value(found, "c", -0.4))
    assert json.dumps(found.as_json(), allow_nan=False)  # what is not known is null, and the report goes on


def test_with_many_clusters_hubers_ends_are_those_of_the_draws():
    """A power law through 200 rows with a width beyond all residuals: resampling estimates White's 1980 variance."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(0, 3, 200))
    y = np.exp(1 - 0.5 * np.log(x) + 0.3 * rng.standard_normal(200))
    result = fit(POWER, {"x": x}, y, loss="huber_log:10")
    drawn = bootstrap(result, draws=2000).params["c"]
    z = np.log(x) - np.log(x).mean()
    white = np.sqrt(np.sum(z**2 * np.log(y / result.predict({"x": x})) ** 2)) / np.sum(z**2)
    assert drawn.se == pytest.approx(white, rel=0.06)
    assert drawn.hi - drawn.lo == pytest.approx(2 * 1.96 * white, rel=0.06)
    assert bootstrap(result, draws=2000).params != by_run(result).params
    few = fit(POWER, {"x": x[:40]}, y[:40], loss="huber_log:10")
    assert bootstrap(few, draws=2000).params == by_run(few).params
    assert bootstrap(result, draws=100).params == by_run(result).params  # too few draws for a tail
    squares = fit(POWER, {"x": x}, y, loss="lsq_log")
    assert bootstrap(squares, draws=300).params == by_run(squares).params
