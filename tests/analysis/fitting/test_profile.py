"""Ends of profiles against brute force and closed form; sides without a limit; paths that must leave a local valley."""

from math import inf

import numpy as np
import pytest

from analysis.fitting.assessment import at_rest
from analysis.fitting.estimate import LOWER, fit
from analysis.fitting.problem import LOG_RANGE, cleaned
from analysis.fitting.profile import profile_intervals
from analysis.fitting.result import Status
from analysis.fitting.search import Minimum
from analysis.formulas.law import Law
from analysis.laws import law

POWER_OFFSET, CHINCHILLA = law("power_offset", ["x"]), law("chinchilla", ["N", "D"])


WAVE = Law(
    "wave",
    "a cos(w x)",
    ("x",),
    {"a": (0, 5), "w": (0, 9)},
    lambda x, a, w: a * np.cos(w * x),
    lambda x, a, w: (np.cos(w * x) + 0 * a, -a * x * np.sin(w * x)),
    lambda x, y: np.stack([np.full(30, 1.0), np.linspace(0.1, 8.9, 30)], axis=1),
)


def noisy(seed: int, e: float, c: float = -0.4, n: int = 14) -> tuple[dict[str, np.ndarray], np.ndarray]:
    x = np.geomspace(1, 1000, n)
    return {"x": x}, (e + 2 * x**c) * (1 + 0.02 * np.random.default_rng(seed).standard_normal(n))


def test_the_ends_of_an_exponent_are_where_brute_force_puts_them():
    """power_offset, least squares: at each c of a grid (e, b) is a linear solve; the interval is where F allows c."""
    x, y = noisy(0, 0.3)
    found = fit(POWER_OFFSET, x, y)
    limit = found.objective * (1 + 4.844336 / 11)  # F(1, 11) at .95

    def least(c: float) -> float:
        columns = np.stack([np.ones_like(y), x["x"] ** c], axis=1)
        return float(np.sum((columns @ np.linalg.lstsq(columns, y, rcond=None)[0] - y) ** 2))

    grid = np.linspace(-1, -0.05, 4000)
    inside = grid[[least(c) <= limit for c in grid]]
    assert found.params["c"].lo == pytest.approx(inside.min(), abs=3e-4)
    assert found.params["c"].hi == pytest.approx(inside.max(), abs=3e-4)


def test_a_floor_that_may_be_zero_has_no_lower_limit():
    """Half a decade of x and 2 % noise: e = 0 fits as well, so e has an upper end only, and the status says it."""
    x = np.geomspace(1, 4, 12)
    y = (0.5 + x**-0.3) * (1 + 0.02 * np.random.default_rng(1).standard_normal(12))
    found = fit(POWER_OFFSET, {"x": x}, y, loss="lsq_log")
    assert found.params["e"].lo is None and not found.params["e"].identifiable
    assert found.status in (Status.NOT_IDENTIFIABLE, Status.AT_BOUND)
    assert " e" in found.message


@pytest.mark.parametrize("loss", ["lsq", "lsq_log", "huber_log:0.01"])
def test_a_law_without_floor_puts_the_floor_at_its_bound_half_the_time(loss):
    """e = 0 is the truth: where the free slope asks for e < 0 the fit stands at e = 0, exactly, with an upper limit."""
    at_bound = 0
    for seed in range(8):
        found = fit(POWER_OFFSET, *noisy(seed, 0.0), loss=loss)
        if found.params["e"].value == 0:
            at_bound += 1
            assert found.status == Status.AT_BOUND and "e = 0" in found.message
            assert found.params["e"].lo is None and found.params["e"].hi > 0
        else:
            assert found.params["e"].value > 0
    assert 1 <= at_bound <= 7


def test_a_term_that_is_not_there_is_said_to_vanish():
    """L rises with N and the law can only fall: A = 0 exactly, alpha unknown on both sides."""
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(18, 23, 60)), np.exp(rng.uniform(21, 26, 60))
    y = 1.5 + 0.02 * np.log(n / n.min()) + 2000 * d**-0.37
    found = fit(CHINCHILLA, {"N": n, "D": d}, y)
    assert found.params["A"].value == 0 and found.params["A"].lo is None
    assert found.params["alpha"].lo is None and found.params["alpha"].hi is None
    assert found.status == Status.AT_BOUND and "A = 0" in found.message


def test_a_constant_curve_has_no_slope():
    found = fit(POWER_OFFSET, {"x": np.geomspace(1, 100, 20)}, 1 + 0.01 * np.random.default_rng(0).standard_normal(20))
    assert found.status in (Status.AT_BOUND, Status.NOT_IDENTIFIABLE)
    assert not found.params["c"].identifiable


def test_a_profile_that_finds_a_lower_minimum_has_the_fit_redone(monkeypatch):
    """A wave a cos(w x) has a minimum in w each half period. One start in a wrong one, no hops: a profile gets out."""
    monkeypatch.setattr("analysis.fitting.search.hop", lambda problem, best, rng, hops: best)
    x = {"x": np.linspace(0.1, 6, 40)}
    y = np.cos(3.0 * x["x"]) + 0.3 * np.random.default_rng(0).standard_normal(40)
    found = fit(WAVE, x, y, start=np.array([[0.5, 2.2]]))
    assert found.objective == pytest.approx(fit(WAVE, x, y).objective, rel=1e-6)
    assert LOWER in found.message
    assert (found.tried, found.reached_best) == (1, 0)


def test_an_end_in_a_local_valley_is_searched_again_from_afar():
    """Two valleys in t with a wall of 25 between: t = -1 holds the minimum, where the sum rises as s^2, and t = 1, 0.36
    above it whatever s. A rise of 1 is met at s = 1 along the first; in truth s has no limit on either side."""

    def function(x, s, t):
        return np.where(x == 1, s * (1 - t) / 2, 0) + np.where(x == 2, 5 * (t**2 - 1), 0) + (x == 3) * 0.3 * (t + 1)

    def gradient(x, s, t):
        return (x == 1) * (1 - t) / 2 + 0 * s, (x == 1) * -s / 2 + (x == 2) * 10 * t + (x == 3) * 0.3 + 0 * s

    made = Law(
        "valleys", "f(s, t)", ("x",), {"s": (-9, 9), "t": (-2, 2)}, function, gradient, lambda x, y: np.zeros((1, 2))
    )
    problem, _ = cleaned(made, {"x": np.array([1.0, 2.0, 3.0, 4.0])}, np.array([0.0, 0.0, 0.0, 2.0]), None, "lsq", {})
    u, step = np.array([0.0, -1.0]), np.array([0.2, 0.01])
    near = profile_intervals(problem, u, 4.0, 1.0, step)
    assert near.hi[0] == pytest.approx(1.0, abs=0.01) and near.lo[0] == pytest.approx(-1.0, abs=0.01)
    far = profile_intervals(problem, u, 4.0, 1.0, step, np.array([[0.0, 1.0], [0.0, -1.0]]))
    assert np.isnan(far.hi[0]) and np.isnan(far.lo[0])


def test_a_logarithm_far_down_is_moved_to_the_bound_it_stands_for():
    """A = 1e-60 changes no digit of the curve: A is 0. A = 50 does, and stays."""
    rng = np.random.default_rng(0)
    x = {"N": np.exp(rng.uniform(18, 23, 60)), "D": np.exp(rng.uniform(21, 26, 60))}
    noise = 0.01 * rng.standard_normal(60)
    for height, expected in ((1e-60, -LOG_RANGE), (50, np.log(50))):
        y = CHINCHILLA.predict(x, np.array([1.5, height, 2000, 0.3, 0.37])) + noise
        problem, _ = cleaned(CHINCHILLA, x, y, None, "lsq", {})
        u = problem.coordinates(np.array([[1.5, height, 2000, 0.3, 0.37]]))
        rested = at_rest(problem, Minimum(u, problem.evaluate(u).value, np.array([True])))
        assert rested.u[0, 1] == pytest.approx(expected)


def test_no_end_is_reported_where_the_profile_stays_low_up_to_an_infinite_bound():
    """y = b x/(x + k) with all x << k only knows b/k; both are unlimited above."""

    def function(x, b, k):
        return b * x / (x + k)

    def gradient(x, b, k):
        return x / (x + k) + 0 * b, -b * x / (x + k) ** 2

    def starts(x, y):
        return np.array([[1.0, 1.0], [10.0, 10.0], [100.0, 300.0]])

    bounds = {"b": (0, inf), "k": (0, inf)}
    made = Law("saturating", "b x/(x + k)", ("x",), bounds, function, gradient, starts, linear=("b",), log=("b", "k"))
    x = np.linspace(0.1, 1, 12)
    y = 2 * x * (1 + 0.05 * np.random.default_rng(0).standard_normal(12))
    found = fit(made, {"x": x}, y)
    assert found.params["k"].hi is None and found.params["b"].hi is None
    assert found.params["k"].lo > 0.1
    assert found.status == Status.NOT_IDENTIFIABLE or found.status == Status.AT_BOUND
