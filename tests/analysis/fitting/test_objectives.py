import numpy as np
import pytest
from scipy import stats

from analysis.fitting.objectives import objective
from analysis.fitting.problem import Problem
from analysis.laws import law
from analysis.rates import betabinom_logpmf

M = np.array([-6.0, -1.0, 0.3, 2.0])
Y, TRIALS = np.array([0.0, 3.0, 10.0, 17.0]), np.full(4, 20.0)


@pytest.mark.parametrize("c", [0.0, 1e-7, 1e-4, 0.05, 0.6])
def test_the_binomial_objective_is_the_beta_binomial_likelihood(c):
    terms = objective("binomial").terms(M, Y, TRIALS, np.array([c]))
    expected = -betabinom_logpmf(Y, TRIALS, 1 / (1 + np.exp(-M)), c)
    np.testing.assert_allclose(terms.value, expected, rtol=1e-5, atol=1e-9)
    if c >= 1e-3:
        f = 1 / (1 + np.exp(-M))
        independent = -stats.betabinom.logpmf(Y, TRIALS, f * (1 - c) / c, (1 - f) * (1 - c) / c)
        np.testing.assert_allclose(terms.value, independent, rtol=1e-9)


@pytest.mark.parametrize("c", [1e-3, 0.05, 0.6])
def test_binomial_derivatives_are_those_of_differences(c):
    terms, h = objective("binomial").terms, 1e-5
    here = terms(M, Y, TRIALS, np.array([c]))
    up, down = (terms(M + s * h, Y, TRIALS, np.array([c])) for s in (1, -1))
    np.testing.assert_allclose(here.first, (up.value - down.value) / (2 * h), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(here.second, (up.first - down.first) / (2 * h), rtol=1e-5, atol=1e-6)
    hc = 1e-3 * c
    more, less = (terms(M, Y, TRIALS, np.array([c + s * hc])) for s in (1, -1))
    np.testing.assert_allclose(here.nuisance[0], (more.value - less.value) / (2 * hc), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(here.nuisance[1], (more.first - less.first) / (2 * hc), rtol=1e-3, atol=1e-4)
    slope = (more.nuisance[0] - less.nuisance[0]) / (2 * hc)
    np.testing.assert_allclose(here.nuisance[2], slope, rtol=1e-3, atol=1e-3)


def test_the_limit_of_no_overdispersion_joins_the_law_above_it():
    """The series at c = 0 (product form) against ln Gamma differences at c = 1e-4, extrapolated."""
    terms = objective("binomial").terms
    at0, at1 = (terms(M, Y, TRIALS, np.array([c])) for c in (0.0, 1e-4))
    np.testing.assert_allclose(at1.value, at0.value + 1e-4 * at0.nuisance[0], atol=1e-4)
    np.testing.assert_allclose(at1.first, at0.first + 1e-4 * at0.nuisance[1], atol=1e-3)
    np.testing.assert_allclose(at1.nuisance[0], at0.nuisance[0] + 1e-4 * at0.nuisance[2], rtol=0.05, atol=0.5)


def test_huber_is_a_parabola_inside_and_a_line_outside():
    terms = objective("huber_log:0.1").terms(np.array([0.05, 0.1, 0.4, -0.4]), np.ones(4), None, None)
    np.testing.assert_allclose(terms.value, [0.00125, 0.005, 0.1 * (0.4 - 0.05), 0.1 * (0.4 - 0.05)])
    np.testing.assert_allclose(terms.first, [0.05, 0.1, 0.1, -0.1])


@pytest.mark.parametrize("spec", ["huber_log", "huber_log:0", "huber_log:x", "lsqq", "binomial:2"])
def test_an_unknown_loss_says_what_there_is(spec):
    with pytest.raises(ValueError, match="loss"):
        objective(spec)


@pytest.mark.parametrize("c", [0.0, 0.05])
@pytest.mark.parametrize("spec", ["logistic", "exposure"])
def test_rows_that_repeat_count_as_often_as_they_stand_there(spec, c):
    """Value and derivatives are the weighted sums over problems of one row each, which share nothing."""
    rng = np.random.default_rng(0)
    x = {"t": rng.choice([10.0, 50.0], 30), "copies": rng.choice([1.0, 4.0], 30)}
    y, trials, weights = rng.integers(0, 4, 30).astype(float), rng.choice([20.0, 40.0], 30), rng.uniform(0, 2, (1, 30))
    chosen = law(spec, ["t", "copies"])
    whole = Problem(chosen, objective("binomial"), x, y, trials)
    u = np.append(np.full(len(whole.names), 0.3), c)[None]
    found = whole.evaluate(u, weights)
    rows = [
        Problem(chosen, objective("binomial"), {k: v[[i]] for k, v in x.items()}, y[[i]], trials[[i]]).evaluate(
            u, weights[:, [i]]
        )
        for i in range(30)
    ]
    for name in ("value", "gradient", "hessian"):
        np.testing.assert_allclose(getattr(found, name), sum(getattr(one, name) for one in rows), rtol=1e-9)
