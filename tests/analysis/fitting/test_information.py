"""AICc from densities written out independently."""

import numpy as np
import pytest
from scipy import stats

from analysis.fitting.estimate import fit
from analysis.fitting.information import aicc
from analysis.laws import POWER, logistic


def corrected(likelihood: float, k: int, n: int) -> float:
    return 2 * k - 2 * likelihood + 2 * k * (k + 1) / (n - k - 1)


def data(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    x = np.geomspace(1, 100, n)
    return x, 3 * x**-0.3 * np.exp(0.1 * np.random.default_rng(0).standard_normal(n))


@pytest.mark.parametrize("loss", ["lsq", "lsq_log"])
def test_aicc_of_least_squares_is_that_of_normal_or_log_normal_densities_of_y(loss):
    x, y = data()
    found = fit(POWER, {"x": x}, y, loss=loss)
    fitted = found.predict({"x": x})
    if loss == "lsq":
        density = stats.norm(fitted, np.sqrt(np.mean((y - fitted) ** 2)))
    else:
        density = stats.lognorm(np.sqrt(np.mean(np.log(y / fitted) ** 2)), scale=fitted)
    assert aicc(found) == pytest.approx(corrected(density.logpdf(y).sum(), 3, 12), rel=1e-9)


def test_aicc_of_counts_is_that_of_the_beta_binomial():
    rng, n = np.random.default_rng(0), np.full(20, 50.0)
    p = np.geomspace(10, 1000, 20)
    y = rng.binomial(50, rng.beta(3, 3, 20) * 0.5 + 0.2).astype(float)
    found = fit(logistic(("p",)), {"p": p}, y, trials=n)
    f, c = found.predict({"p": p}), found.overdispersion
    likelihood = stats.betabinom.logpmf(y, 50, f * (1 - c) / c, (1 - f) * (1 - c) / c).sum()
    assert aicc(found) == pytest.approx(corrected(likelihood, 3, 20), rel=1e-9)


def test_units_of_y_move_both_alike():
    """In other units ln L changes by n ln(unit): differences between laws and losses do not."""
    x, y = data()
    for loss in ("lsq", "lsq_log"):
        one, other = (aicc(fit(POWER, {"x": x}, s * y, loss=loss)) for s in (1.0, 1e3))
        assert other - one == pytest.approx(2 * 12 * np.log(1e3), rel=1e-6)


def test_where_there_is_no_likelihood_there_is_no_aicc():
    x, y = data()
    assert aicc(fit(POWER, {"x": x}, y, loss="huber_log:0.01")) is None
    assert aicc(fit(POWER, {"x": x}, 3 * x**-0.3)) is None  # exact
    assert aicc(fit(POWER, {"x": x[:4]}, y[:4])) is None  # n = k + 1
    assert aicc(fit(POWER, {"x": x[:1]}, y[:1])) is None
