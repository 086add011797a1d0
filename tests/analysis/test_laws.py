import subprocess
import sys

import numpy as np
import pytest

from analysis.laws import POWER, POWER_OFFSET, exposure, law, log_linear, logistic

X = {"x": np.array([1.0, 3.0, 10.0])}
PAIR = {"p": np.array([10.0, 300.0, 5e4]), "r": np.array([1.0, 8.0, 64.0])}
CASES = [
    (POWER, X, [2.0, -0.5]),
    (POWER_OFFSET, X, [0.3, 2.0, -0.5]),
    (log_linear(("p", "r"), "p*r"), PAIR, [0.1, 0.2, -0.3, 0.04]),
    (logistic(("p", "r")), PAIR, [-3.0, 0.2, 0.5]),
    (exposure(("r", "p")), PAIR, [40.0, 1.4, 0.3]),
]


@pytest.mark.parametrize(("law_", "x", "theta"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_gradients_are_the_slopes_of_the_function(law_, x, theta):
    theta = np.array(theta)
    found = law_.raw_gradient(x, theta)
    for k in range(theta.size):
        step = np.eye(theta.size)[k] * 1e-6
        slope = (law_.raw(x, theta + step) - law_.raw(x, theta - step)) / 2e-6
        np.testing.assert_allclose(found[:, k], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("law_", "x", "theta"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_many_parameter_vectors_give_what_each_gives(law_, x, theta):
    many = np.array(theta) * np.linspace(0.9, 1.1, 4)[:, None]
    np.testing.assert_allclose(law_.predict(x, many), [law_.predict(x, one) for one in many])


def test_exposure_reaches_the_known_shares():
    """K53: f(x0) = 1 - 1/e; for k = 2, x/x0 at f .01 .1 .5 .9."""
    times = exposure(("t",))
    x = 70.0 * np.array([1, 0.10025, 0.32459, 0.83255, 1.51743])
    np.testing.assert_allclose(times.predict({"t": x}, [70.0, 2.0]), [0.632121, 0.01, 0.1, 0.5, 0.9], atol=1e-5)


def test_exposure_counts_the_first_variable_once_and_others_by_their_power():
    law_ = exposure(("t", "p"))
    moved = law_.predict({"t": np.array([10.0]), "p": np.array([4.0])}, [8.0, 1.5, 0.5])
    assert moved[0] == pytest.approx(1 - np.exp(-((10 * 2 / 8) ** 1.5)))


def test_extreme_exposures_stay_finite():
    law_ = exposure(("t",))
    raw = law_.raw({"t": np.array([1e-300, 1e300])}, np.array([1.0, 3.0]))
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(law_.predict({"t": np.array([1e-300, 1e300])}, [1.0, 3.0]), [0, 1], atol=1e-300)


def test_interactions_are_products_of_logarithms():
    law_ = law("logistic:p*r", ["p", "r"])
    assert law_.parameters == ("b_0", "b_p", "b_r", "b_p_r")
    expected = 1 + 2 * np.log(300) + 3 * np.log(8) + 4 * np.log(300) * np.log(8)
    assert law_.raw(PAIR, [1.0, 2.0, 3.0, 4.0])[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spec", "names", "says"),
    [
        ("pwer", ["x"], "did you mean power"),
        ("power", ["params"], "--x x=COLUMN"),
        ("power:2", ["x"], "no option"),
        ("logistic:p*q", ["p", "r"], "two of the variables p, r"),
        ("logistic", [], "--x NAME=COLUMN"),
        ("exposure:p*r", ["p", "r"], "no option"),
    ],
)
def test_a_law_that_is_not_there_says_what_is(spec, names, says):
    with pytest.raises(ValueError, match=says.replace("*", r"\*")):
        law(spec, names)


def test_importing_the_laws_brings_neither_torch_nor_pandas_nor_matplotlib():
    code = "import sys, analysis, analysis.laws; sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
