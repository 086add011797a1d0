import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.fitting.separation import firth_logistic, open_sides

Z = np.stack([np.ones(6), np.arange(6.0)], axis=1)


def test_a_clean_step_opens_both_parameters():
    falls, rises = open_sides(Z, np.array([0, 0, 0, 4, 4, 4.0]), np.full(6, 4.0))
    assert rises.tolist() == [False, True]
    assert falls.tolist() == [True, False]


def test_mixed_rows_close_every_direction():
    falls, rises = open_sides(Z, np.array([0, 1, 2, 2, 3, 4.0]), np.full(6, 4.0))
    assert not falls.any() and not rises.any()


def test_one_mixed_value_leaves_the_slope_open():
    """Failures below 2, successes above, both at 2: the slope may turn round that point for ever (quasi-separation)."""
    falls, rises = open_sides(Z, np.array([0, 0, 2, 4, 4, 4.0]), np.full(6, 4.0))
    assert rises[1] and not falls[1]


def test_no_success_opens_everything():
    falls, rises = open_sides(Z, np.zeros(6), np.full(6, 4.0))
    assert falls.all() and rises[1]


def test_firth_is_the_maximum_of_the_penalised_likelihood():
    """Against a direct search of log-likelihood + ln |information| / 2 (Firth 1993)."""
    hits, trials = np.array([0, 0, 0, 4, 4, 4.0]), np.full(6, 4.0)

    def negative(b: np.ndarray) -> float:
        f = 1 / (1 + np.exp(-Z @ b))
        information = (Z * (trials * f * (1 - f))[:, None]).T @ Z
        likelihood = np.sum(hits * np.log(f) + (trials - hits) * np.log1p(-f))
        return -likelihood - np.linalg.slogdet(information)[1] / 2

    best = minimize(negative, [-2.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert firth_logistic(Z, hits, trials).values == pytest.approx(best.x, rel=1e-4)


def test_firth_of_one_proportion_adds_half_a_success_and_half_a_failure():
    """Closed form (Jeffreys): logit((x + 1/2)/(n + 1))."""
    found = firth_logistic(np.ones((1, 1)), np.array([0.0]), np.array([20.0]))
    assert found.values[0] == pytest.approx(np.log(0.5 / 20.5), rel=1e-6)
