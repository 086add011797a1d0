import numpy as np
import pytest
from scipy import stats

from analysis.per_image.rank_correlation import (
    Correlation,
    attenuated,
    combined,
    disattenuated,
    pearson,
    reliability,
    spearman,
)


def with_correlation(r: float, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two columns whose sample Pearson correlation is r exactly: y = r x + sqrt(1 - r^2) (residual of noise on x)."""
    x, e = rng.normal(size=(2, n))
    x = (x - x.mean()) / x.std()
    e = e - e.mean()
    e = e - x * (x @ e) / n
    return x, r * x + np.sqrt(1 - r**2) * e / e.std()


def test_pearson_has_the_known_interval():
    """K57: r .5, n 100: (.337, .634)."""
    found = pearson(*with_correlation(0.5, 100, np.random.default_rng(0)))
    np.testing.assert_allclose(found, (0.5, 0.337, 0.634, 100), atol=1e-3)


def test_spearman_has_the_known_interval():
    """K57: rho .5, n 100: (.326, .641). Swaps until rho = 1 - sum of squared differences/166,650."""
    rng, x = np.random.default_rng(1), np.arange(100.0)
    y = x.copy()
    while ((x - y) ** 2).sum() < 83_324:
        i, j = rng.integers(100, size=2)
        z = y.copy()
        z[[i, j]] = y[[j, i]]
        if ((x - y) ** 2).sum() < ((x - z) ** 2).sum() <= 83_326:
            y = z
    found = spearman(x, y)
    np.testing.assert_allclose(found, (0.5, 0.326, 0.641, 100), atol=1e-3)


def test_noise_attenuates_as_known():
    """K57: rho .5 at reliability .6: .387; and back."""
    assert attenuated(0.5, 0.6) == pytest.approx(0.387, abs=1e-3)
    back = disattenuated(Correlation(attenuated(0.5, 0.6), 0.2, 0.9, 50), 0.6)
    assert back.value == pytest.approx(0.5) and back.lo == pytest.approx(0.2 / 0.6**0.5)
    assert back.hi == 1  # a correlation is never above 1


def test_attenuation_is_that_of_a_simulation():
    """y measured twice with noise: the halves' correlation c gives the reliability of their mean, 2c/(1 + c)."""
    rng, n = np.random.default_rng(2), 200_000
    x = rng.normal(size=n)
    y = 0.5 * x + np.sqrt(0.75) * rng.normal(size=n)
    a, b = y + 1.2 * rng.normal(size=(2, n))
    trust = reliability(pearson(a, b).value)
    assert trust == pytest.approx(1 / (1 + 1.44 / 2), abs=0.01)
    assert pearson(x, (a + b) / 2).value == pytest.approx(attenuated(0.5, trust), abs=0.01)
    assert disattenuated(pearson(x, (a + b) / 2), trust).value == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("ties", [2, 7, 1000])
def test_values_are_scipys(ties):
    rng = np.random.default_rng(ties)
    x, y = rng.integers(ties, size=(2, 60)).astype(float)
    y += x
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert pearson(x, y).value == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    interval = stats.pearsonr(x, y).confidence_interval(0.9)
    np.testing.assert_allclose(pearson(x, y, 0.9)[1:3], interval, atol=1e-12)


def test_the_interval_of_spearman_covers_the_truth():
    """Normal pairs with r .6: rho = 6/pi asin(r/2); 2,000 studies of 40; 3 SE are 1.5 %."""
    rng, truth, hits = np.random.default_rng(3), 6 / np.pi * np.arcsin(0.3), 0
    x = rng.normal(size=(2000, 40))
    y = 0.6 * x + 0.8 * rng.normal(size=x.shape)
    for a, b in zip(x, y, strict=True):
        found = spearman(a, b)
        hits += found.lo <= truth <= found.hi
    assert 0.935 <= hits / 2000 <= 0.965


def test_unrelated_columns_give_zero():
    """The null: 0 +- 1/sqrt(n - 1)."""
    rng = np.random.default_rng(4)
    found = np.array([spearman(*rng.normal(size=(2, 50))).value for _ in range(1000)])
    assert abs(found.mean()) < 3 / np.sqrt(49 * 1000)
    assert found.std() == pytest.approx(1 / 7, rel=0.08)


def test_a_constant_column_is_empty_and_a_perfect_one_has_no_interval():
    assert np.isnan(spearman(np.ones(9), np.arange(9))[:3]).all() and spearman(np.ones(9), np.arange(9)).n == 9
    same = spearman(np.arange(9), np.arange(9) ** 3)
    assert same.value == 1 and np.isnan([same.lo, same.hi]).all()
    assert np.isnan(pearson(np.arange(3), np.array([1, 0, 2]))[1:3]).all()  # n - 3 = 0
    assert np.isnan(spearman(np.array([]), np.array([])).value)


def test_missing_pairs_are_not_counted():
    x, y = np.arange(6.0), np.array([0, 2, 1, np.nan, 5, 4.0])
    assert spearman(x, y) == spearman(x[[0, 1, 2, 4, 5]], y[[0, 1, 2, 4, 5]]) and spearman(x, y).n == 5


def test_tiny_and_huge_values_keep_their_correlation():
    x, y = with_correlation(0.5, 30, np.random.default_rng(5))
    assert pearson(1e-200 * x, 1e200 * y).value == pytest.approx(0.5, abs=1e-9)


def test_strata_combine_to_their_common_correlation():
    """Two strata of one rho give that rho and the interval of n - 3 summed."""
    part = Correlation(0.5, 0.326, 0.641, 100)
    found = combined([part, part, Correlation(np.nan, np.nan, np.nan, 8)])
    half = 1.96 * np.sqrt((1 + 0.5**2 / 2) / (2 * 97))
    np.testing.assert_allclose(
        found, (0.5, np.tanh(np.arctanh(0.5) - half), np.tanh(np.arctanh(0.5) + half), 200), atol=1e-5
    )
    assert np.isnan(combined([]).value)


def test_uncorrelated_halves_have_no_reliability():
    assert np.isnan(reliability(0.0)) and np.isnan(reliability(-0.3)) and reliability(0.5) == pytest.approx(2 / 3)
    assert np.isnan(disattenuated(Correlation(0.1, 0.0, 0.2, 50), np.nan).value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: spearman([1, 2], [1, 2, 3]), "cannot be paired"),
        (lambda: pearson([1, np.inf, 2], [1, 2, 3]), "infinite value"),
        (lambda: spearman([1, 2, 3], [1, 2, 3], 95), "between 0 and 1"),
        (lambda: attenuated(0.5, 1.2), "between 0 and 1"),
    ],
)
def test_wrong_requests_are_refused_in_a_line(call, says):
    with pytest.raises(ValueError, match=says) as error:
        call()
    assert "\n" not in str(error.value)
