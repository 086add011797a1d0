import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.fitting.estimate import fit
from analysis.fitting.result import Status
from analysis.laws import POWER, POWER_OFFSET, exposure, log_linear, logistic
from analysis.rates import betabinom_logpmf

BENCHMARK = Path(__file__).parents[2] / "reference/extrapolation_benchmark/benchmark_nmt_lm.csv"
M1 = {  # recomputed c, beta, score (reference/README of the published tables)
    "6 Enc, 6 Dec": (-0.163143, 6.899327, 0.261869),
    "28 Enc, 6 Dec": (-0.166285, 7.255543, 0.170848),
    "6 Enc, 28 Dec": (-0.195393, 11.821460, 0.234026),
    "Dec-only": (-0.132713, 4.254359, 0.251972),
    "TEnc-LSTM": (-0.131368, 4.292115, 0.189916),
}
M1_SCORES = {
    "1.68e+07": 0.006370,
    "1.34e+08": 0.014323,
    "2.62e+08": 0.015519,
    "4.53e+08": 0.016532,
    "1.07e+09": 0.017112,
}


def curve(model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Seen examples and loss of the rows to fit, then of the rows to score."""
    with open(BENCHMARK, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Model"] == model]
    table = np.array([[float(row[name]) for name in ("Seen Examples", "Loss", "Training")] for row in rows])
    known = table[:, 2] == 1
    return table[known, 0], table[known, 1], table[~known, 0], table[~known, 1]


def score(model: str) -> tuple[float, float, float]:
    x, y, x_new, y_new = curve(model)
    result = fit(POWER, {"x": x}, y, loss="lsq_log")
    error = np.log(result.predict({"x": x_new})) - np.log(y_new)
    return result.params["c"].value, result.params["b"].value, float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize("model", M1)
def test_the_published_power_laws_come_out_to_rounding(model):
    np.testing.assert_allclose(score(model), M1[model], atol=6e-7)


@pytest.mark.parametrize("model", M1_SCORES)
def test_the_language_models_scores_come_out_to_rounding(model):
    assert score(model)[2] == pytest.approx(M1_SCORES[model], abs=6e-7)


def test_log_least_squares_gives_the_textbook_interval():
    """The slope of a line: estimate +- t se (closed form); the profile of an F statistic is exactly that."""
    x, y, *_ = curve("Dec-only")
    result = fit(POWER, {"x": x}, y, loss="lsq_log")
    z, n = np.log(x) - np.log(x).mean(), len(x)
    slope = np.sum(z * np.log(y)) / np.sum(z**2)
    residual = np.log(y) - np.log(y).mean() - slope * z
    se = np.sqrt(np.sum(residual**2) / (n - 2) / np.sum(z**2))
    t = {10: 2.306004, 9: 2.364624}[n]
    c = result.params["c"]
    np.testing.assert_allclose([c.value, c.se, c.lo, c.hi], [slope, se, slope - t * se, slope + t * se], rtol=1e-5)


@pytest.mark.parametrize("x", [np.geomspace(1, 10, 8), np.linspace(1, 10, 8)], ids=["log", "linear"])
def test_one_decade_hides_the_floor(x):
    """K50: y = .5 + x^-.3; with e held at 0 or .3 the slope is -.176 or -.233 and the misfit below 1 %."""
    y = 0.5 + x**-0.3
    for e, c, rms in ((0.0, -0.176, 0.0067), (0.3, -0.233, 0.0036)):
        result = fit(POWER_OFFSET, {"x": x}, y, fixed={"e": e}, loss="lsq_log")
        assert result.params["c"].value == pytest.approx(c, rel=0.01)
        error = result.predict({"x": x}) - y
        assert np.sqrt(np.mean(error**2)) == pytest.approx(rms, rel=0.05)
        assert result.params["e"].value == e


def test_a_noiseless_power_law_with_floor_comes_back_and_its_intervals_are_not_zero_wide():
    x = np.geomspace(1e2, 1e7, 10)
    result = fit(POWER_OFFSET, {"x": x}, 1.7 + 400 * x**-0.34)
    np.testing.assert_allclose([e.value for e in result.params.values()], [1.7, 400, -0.34], rtol=1e-8)
    assert all(e.lo < e.hi for e in result.params.values())
    assert "to rounding" in result.message


@pytest.mark.parametrize("loss", ["lsq", "lsq_log", "huber_log:0.001"])
@pytest.mark.parametrize("model", ["6 Enc, 6 Dec", "Dec-only", "1.68e+07"])
def test_no_other_search_finds_a_lower_objective(model, loss):
    """Brute force: for a dense grid of (e, c), b by one-dimensional search; the fit is never above it."""
    x, y, *_ = curve(model)
    found = fit(POWER_OFFSET, {"x": x}, y, loss=loss).objective

    def value(theta: np.ndarray) -> float:
        fitted = theta[0] + np.exp(theta[1]) * x ** theta[2]
        if not np.all(fitted > 0) or theta[0] < 0 or not -4 <= theta[2] <= 0:
            return 1e9
        r = fitted - y if loss == "lsq" else np.log(fitted / y)
        if loss.startswith("huber"):
            return float(np.sum(np.where(np.abs(r) <= 1e-3, r**2 / 2, 1e-3 * (np.abs(r) - 5e-4))))
        return float(np.sum(r**2))

    best = np.inf
    for share in (0.3, 0.8, 0.95):
        for c in (-0.15, -0.4, -0.7):
            e = share * y.min()
            start = [e, np.mean(np.log(y - e) - c * np.log(x)), c]
            tried = minimize(
                value, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-14}
            )
            best = min(best, tried.fun)
    assert found <= best * (1 + 1e-7)


def counts(rng: np.random.Generator, *, c: float, trials: int = 40) -> tuple[dict, np.ndarray, np.ndarray]:
    """6 sizes x 8 copies, logit f = -9 + .5 ln p + .8 ln r, overdispersion c."""
    p, r = (grid.ravel() for grid in np.meshgrid([1e3, 3e3, 1e4, 3e4, 1e5, 3e5], 2.0 ** np.arange(8)))
    f = 1 / (1 + np.exp(9 - 0.5 * np.log(p) - 0.8 * np.log(r)))
    f = rng.beta(f * (1 - c) / c, (1 - f) * (1 - c) / c) if c else f
    return {"p": p, "r": r}, rng.binomial(trials, f).astype(float), np.full(p.size, float(trials))


@pytest.mark.parametrize("c", [0.0, 0.1])
def test_the_logistic_fit_is_the_maximum_of_the_likelihood(c):
    """An independent optimiser on an independent likelihood ends at the same place; the truth is within 4 se."""
    x, hits, trials = counts(np.random.default_rng(3), c=c)
    result = fit(logistic(("p", "r")), x, hits, trials=trials)

    def negative(theta: np.ndarray) -> float:
        f = 1 / (1 + np.exp(-(theta[0] + theta[1] * np.log(x["p"]) + theta[2] * np.log(x["r"]))))
        c = max(1 / (1 + np.exp(-theta[3])), 1e-5)  # below it differences of ln Gamma at 1/c lose digits
        return -np.sum(betabinom_logpmf(hits, trials, f, c))

    found = minimize(
        negative, [-8, 0.4, 0.7, -3], method="Nelder-Mead", options={"maxiter": 6000, "fatol": 1e-11, "xatol": 1e-8}
    )
    assert result.objective <= found.fun + 1e-6
    np.testing.assert_allclose([e.value for e in result.params.values()], found.x[:3], rtol=2e-3)
    for estimate, truth in zip(result.params.values(), (-9, 0.5, 0.8), strict=True):
        assert abs(estimate.value - truth) < 4 * estimate.se
    assert result.overdispersion == pytest.approx(c, abs=0.06)
    assert result.reached_best >= 0.9 * result.tried


def test_the_profile_end_is_where_the_likelihood_has_fallen_by_1_92():
    x, hits, trials = counts(np.random.default_rng(3), c=0.1)
    free = fit(logistic(("p", "r")), x, hits, trials=trials)
    for end in (free.params["b_r"].lo, free.params["b_r"].hi):
        held = fit(logistic(("p", "r")), x, hits, trials=trials, fixed={"b_r": end})
        assert held.objective - free.objective == pytest.approx(1.920729, abs=1e-4)


def test_an_exposure_law_comes_back():
    rng = np.random.default_rng(0)
    t, p = (grid.ravel() for grid in np.meshgrid(np.geomspace(10, 1000, 7), [1e3, 1e4, 1e5]))
    f = 1 - np.exp(-((t * p**0.4 / 5000) ** 1.3))
    result = fit(
        exposure(("t", "p")), {"t": t, "p": p}, rng.binomial(400, f).astype(float), trials=np.full(t.size, 400.0)
    )
    for estimate, truth in zip(result.params.values(), (5000, 1.3, 0.4), strict=True):
        assert estimate.lo < truth < estimate.hi
    assert result.status == Status.OK


def test_a_rate_of_zero_everywhere_has_an_upper_limit_but_no_slope():
    x, hits, trials = counts(np.random.default_rng(0), c=0)
    result = fit(logistic(("p", "r")), x, 0 * hits, trials=trials)
    assert result.status == Status.AT_BOUND
    assert "there is no success" in result.message
    assert not any(e.identifiable for e in result.params.values())
    assert np.all(result.predict(x) < 0.01)


def test_separation_leaves_the_open_side_without_a_limit():
    x, _, trials = counts(np.random.default_rng(0), c=0)
    result = fit(logistic(("p", "r")), x, np.where(x["r"] > 8, trials, 0), trials=trials)
    slope = result.params["b_r"]
    assert result.status == Status.AT_BOUND
    assert slope.hi is None and not slope.identifiable
    assert slope.lo > 0 and np.isfinite(slope.value)
    assert "separated" in result.message


def test_a_falling_law_of_rising_data_stands_at_its_bound():
    x = np.geomspace(1, 100, 12)
    result = fit(POWER_OFFSET, {"x": x}, x**0.3, fixed={"e": 0.0})
    assert result.status == Status.AT_BOUND
    assert "c = 0" in result.message.replace("c = -0", "c = 0")


def test_fewer_rows_than_parameters_print_no_digits():
    result = fit(POWER_OFFSET, {"x": np.array([1.0, 2.0])}, np.array([2.0, 1.0]))
    assert result.status == Status.NOT_IDENTIFIABLE
    assert "2 rows cannot determine the 3 parameters" in result.message
    assert all(e.value is None for e in result.params.values())


def test_as_many_rows_as_parameters_leave_no_interval():
    result = fit(POWER, {"x": np.array([1.0, 2.0])}, np.array([2.0, 1.0]))
    assert result.params["c"].value == pytest.approx(-1)
    assert result.params["c"].lo is None and result.status == Status.NOT_IDENTIFIABLE


def test_variables_that_move_together_are_not_told_apart():
    x, hits, trials = counts(np.random.default_rng(3), c=0)
    result = fit(logistic(("p", "r", "t")), {**x, "t": 3 * x["r"]}, hits, trials=trials)
    assert result.status == Status.NOT_IDENTIFIABLE
    assert "move together" in result.message
    assert not result.params["b_t"].identifiable
    assert result.params["b_p"].identifiable


def test_a_constant_variable_is_said():
    result = fit(log_linear(("p",)), {"p": np.full(6, 8.0)}, np.arange(6.0))
    assert result.status == Status.NOT_IDENTIFIABLE
    assert "p is constant" in result.message


def test_missing_rows_are_left_out_and_said():
    x, hits, trials = counts(np.random.default_rng(3), c=0.1)
    whole = fit(logistic(("p", "r")), {k: v[4:] for k, v in x.items()}, hits[4:], trials=trials[4:])
    holes = hits.copy()
    holes[:3], trials[3] = np.nan, 0
    holes[3] = 0
    result = fit(logistic(("p", "r")), x, holes, trials=trials)
    assert "4 of 48 rows" in result.message
    assert result.objective == pytest.approx(whole.objective)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": [0.0, 1.0, 2.0]}, "takes its logarithm"),
        ({"x": [np.inf, 1.0, 2.0]}, "infinite"),
        ({"y": [-1.0, 1.0, 2.0]}, "takes its logarithm"),
        ({"fixed": {"d": 1.0}}, "has b, c"),
        ({"fixed": {"c": 9.0}}, "outside its bounds"),
        ({"loss": "binomial"}, "needs trials"),
        ({"level": 1.0}, "between 0 and 1"),
    ],
)
def test_what_no_fit_can_use_raises(change, says):
    arguments = {"x": [1.0, 2.0, 3.0], "y": [3.0, 2.0, 1.0], "loss": "lsq_log", **change}
    x = {"x": np.array(arguments.pop("x"))}
    with pytest.raises(ValueError, match=says):
        fit(POWER, x, np.array(arguments.pop("y")), **arguments)


def test_a_fit_is_a_function_of_its_arguments():
    x, hits, trials = counts(np.random.default_rng(3), c=0.1)
    one, two = (fit(logistic(("p", "r")), x, hits, trials=trials, seed=5).as_json() for _ in range(2))
    assert one == two
