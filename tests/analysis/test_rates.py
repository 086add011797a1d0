import numpy as np
import pytest
from scipy import stats

from analysis.rates import betabinom_logpmf, clopper_pearson, effective_trials, newcombe, wilson

HITS, TRIALS = np.array([0, 1, 10, 5]), np.array([1000, 1000, 1000, 50])


def test_wilson_limits_are_the_known_ones():
    """K36: 0, 1, 10 of 1000; 5 of 50."""
    found = wilson(HITS, TRIALS)
    np.testing.assert_allclose(found.lo, [0, 0.000177, 0.005441, 0.043476], atol=1e-6)
    np.testing.assert_allclose(found.hi, [0.003827, 0.005643, 0.018309, 0.213602], atol=1e-6)


def test_clopper_pearson_limits_are_the_known_ones():
    """K36b."""
    found = clopper_pearson(HITS, TRIALS)
    np.testing.assert_allclose(found.lo, [0, 0.000025, 0.004806, 0.033275], atol=1e-6)
    np.testing.assert_allclose(found.hi, [0.003682, 0.005559, 0.018313, 0.218135], atol=1e-6)


def test_clopper_pearson_tails_hold_what_they_promise():
    """At its ends the binomial law leaves 2.5 % beyond the count."""
    found = clopper_pearson(7, 40)
    assert stats.binom.sf(6, 40, found.lo) == pytest.approx(0.025, abs=1e-9)
    assert stats.binom.cdf(7, 40, found.hi) == pytest.approx(0.025, abs=1e-9)


def test_newcombe_differences_are_the_known_ones():
    """K36c."""
    found = newcombe([10, 0], 1000, [2, 0], 1000)
    np.testing.assert_allclose(found.value, [0.008, 0], atol=1e-12)
    np.testing.assert_allclose(found.lo, [0.001037, -0.003827], atol=1e-6)
    np.testing.assert_allclose(found.hi, [0.016435, 0.003827], atol=1e-6)


def test_correlated_tests_of_the_same_samples_give_a_shorter_difference():
    """measures.md 2.2: arms sqrt(a^2 - 2 phi a b + b^2) of the two Wilson intervals, at both ends."""
    one, two, paired = wilson(50, 200), wilson(30, 200), newcombe(50, 200, 30, 200, phi=0.5)
    a, b = one.value - one.lo, two.hi - two.value
    assert paired.value - paired.lo == pytest.approx(np.sqrt(a * a - a * b + b * b))
    a, b = one.hi - one.value, two.value - two.lo
    assert paired.hi - paired.value == pytest.approx(np.sqrt(a * a - a * b + b * b))
    apart = newcombe(50, 200, 30, 200)
    assert paired.hi - paired.lo < apart.hi - apart.lo and apart.value == paired.value


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_no_interval_is_zero_wide(interval):
    found = interval([0, 30], [30, 30])
    assert found.lo[0] == 0 < found.hi[0]
    assert found.lo[1] < 1 == found.hi[1]


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_nothing_tried_or_missing_is_nan_never_zero(interval):
    found = interval([0, np.nan, 3], [0, 10, np.nan])
    assert np.isnan(np.stack(found)).all()


def test_more_hits_than_trials_raise_and_name_the_row():
    with pytest.raises(ValueError, match="row 1 has 5 hits of 4 trials"):
        wilson([1, 5], [4, 4])


def test_beta_binomial_is_the_known_one():
    """K37: x 3, n 10, f .2; c .1 and the limit c -> 0."""
    assert betabinom_logpmf(3, 10, 0.2, 0.1) == pytest.approx(-1.933570, abs=1e-6)
    assert betabinom_logpmf(3, 10, 0.2, 0.0) == pytest.approx(-1.602827, abs=1e-6)
    assert betabinom_logpmf(3, 10, 0.2, 1e-6) == pytest.approx(-1.602827, abs=1e-4)


def test_beta_binomial_has_the_stated_variance():
    """K37: var = n f (1 - f)(1 + (n - 1) c) = 3.04, by summing the law; it sums to 1."""
    x = np.arange(11)
    p = np.exp(betabinom_logpmf(x, 10, 0.2, 0.1))
    assert p.sum() == pytest.approx(1)
    assert np.sum(p * (x - 2) ** 2) == pytest.approx(3.04)
    assert effective_trials(1000, 0.05) == pytest.approx(19.6, abs=0.05)
