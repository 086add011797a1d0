"""Every law of the register: exact gradients, metadata that agree with each other, and the answers known by hand."""

import csv
import json
import subprocess
import sys
from math import inf

import numpy as np
import pytest

from analysis.fit import main
from analysis.formulas.law import Law
from analysis.laws import CHINCHILLA, LAWS, POWER, POWER_OFFSET, REPEATED_DATA, exposure, law, log_linear, logistic

X = {"x": np.array([1.0, 3.0, 10.0, 1e3, 1e9])}
PAIR = {"p": np.array([10.0, 300.0, 5e4]), "r": np.array([1.0, 8.0, 64.0])}
SIZES = {
    "N": np.array([1e6, 3e7, 1e9, 1e10, 1e4]),
    "D": np.array([1e7, 2e9, 4e11, 3e11, 1e6]),
    "U": np.array([1e7, 1e8, 1e9, 1e12, 1e6]),  # no repetition, some, many, D < U, one of each
}
BROKEN = [0.1, 2.0, 0.4, 50.0, 0.3, -0.9]
CASES = [  # law, variables, parameters from ordinary to extreme
    (POWER, X, [[2.0, -0.5], [1e-200, 3.9], [1e200, -3.9], [3.0, 0.0]]),
    (POWER_OFFSET, X, [[0.3, 2.0, -0.5], [0.0, 1e100, -3.9], [5.0, 1e-100, -1e-9]]),
    (law("broken", ["x"]), X, [BROKEN, [-3.0, 1e-50, -4.0, 1e-3, 1e-3, 7.0], [0.0, 1e50, 3.0, 1e12, 20.0, -5.0]]),
    (law("broken:2", ["x"]), X, [[*BROKEN, 2e3, 0.5, 1.3], [*BROKEN, 49.0, 1e-2, -0.7]]),
    (log_linear(("p", "r"), "p*r"), PAIR, [[0.1, 0.2, -0.3, 0.04], [1e8, -1e8, 0.0, 1e-8]]),
    (logistic(("p", "r")), PAIR, [[-3.0, 0.2, 0.5], [-500.0, 30.0, 80.0]]),
    (exposure(("r", "p")), PAIR, [[40.0, 1.4, 0.3], [1e60, 1.0, -0.2], [1e-60, 1.0, 4.0], [40.0, 1e-6, 0.1]]),
    (CHINCHILLA, SIZES, [[1.7, 400.0, 2000.0, 0.34, 0.37], [0.0, 1e-100, 1e100, 3.9, 1e-6]]),
    (
        REPEATED_DATA,
        SIZES,
        [
            [1.7, 400.0, 2000.0, 0.34, 0.37, 15.4, 5.3],
            [1.7, 400.0, 2000.0, 0.34, 0.37, 1e-9, 1e-9],  # repetitions are worth nothing
            [1.7, 400.0, 2000.0, 0.34, 0.37, 1e9, 1e9],  # repetitions are worth as much as new data
            [0.0, 1e-3, 1e6, 1.5, 0.9, 3.0, 2.0],  # a compute-optimal size far below one parameter
            [0.0, 1e6, 1e-3, 0.2, 0.1, 3.0, 2.0],  # and one beyond every N
        ],
    ),
]


def differences(law_: Law, x: dict[str, np.ndarray], theta: np.ndarray, step: float) -> np.ndarray:
    """Fourth-order central differences [n k], steps relative to each parameter."""
    found = []
    for k in range(theta.size):
        h = np.eye(theta.size)[k] * step * (abs(theta[k]) or 1.0)
        at = [law_.raw(x, theta + j * h) for j in (-2, -1, 1, 2)]
        found.append((at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h[k]))
    return np.stack(found, axis=-1)


def check_gradient(law_: Law, x: dict[str, np.ndarray], theta: np.ndarray) -> None:
    found = law_.raw_gradient(x, theta)
    assert np.all(np.isfinite(found))
    slopes = differences(law_, x, theta, 1e-4)
    # What rounding of the values leaves of a difference, for each row and parameter.
    rounding = 1e-15 * (1 + np.abs(law_.raw(x, theta)))[:, None] / (1e-4 * np.where(theta == 0, 1, np.abs(theta)))
    np.testing.assert_array_less(np.abs(found - slopes), 1e-6 * np.abs(slopes) + 20 * rounding + 1e-300)


@pytest.mark.parametrize(("law_", "x", "thetas"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_gradients_are_the_slopes_of_the_function(law_, x, thetas):
    for theta in thetas:
        check_gradient(law_, x, np.array(theta))


@pytest.mark.parametrize(("law_", "x", "thetas"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_gradients_are_right_at_random_points(law_, x, thetas):
    rng = np.random.default_rng(0)
    for _ in range(20):
        theta = np.array(thetas[0]) * np.exp(0.7 * rng.standard_normal(len(thetas[0])))
        check_gradient(law_, x, theta)


@pytest.mark.parametrize(("law_", "x", "thetas"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_many_parameter_vectors_give_what_each_gives(law_, x, thetas):
    many = np.array(thetas[0]) * np.linspace(0.9, 1.1, 4)[:, None]
    np.testing.assert_allclose(law_.predict(x, many), [law_.predict(x, one) for one in many])
    np.testing.assert_allclose(law_.raw_gradient(x, many), [law_.raw_gradient(x, one) for one in many])


@pytest.mark.parametrize(("law_", "x", "thetas"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_metadata_agree_with_each_other(law_, x, thetas):
    """Parameters, units, bounds, linear ones, domain and starts speak of the same things."""
    names = law_.parameters
    assert len(names) == len(thetas[0]) and set(law_.units) == set(names)
    assert set(law_.linear) | set(law_.log) <= set(names)
    assert all(law_.bounds[name][0] >= 0 for name in law_.log)
    assert law_.domain == (0.0, inf)
    y = law_.predict(x, thetas[0])
    starts = law_.starts(x, y)
    lo, hi = np.array([law_.bounds[name] for name in names], float).T
    assert starts.ndim == 2 and np.all(np.isfinite(starts)) and np.all((starts >= lo) & (starts <= hi))
    for name in law_.linear:
        k = names.index(name)
        theta = np.array(thetas[0])
        at = [law_.raw(x, theta + step * np.eye(len(theta))[k]) for step in (0.0, 1.0, 2.0)]
        np.testing.assert_allclose(at[2] - at[1], at[1] - at[0], rtol=1e-6, atol=1e-12)


def test_every_law_of_the_register_is_tested_here():
    tested = {law_.name.partition(":")[0] for law_, *_ in CASES}
    assert tested == set(LAWS)


def exponential(x, a, k):
    """y = a exp(-k x)."""
    return a * np.exp(-k * x)


EXPONENTIAL = Law(
    name="exponential",
    formula="a exp(-k x)",
    variables=("x",),
    bounds={"a": (0, inf), "k": (0, inf)},
    function=exponential,
    gradient=lambda x, a, k: (exponential(x, 1, k), -x * exponential(x, a, k)),
    starts=lambda x, y: np.array([[y.max(), k / x["x"].mean()] for k in (0.1, 1, 10)]),
    linear=("a",),
)


def test_a_law_is_added_in_one_place(monkeypatch, tmp_path, capsys):
    """One entry in LAWS: the command knows it, fits it, and predicts beyond the data."""
    monkeypatch.setitem(LAWS, "exponential", EXPONENTIAL)
    x = np.linspace(0.5, 4, 12)
    y = exponential(x, 3.0, 0.8) * np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
    for name, (columns) in {"data": (x, y), "new": (np.array([1.0, 9.0]), np.zeros(2))}.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("dose", "response"), *zip(*columns, strict=True)])
    out = tmp_path / "fit.json"
    assert main([str(tmp_path / "data.csv"), "--law", "exponential", "--x", "x=dose", "--y", "response",
                 "--loss", "lsq_log", "--predict", str(tmp_path / "new.csv"), "--out", str(out)]) == 0  # fmt: skip
    found = json.loads(out.read_text())
    slope, height = np.polyfit(x, np.log(y), 1)
    assert found["params"]["k"]["value"] == pytest.approx(-slope, rel=1e-6)
    assert found["params"]["a"]["value"] == pytest.approx(np.exp(height), rel=1e-6)
    assert found["status"] == "ok" and found["formula"] == "a exp(-k x)"
    near, far = found["predictions"]
    assert near["value"] == pytest.approx(np.exp(height + slope), rel=1e-6) and near["lo"] < near["value"] < near["hi"]
    assert far["extrapolated"] and not near["extrapolated"]
    assert main([str(tmp_path / "data.csv"), "--law", "exponentail", "--x", "x=dose", "--y", "response"]) == 2
    assert "did you mean exponential" in capsys.readouterr().err


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
        ("repeated_data", ["N", "D"], "--x N=COLUMN --x D=COLUMN --x U=COLUMN"),
        ("logistic:p*r,r*p", ["p", "r"], "name a pair twice"),
        ("power:2", ["x"], "no option"),
        ("logistic:p*q", ["p", "r"], "two of the variables p, r"),
        ("logistic", [], "--x NAME=COLUMN"),
        ("exposure:p*r", ["p", "r"], "no option"),
    ],
)
def test_a_law_that_is_not_there_says_what_is(spec, names, says):
    with pytest.raises(ValueError, match=says.replace("*", r"\*")):
        law(spec, names)


def test_the_order_in_which_variables_are_named_does_not_matter():
    assert law("chinchilla", ["D", "N"]) is CHINCHILLA


def test_tiny_exposures_are_as_exact_as_large_ones():
    """ln(e^h - 1) = ln h + h/2 + ... for a small hazard h: the logit goes on as a straight line far below e^-700."""
    raw = exposure(("t",)).raw({"t": np.array([1e-250, 1e-3, 30.0])}, [1.0, 3.0])
    np.testing.assert_allclose(raw, [-750 * np.log(10), np.log(np.expm1(1e-9)), 27e3], rtol=1e-12)


def test_importing_the_laws_brings_neither_torch_nor_pandas_nor_matplotlib():
    code = "import sys, analysis, analysis.laws; sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
