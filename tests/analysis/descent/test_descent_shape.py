import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.descent.noise import Given, Replicates
from analysis.descent.shape import (
    peak,
    peak_interval,
    peak_x,
    prominence_upper,
    recovery,
    recovery_interval,
    second_descent,
    valley,
)

PILOT_X = np.array([885, 3300, 7300, 12700, 28e3, 50e3, 112e3, 198e3])
PILOT_Y = np.array([0.706, 0.913, 1.472, 1.509, 1.227, 1.129, 0.854, 0.802])


def given_se(y, se=0.01, x=None) -> Given:
    y = np.asarray(y, float)
    return Given(2.0 ** np.arange(len(y)) if x is None else x, y, np.full(len(y), se))


@pytest.mark.parametrize(("y", "known"), [([5, 3, 4, 2, 3, 1], 1), ([3, 2, 1, 2, 3], 0), ([3, 2, 1], 0), ([1, 2], 0)])
def test_prominence_is_the_known_one(y, known):
    """K45."""
    found = peak(np.array(y, float))
    assert (found.prominence if found else 0) == known


def test_pilot_of_the_lean_unet():
    """K45: prominence .707 at 12.7 k, recovery .88, peak_x 10.7 k (least squares polynomial as a second opinion)."""
    found = peak(PILOT_Y)
    assert PILOT_X[found.top] == 12_700 and found.prominence == pytest.approx(0.707)
    assert recovery(PILOT_Y, found) == pytest.approx(0.88, abs=0.005)
    a, b, _ = np.polyfit(np.log(PILOT_X[2:5]), PILOT_Y[2:5], 2)
    assert peak_x(PILOT_X, PILOT_Y, found.top) == pytest.approx(np.exp(-b / 2 / a), rel=1e-9)
    assert peak_x(PILOT_X, PILOT_Y, found.top) == pytest.approx(10_700, rel=0.005)


@given(arrays(float, st.integers(3, 12), elements=st.integers(-5, 5).map(float)))
def test_prominence_by_brute_force(y):
    brute = max(min(y[j] - min(y[:j]), y[j] - min(y[j + 1 :])) for j in range(1, len(y) - 1))
    found = peak(y)
    assert (found.prominence if found else 0) == max(brute, 0)


def test_a_window_hides_higher_peaks_elsewhere():
    y = np.array([5, 0, 9, 0, 3, 0.0])
    assert peak(y).top == 2
    assert peak(y, np.array([0, 0, 0, 1, 1, 1], bool)).top == 4


@given(arrays(float, st.integers(1, 8), elements=st.integers(-4, 4).map(float)))
def test_valley_is_the_nearest_one(y):
    """Bounds from outside: it is a valley, reaches 0 error on valleys, and no constant is nearer."""
    fitted = valley(y, np.ones(len(y)))
    low = int(np.argmin(fitted))
    assert np.all(np.diff(fitted[: low + 1]) <= 1e-12) and np.all(np.diff(fitted[low:]) >= -1e-12)
    assert np.sum((y - fitted) ** 2) <= np.sum((y - y.mean()) ** 2) + 1e-9
    if peak(y) is None:
        np.testing.assert_allclose(fitted, y, atol=1e-12)


def test_second_descent_says_true_false_or_nothing():
    for end, known in ((-1, True), (1, False), (0.001, None)):
        noise = given_se([3, 0, 4, 2, end])
        assert second_descent(noise, peak(noise.mean), 0.95) is known


def test_recovery_interval_holds_the_delta_method():
    """Fieller's interval tends to recovery +- 1.96 se by the delta method as the noise goes to 0."""
    noise = given_se([2, 1, 3, 0], 1e-4)
    lo, hi = recovery_interval(noise, peak(noise.mean), 0.95)
    # r = a/b = 3/2: var = (va + r^2 vb - 2 r cov)/b^2 with va = vb = 2 s^2, cov = s^2.
    se = 1e-4 * np.sqrt(2 + 2.25 * 2 - 2 * 1.5) / 2
    assert (lo, hi) == (pytest.approx(1.5 - 1.96 * se, abs=1e-7), pytest.approx(1.5 + 1.96 * se, abs=1e-7))
    assert recovery_interval(given_se([2, 1, 3, 0], 5), peak(noise.mean), 0.95) is None


def test_upper_limit_of_a_clean_curve_is_its_prominence():
    assert prominence_upper(given_se([5, 3, 4, 2, 3, 1], 1e-9), 0.95) == pytest.approx(1, abs=1e-6)
    assert prominence_upper(given_se([5, 4, 3, 2, 1], 0.01), 0.95) == 0


def test_limits_cover_the_truth():
    """Place and second descent of a known curve over 300 studies of 3 replicates; upper limit of its prominence."""
    rng, truth, hits = np.random.default_rng(1), np.array([3, 0.5, 0, 2.5, 3, 1, -0.5, -1.0]), np.zeros(3)
    x = 2.0 ** np.arange(8)
    for _ in range(300):
        noise = Replicates(x, truth + 0.7 * rng.standard_normal((3, 8)))
        found = peak(noise.mean)
        lo, hi = peak_interval(noise, found, 0.95)
        hits += lo <= x[4] <= hi, prominence_upper(noise, 0.95) >= 3, second_descent(noise, found, 0.95) is not False
    assert np.all(hits / 300 >= 0.95)


def test_a_parabola_in_x_where_a_logarithm_is_missing():
    x, y = np.array([0, 1, 2.0]), np.array([0, 3, 2.0])
    assert peak_x(x, y, 1) == pytest.approx(1.25)
    assert peak_x(np.array([1.0, 2, 4]), np.array([1.0, 1, 1]), 1) == 2


def test_peak_may_lie_between_the_neighbours_of_every_possible_top():
    """By hand: rivals within the noise of the top count, those far below do not; then one step to both sides."""
    x = np.arange(1.0, 9)
    for y, known in (([3, 0, 1, 4, 1, 0.5, 0, 0], (3, 5)), ([3, 0, 1, 4, 3.99, 1, 0, 0], (3, 6))):
        noise = Given(x, np.array(y, float), np.full(8, 0.05))
        assert peak_interval(noise, peak(noise.mean), 0.95) == known


def test_many_later_points_need_a_larger_margin():
    """Among 2 later points the margin is Bonferroni's z(.9875) = 2.24 SE of the difference; among one it is 1.96."""
    for below, known in ((2.1, None), (2.4, True)):
        noise = given_se([0, 5, 2, -below * np.sqrt(2)], 1)
        assert second_descent(noise, peak(noise.mean), 0.95) is known
    noise = given_se([0, 5, -2.1 * np.sqrt(2)], 1)
    assert second_descent(noise, peak(noise.mean), 0.95) is True
