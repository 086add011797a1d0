"""What agrees: the law of an equal run again, by simulation and by other implementations."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact, t

from scaling.reproduce.tolerance import MOST_DEGREES, NOTHING, count_tolerance, prior, spread, tolerance


def beyond(replicates, again, alpha: float, known=NOTHING) -> float:
    """The share of sets whose value again is refused; the first replicate is the committed one."""
    s, degrees = zip(*(spread(others, known) for others in replicates[:, 1:]), strict=True)
    return float(np.mean(np.abs(again - replicates[:, 0]) > np.array(s) * tolerance(1.0, degrees[0], alpha)))


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 4, 10])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_an_equal_run_lies_beyond_as_often_as_stated(n, alpha):
    """40,000 simulated sets of n replicates of one normal law and a run again; within 3 standard errors."""
    rng, sets = np.random.default_rng(0), 40_000
    found = beyond(rng.normal(2, 3, (sets, n)), rng.normal(2, 3, sets), alpha)
    assert abs(found - alpha) < 3 * sqrt(alpha / sets)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [20, 60])
@pytest.mark.parametrize("d0", [1.0, 3.0, inf])
def test_with_the_variances_of_other_cells_it_is_refused_no_more_often(d0, cells):
    """200 studies of cells of 3, true variances d0 s0^2 / chi2_d0 or all equal, 400 further cells each: at most alpha
    and 3 standard errors between studies."""
    rng, alpha, shares = np.random.default_rng(1), 0.005, []
    for _ in range(200):
        sigma = np.ones(cells + 400) if d0 == inf else np.sqrt(d0 / rng.chisquare(d0, cells + 400))
        drawn = rng.normal(size=(cells + 400, 4)) * sigma[:, None]
        known = prior(drawn[:cells, :3].var(axis=1, ddof=1).tolist(), [2] * cells)
        shares.append(beyond(drawn[cells:, :3], drawn[cells:, 3], alpha, known))
    assert np.mean(shares) < alpha + 3 * np.std(shares) / sqrt(len(shares))


def test_the_prior_is_the_law_that_variances_were_drawn_from():
    """20,000 cells: d0 = 2 and s0 = 3 come back; of equal variances the cap and the variance."""
    rng, d = np.random.default_rng(2), 2
    true = 2 * 9 / rng.chisquare(2, 20_000)
    found = prior((true * rng.chisquare(d, 20_000) / d).tolist(), [d] * 20_000)
    assert found.degrees == pytest.approx(2, rel=0.05) and found.variance == pytest.approx(9, rel=0.05)
    found = prior((9 * rng.chisquare(d, 20_000) / d).tolist(), [d] * 20_000)
    assert found.degrees == MOST_DEGREES and found.variance == pytest.approx(9, rel=0.1)


def test_few_cells_and_cells_without_spread_say_nothing():
    assert prior([1.0] * 19, [2] * 19) == NOTHING == prior([1.0] * 19 + [0.0] * 50, [2] * 69) == prior([], [])


def test_two_others_alone_leave_one_degree_of_freedom():
    """s of 1 and 3 is sqrt(2); Student's t of one degree is Cauchy's law: its 97.5 % quantile is tan(.475 pi)."""
    s, degrees = spread([1.0, 3.0])
    assert (s, degrees) == (pytest.approx(sqrt(2)), 1)
    assert tolerance(s, degrees, 0.05) == pytest.approx(2 * np.tan(0.475 * np.pi)) == pytest.approx(2 * t.ppf(0.975, 1))


@pytest.mark.parametrize(("count", "trials"), [(0, 512), (7, 64), (64, 64), (100, 512)])
def test_equal_counts_have_the_tolerance_of_fishers_test(count, trials):
    """scipy's own one-sided tests, each at half of alpha: the widest step that neither refuses."""
    alpha = 0.01

    def p(x: int, side: str) -> float:
        return float(fisher_exact([[x, trials - x], [count, trials - count]], alternative=side).pvalue)

    accepted = [x for x in range(trials + 1) if min(p(x, "less"), p(x, "greater")) >= alpha / 2]
    assert count_tolerance(count, trials, alpha) == max(abs(x - count) for x in accepted) > 0


def test_a_count_without_trials_is_a_poisson_count():
    """Against none: all of x events are in the second count with probability 2^-x; against 20: scipy's exact test."""
    assert count_tolerance(0, None, 0.01) == 7
    x = 20 + count_tolerance(20, None, 0.01)
    p = [binomtest(second, 20 + second, 0.5, alternative="greater").pvalue for second in (x, x + 1)]
    assert p[1] < 0.005 <= p[0]


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5])
def test_few_binomial_counts_are_refused(rate):
    """Counts of 512, two equal replicates or a spread: at most alpha of 5,000 sets, and 3 standard errors."""
    rng, alpha = np.random.default_rng(3), 0.01
    drawn = rng.binomial(512, rate, (5_000, 4))
    equal = drawn[:, 1] == drawn[:, 2]
    allowed = {count: count_tolerance(count, 512, alpha) for count in set(drawn[equal, 0].tolist())}
    refused = sum(abs(x - count) > allowed[count] for count, x in drawn[equal][:, [0, 3]].tolist())
    refused += beyond(drawn[~equal][:, :3], drawn[~equal, 3], alpha) * (~equal).sum()
    assert refused / len(drawn) <= alpha + 3 * sqrt(alpha / len(drawn))
