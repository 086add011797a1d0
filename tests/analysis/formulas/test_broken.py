"""The broken law: its values, its shapes, and whether a fit ends at the global minimum."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from analysis.fitting.estimate import fit
from analysis.fitting.problem import cleaned
from analysis.fitting.result import Status
from analysis.fitting.search import lowest
from analysis.fitting.starts import starting_points
from analysis.formulas.broken_law import in_order
from analysis.laws import law

ONE, TWO = law("broken", ["x"]), law("broken:2", ["x"])
K51 = [0.0, 1.0, 0.5, 100.0, 0.25]
TRUTH = {  # monotone, rising after a fall, falling-rising-falling, falling faster
    "one break": (ONE, [0.2, 3, 0.5, 100, 0.25, 1.0]),
    "a valley": (ONE, [0.1, 3, 0.4, 300, 0.3, -0.9]),
    "a peak": (TWO, [0.1, 3, 0.4, 30, 0.25, -1.0, 2000, 0.3, 1.2]),
    "two falls": (TWO, [0.05, 2, 0.5, 20, 0.3, -0.8, 800, 0.2, 0.9]),
}


@pytest.mark.parametrize(
    ("c1", "x", "y"),
    [(1.0, [1, 100, 1e4], [1, 0.0840896, 1e-4]), (-1.0, [1, 10, 100, 1e3, 1e4], [1, 0.3162, 0.1189, 0.3162, 1])],
)
def test_a_break_bends_the_curve_as_computed_by_hand(c1, x, y):
    """K51."""
    np.testing.assert_allclose(ONE.predict({"x": np.array(x)}, [*K51, c1]), y, rtol=5e-4, atol=1e-8)
    assert ONE.predict({"x": np.array([100.0])}, [*K51, 1.0])[0] == pytest.approx(0.1 * 2**-0.25, rel=1e-12)


def test_slopes_add_up_from_break_to_break():
    """-c0, -(c0 + c1), -(c0 + c1 + c2) in log-log far from the breaks (Caballero et al. 2023)."""
    x = np.array([1e-9, 1e-8, 1e3, 1e4, 1e15, 1e16])
    y = TWO.predict({"x": x}, [0, 2.0, 0.4, 1.0, 0.2, -1.1, 1e8, 0.3, 0.9])
    np.testing.assert_allclose(np.diff(np.log(y))[::2] / np.log(10), [-0.4, 0.7, -0.2], atol=1e-9)


@pytest.mark.parametrize("f", [1e-300, 1e-8, 1e8])
def test_breaks_of_any_sharpness_stay_finite(f):
    """f -> 0 is a corner: x^-c0 before d, x^-(c0 + c1) d^c1 behind it; nothing overflows on the way."""
    x = {"x": np.array([1e-200, 1.0, 99.0, 100.0, 101.0, 1e200])}
    theta = np.array([0.0, 1.0, 0.5, 100.0, f, 0.2])
    assert np.all(np.isfinite(ONE.predict(x, theta)))
    assert np.all(np.isfinite(ONE.raw_gradient(x, theta)))
    if f < 1e-3:
        z = x["x"]
        np.testing.assert_allclose(ONE.predict(x, theta), z**-0.5 * np.maximum(z / 100, 1) ** -0.2, rtol=1e-7)


def test_the_order_of_breaks_changes_labels_but_no_curve():
    theta = np.array([0.1, 3, 0.4, 2000, 0.3, 1.2, 30, 0.25, -1.0])
    ordered = in_order(theta)
    np.testing.assert_array_equal(ordered, [0.1, 3, 0.4, 30, 0.25, -1.0, 2000, 0.3, 1.2])
    np.testing.assert_array_equal(in_order(np.stack([theta, ordered])), [ordered, ordered])
    x = {"x": np.geomspace(1, 1e5, 30)}
    np.testing.assert_allclose(TWO.predict(x, theta), TWO.predict(x, ordered), rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("case", TRUTH)
@pytest.mark.parametrize("loss", ["lsq", "lsq_log"])
def test_exact_data_give_the_parameters_back(case, loss):
    law_, theta = TRUTH[case]
    x = {"x": np.geomspace(1, 1e5, 40)}
    result = fit(law_, x, law_.predict(x, theta), loss=loss)
    np.testing.assert_allclose([e.value for e in result.params.values()], theta, rtol=1e-4)


@pytest.mark.parametrize("held", [{"d1": 30.0}, {"d1": 2000.0}, {"d2": 30.0}])
def test_a_break_held_fixed_may_be_any_of_them(held):
    law_, theta = TRUTH["a peak"]
    x = {"x": np.geomspace(1, 1e5, 40)}
    problem, _ = cleaned(law_, x, law_.predict(x, theta), None, "lsq_log", held)
    rng = np.random.default_rng(0)
    found, _ = lowest(problem, starting_points(problem, rng, 64), rng)
    assert found.value[0] < 1e-15


def test_a_straight_power_law_says_that_it_has_no_break():
    """Null: without a break its place has no limit, and that is said."""
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1e5, 24)
    result = fit(ONE, {"x": x}, 3 * x**-0.4 * np.exp(0.01 * rng.standard_normal(24)), loss="lsq_log", fixed={"a": 0})
    assert result.status != Status.OK
    assert not (result.params["d1"].identifiable and result.params["f1"].identifiable)


def noisy(case: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    law_, theta = TRUTH[case]
    x = np.geomspace(1, 1e5, 24 if law_ is ONE else 30)
    return x, law_.predict({"x": x}, theta) * np.exp(0.01 * np.random.default_rng(seed).standard_normal(x.size))


def brute_force(x: np.ndarray, y: np.ndarray, breaks: int, loss: str, starts: int, seed: int) -> float:
    """The lowest of many SciPy least-squares searches from random places, with a formula of its own."""
    rng, ln_x, best = np.random.default_rng(seed), np.log(x), np.inf

    def curve(u: np.ndarray) -> np.ndarray:
        exponent = u[1] - u[2] * ln_x
        for ln_d, ln_f, c in u[3:].reshape(-1, 3):
            f = np.exp(np.clip(ln_f, -20, 5))
            exponent = exponent - c * f * np.logaddexp(0, (ln_x - ln_d) / f)
        return u[0] + np.exp(np.clip(exponent, -700, 300))

    def residuals(u: np.ndarray) -> np.ndarray:
        fitted = curve(u)
        return fitted - y if loss == "lsq" else np.log(np.maximum(fitted, 1e-300) / y)

    for _ in range(starts):
        places = np.sort(rng.uniform(ln_x[0], ln_x[-1], breaks))
        triples = [(d, np.log(rng.uniform(0.03, 1.5)), 0.7 * rng.standard_normal()) for d in places]
        u = np.array([rng.uniform(-0.5, 1) * y.min(), 0, 0.5 * rng.standard_normal(), *np.ravel(triples)])
        u[1] = np.log(y.mean() / (curve(u) - u[0]).mean())
        best = min(best, 2 * least_squares(residuals, u, x_scale="jac", max_nfev=400).cost)
    return best


@pytest.mark.slow
@pytest.mark.parametrize(("case", "loss"), [("a valley", "lsq_log"), ("one break", "lsq"), ("a peak", "lsq_log")])
def test_no_random_search_ends_lower(case, loss):
    x, y = noisy(case, 1)
    law_ = TRUTH[case][0]
    found = fit(law_, {"x": x}, y, loss=loss).objective
    assert found <= brute_force(x, y, len(law_.parameters) // 3 - 1, loss, 15, 0) * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["lsq", "lsq_log"])
@pytest.mark.parametrize("case", TRUTH)
def test_no_long_random_search_ends_lower(case, loss):
    law_ = TRUTH[case][0]
    for seed in range(3):
        x, y = noisy(case, seed)
        found = fit(law_, {"x": x}, y, loss=loss).objective
        assert found <= brute_force(x, y, len(law_.parameters) // 3 - 1, loss, 60, seed) * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("breaks", "rows", "curves"), [(1, 14, 20), (2, 24, 12)])
def test_few_noisy_rows_have_their_lowest_minimum_found(breaks, rows, curves):
    """Random curves with 3 % noise, where sharp breaks that follow the noise compete: a random search wins in few."""
    law_, beaten = law(f"broken:{breaks}", ["x"]), []
    for seed in range(curves):
        rng = np.random.default_rng(seed)
        x = np.geomspace(1, 10 ** rng.uniform(2, 6), rows)
        span = np.log(x[-1])
        theta = [rng.choice([0, 0.1, 0.5]), rng.uniform(0.5, 5), 0.4 * rng.standard_normal()]
        for place in np.sort(rng.uniform(0.1, 0.9, breaks)):
            theta += [np.exp(place * span), span * np.exp(rng.uniform(-4, -1.5)), 0.8 * rng.standard_normal()]
        y = law_.predict({"x": x}, theta) * np.exp(0.03 * rng.standard_normal(rows))
        problem, _ = cleaned(law_, {"x": x}, y, None, "lsq_log", {})
        found, _ = lowest(problem, starting_points(problem, rng, 64), rng)
        beaten.append(brute_force(x, y, breaks, "lsq_log", 40, seed) < found.value[0] * (1 - 1e-6))
    assert sum(beaten) <= 1


def test_two_breaks_cannot_fit_worse_than_one():
    x, y = noisy("a valley", 3)
    assert fit(TWO, {"x": x}, y, loss="lsq_log").objective <= fit(ONE, {"x": x}, y, loss="lsq_log").objective


def test_values_below_zero_can_be_fitted():
    """a is any number: a curve that falls through 0."""
    x = np.geomspace(1, 1e4, 30)
    y = ONE.predict({"x": x}, [-2.0, 3.0, 0.3, 50.0, 0.4, 0.6])
    assert y.min() < 0
    result = fit(ONE, {"x": x}, y)
    assert result.params["a"].value == pytest.approx(-2, rel=1e-4)


def test_starts_cost_the_same_for_many_rows_and_take_any_rows():
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(0, 11, 20_000))
    many = ONE.starts({"x": x}, ONE.predict({"x": x}, TRUTH["one break"][1]))
    assert many.shape[1] == 6 and len(many) <= 500
    for few in ([3.0, 3.0], [1.0, 2.0]):
        for flat in (np.full(2, 7.0), np.zeros(2), np.array([2.0, -1.0])):
            assert np.all(np.isfinite(ONE.starts({"x": np.array(few)}, flat)))


@pytest.mark.parametrize(
    ("spec", "names", "says"),
    [("broken:0", ["x"], "power_offset"), ("broken:two", ["x"], "K = 1"), ("broken:9", ["x"], "K = 1"),
     ("broken", ["p"], "--x x=COLUMN"), ("broken", ["x", "p"], "--x x=COLUMN")],
)  # fmt: skip
def test_what_is_no_broken_law_says_what_is(spec, names, says):
    with pytest.raises(ValueError, match=says):
        law(spec, names)


def test_a_break_held_fixed_keeps_its_name():
    """Breaks are named in order of d, but one that the user holds stays the one he named."""
    x = np.geomspace(1, 1e5, 60)
    truth = np.array([0.0, 3.0, 0.2, 2000.0, 0.3, 0.6, 50.0, 0.2, -0.3])
    y = TWO.predict({"x": x}, truth)
    found = fit(TWO, {"x": x}, y, loss="lsq_log", fixed={"a": 0.0, "d1": 2000.0})
    values = np.array([found.params[name].value for name in TWO.parameters])
    np.testing.assert_allclose(TWO.predict({"x": x}, values), y, rtol=1e-5)
    assert values[3] == 2000.0 and values[6] == pytest.approx(50.0, rel=1e-3)


def test_a_spike_between_two_places_of_the_grid_is_found():
    """A sharp double descent is two nearly cancelling breaks: some starts stand at it, and the truth is beaten."""
    x = np.geomspace(0.1, 1000, 100)
    truth = np.array([0.22, 0.004, 2.4, 0.88, 0.17, -63.0, 1.0, 0.001, 62.0])
    y = TWO.predict({"x": x}, truth) * np.exp(0.3 * np.random.default_rng(2).standard_normal(x.size))
    places = TWO.starts({"x": x}, y)[:, [3, 6]]
    assert np.min(np.abs(np.log(places))) < 0.06  # of the grid alone the nearest is .13 away
    found = fit(TWO, {"x": x}, y, loss="lsq_log")
    assert found.objective <= np.sum(np.log(TWO.predict({"x": x}, truth) / y) ** 2)
