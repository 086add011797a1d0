import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from analysis.descent.noise import (
    RHO,
    Blocks,
    Given,
    Replicates,
    _restricted_likelihood,
    _upper_autocorrelation,
    autocorrelation,
    autoregressive,
    blocks,
)
from analysis.descent.rise_tests import confirm, differences, least_favourable, search, search_statistic

X = 2.0 ** np.arange(8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def brute(y, s) -> float:
    def d(a, b):
        return (y[b] - y[a]) / np.hypot(s[a], s[b])

    return max(
        min(max(d(i, j) for i in range(j)), max(d(k, j) for k in range(j + 1, len(y)))) for j in range(1, len(y) - 1)
    )


def test_statistic_is_its_formula():
    y, s = rng().standard_normal(9), rng(1).uniform(0.5, 2, 9)
    assert search_statistic(y, s) == pytest.approx(brute(y, s))
    assert differences(y, s)[2, 5] == pytest.approx((y[5] - y[2]) / np.hypot(s[2], s[5]))


def test_least_favourable_valleys_are_limits():
    """One end at -1000 standard errors in the statistic itself."""
    y, s = rng().standard_normal(7), rng(1).uniform(0.5, 2, 7)
    down, up = y.copy(), y.copy()
    down[-1] = up[0] = -1000
    at_end, at_start = least_favourable(y[None], s[None])
    assert at_end[0] == pytest.approx(brute(down, s)) and at_start[0] == pytest.approx(brute(up, s))


def test_confirmatory_is_two_welch_tests():
    """SciPy's Welch test on single points; the larger of two one-sided p-values counts."""
    y = rng().standard_normal((5, 8)) + np.array([3, 0, 0, 0, 2, 0, 0, 1])
    window, valley = X == 16, X == 4
    found = confirm(Replicates(X, y), window, valley, level=0.95)
    p = [ttest_ind(y[:, 4], y[:, k], equal_var=False, alternative="greater").pvalue for k in (2, 7)]
    assert (found.above_valley, found.above_end) == (pytest.approx(p[0]), pytest.approx(p[1]))
    assert found.p_value == max(found.above_valley, found.above_end)


def test_correlated_runs_are_compared_within():
    """Runs with a common offset ten times their noise: SciPy's paired test."""
    y = rng().standard_normal((6, 8)) + 10 * rng(1).standard_normal((6, 1)) + np.array([3, 0, 0, 0, 2, 0, 0, 1])
    noise = Replicates(X, y, runs=True)
    assert noise.rho > 0.9
    found = confirm(noise, X == 16, X == 4, level=0.95)
    assert found.above_valley == pytest.approx(ttest_1samp(y[:, 4] - y[:, 2], 0, alternative="greater").pvalue)


def test_contrasts_of_given_errors_are_normal():
    noise = Given(X, np.array([3, 0, 0, 0, 2, 0, 0, 0.0]), np.ones(8))
    assert confirm(noise, X == 16, X == 4, level=0.95).p_value == pytest.approx(0.0786, abs=1e-4)  # 2/sqrt 2


def test_variances_shrink_to_the_pooled_one():
    """Smyth 2004, Eq. 3, by hand: variances 2 and 0 with one degree of freedom each, prior 1 at their mean 1."""
    noise = Replicates(np.array([1.0, 2]), np.array([[0.0, 5], [2, 5]]))
    np.testing.assert_allclose(noise.se**2, np.array([1.5, 0.5]) / 2)
    alone = Replicates(np.array([1.0, 2, 3]), np.array([[0.0, 5, 1], [2, 5, np.nan]]))
    assert alone.se[2] ** 2 == pytest.approx(1.0)  # one value: the pooled variance, and no further replicate


def test_given_errors_and_many_replicates_agree():
    """With 400 replicates the estimated noise is the known one."""
    mean = np.array([3, 0, 0.5, 0, 1.2, 0, 0, -1])
    y = rng().standard_normal((400, 8))
    y = mean + (y - y.mean(0)) / y.std(0, ddof=1) * 20 * 0.4
    a = search(Replicates(X, y), draws=4000, level=0.95, rng=rng())
    b = search(Given(X, mean, np.full(8, 0.4)), draws=4000, level=0.95, rng=rng(1))
    assert a.statistic == pytest.approx(b.statistic) and a.p_value == pytest.approx(b.p_value, abs=0.03)
    assert 0.02 < a.p_value < 0.5


def test_autoregressive_noise_and_its_estimate():
    z = autoregressive((4000, 6), 0.7, rng())
    np.testing.assert_allclose(
        np.corrcoef(z.T), 0.7 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))), atol=0.05
    )
    assert autocorrelation(z[:40]) == pytest.approx(0.7, abs=0.1)
    assert autocorrelation(autoregressive((4, 20), 0, rng())) == 0


def test_blocks_are_longer_than_the_memory_of_the_noise():
    t = np.arange(4000.0)
    white, red = (blocks(t, np.exp(-t / 400) + autoregressive((4000,), rho, rng())) for rho in (0.0, 0.9))
    assert isinstance(white, Blocks) and white.rho < 0.1 and len(white.x) >= 20
    assert isinstance(red, Blocks) and 0.85 < red.rho < 0.99 and red.length >= 2 * 1.9 / 0.1 * 0.9
    assert white.se[0] == pytest.approx(white.length**-0.5, rel=0.4)
    assert "20 are needed" in blocks(t[:60], autoregressive((60,), 0.5, rng()))


def test_redrawn_blocks_are_means_of_the_process():
    """Block means of a simulated AR(1) process have the neighbour correlation that is used."""
    noise = Blocks(np.arange(30.0), np.zeros(30), 5, 0.8)
    direct = autoregressive((3000, 150), 0.8, rng()).reshape(3000, 30, 5).mean(2)
    redrawn, _ = noise.redrawn(3000, rng(1))
    both = [np.mean(z[:, 1:] * z[:, :-1]) / np.mean(z**2) for z in (direct, redrawn)]
    assert both[0] == pytest.approx(both[1], abs=0.02)


@pytest.mark.parametrize(("rho", "length"), [(0.0, 2), (0.5, 6), (0.9, 38)])
def test_confirmatory_level_is_held_on_blocks_of_one_run(rho, length):
    """3,000 flat runs cut into 25 blocks as short as allowed, far lower at the end: at most 5 %, plus two SE.

    The blocks share one estimate of their variance and neighbours correlate by up to a sixth.
    """
    means = autoregressive((3000, 25 * length), rho, rng(3)).reshape(3000, 25, length).mean(axis=2)
    means[:, -1] -= 99
    x = np.arange(25.0)
    window, valley = (x >= 12) & (x <= 16), (x >= 4) & (x <= 8)
    p = [confirm(Blocks(x, mean, length, rho), window, valley, level=0.95).p_value for mean in means]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 0.008


def test_standard_error_of_blocks_is_their_sd():
    """Of a simulated AR(1) process whose neighbouring block means correlate by a sixth; the median over runs."""
    means = autoregressive((1000, 40 * 38), 0.9, rng(4)).reshape(1000, 40, 38).mean(axis=2)
    se = [Blocks(np.arange(40.0), mean, 38, 0.9).se[0] for mean in means]
    assert np.median(se) == pytest.approx(means.std(), rel=0.04)


@pytest.mark.parametrize(("points", "rho"), [(400, 0.5), (1000, 0.9), (4000, 0.97)])
def test_autocorrelation_of_one_run_stays_below_its_upper_limit(points, rho):
    """150 falling runs: the 95 % limit is missed in 5 %, plus two and a half standard errors; it is not far above."""
    fall = 4 * np.exp(-8 * np.linspace(0, 1, points))
    found = np.array([_upper_autocorrelation(fall + z) for z in autoregressive((150, points), rho, rng(6))])
    assert np.mean(found < rho) <= 0.05 + 0.045
    assert np.median((1 - rho) / (1 - found)) < 2.2  # the blocks are at most so many times longer than needed


def test_restricted_likelihood_is_its_formula():
    """Patterson & Thompson 1971 with full matrices, one variance a part, lines removed; up to a constant."""
    parts = autoregressive((3, 12), 0.6, rng()) + 5 * np.arange(12.0)
    line, place = np.stack([np.ones(12), np.arange(12.0)]).T, np.arange(12)

    def direct(rho):
        inverse = np.linalg.inv(rho ** np.abs(place[:, None] - place) / (1 - rho**2))
        inner = line.T @ inverse @ line
        rest = inverse - inverse @ line @ np.linalg.inv(inner) @ line.T @ inverse
        volume = np.linalg.slogdet(inverse)[1] - np.linalg.slogdet(inner)[1]
        return sum(volume / 2 - 5 * np.log(y @ rest @ y) for y in parts)

    at = [0, 40, 90, 120]
    found, expected = _restricted_likelihood(parts)[at], np.array([direct(rho) for rho in RHO[at]])
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-6)


def test_autocorrelation_of_a_run_without_noise_has_no_limit():
    t = np.arange(400.0)
    for y in (np.ones(400), 1e6 - 0.1 * t, np.maximum(20 - t / 10, 0)):
        assert "0 blocks" in blocks(t, y)
    noise = autoregressive((1000,), 0.5, rng())  # a part that is constant says nothing
    late = np.concatenate([np.zeros(1000), noise])
    assert 0.5 < _upper_autocorrelation(late) < 0.6


@pytest.mark.parametrize("heavier", [1.0, 4.0])
def test_level_is_held_at_the_least_favourable_valley(heavier):
    """300 curves of 3 replicates: at most 5 % (7 % under fourfold noise at a point), plus two standard errors."""
    mean, sd, draws = np.array([0, 0, 0, 0, 0, 0, 0, -99.0]), np.ones(8), rng(5)
    sd[4] = heavier
    p = [
        search(Replicates(X, mean + sd * draws.standard_normal((3, 8))), draws=300, level=0.95, rng=draws).p_value
        for _ in range(300)
    ]
    assert np.mean(np.array(p) < 0.05) <= (0.05 if heavier == 1 else 0.07) + 0.027
