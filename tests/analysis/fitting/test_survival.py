import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import linregress, lognorm, weibull_min
from scipy.stats import t as student

from analysis.fitting.survival import fit, log_likelihood

INF = np.inf
GRID = np.concatenate([[0], np.geomspace(800, 51_200, 13), [INF]])  # evaluations of a run; the last is its end


def observed(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (a, b] in which evaluations on GRID see each time."""
    k = np.searchsorted(GRID, times)
    return GRID[k - 1], GRID[k]


def onset_times(law: str, n_unique: np.ndarray, slope: float, scale: float, rng: np.random.Generator) -> np.ndarray:
    w = rng.normal(size=len(n_unique)) if law == "lognormal" else np.log(rng.exponential(size=len(n_unique)))
    return np.exp(np.log(40) + slope * np.log(n_unique) + scale * w)


def test_exponential_rates_are_the_known_ones():
    """K41: exact times with right-censoring; intervals."""
    found = fit("exponential", [2, 3, 5, 10, 10], [2, 3, 5, INF, INF])
    assert found.rate == pytest.approx(0.1, abs=1e-6) and found.n_events == 3
    assert found.params["intercept"].se == pytest.approx(1 / np.sqrt(3), rel=1e-4)  # of ln rate: 1/sqrt(events)
    found = fit("exponential", [0, 2, 2, 4], [2, 4, 4, INF])
    assert found.rate == pytest.approx(np.log(7 / 4) / 2, abs=1e-6) == pytest.approx(0.279808, abs=2e-6)
    assert found.status == "ok" and "scale" not in found.params


@pytest.mark.parametrize("law", ["weibull", "lognormal"])
def test_the_likelihood_is_that_of_scipy_s_distributions(law):
    """ln[S(a) - S(b)] and densities; far tails, where S(a) - S(b) of plain numbers is 0, stay finite."""
    a, b, location, scale = np.array([0, 1, 2, 3.0]), np.array([1, 2, INF, 3.0]), np.array([0.2, 0.4, 0.1, 0.9]), 0.7
    for k in range(4):
        law_k = (
            weibull_min(1 / scale, scale=np.exp(location[k]))
            if law == "weibull"
            else lognorm(scale, scale=np.exp(location[k]))
        )
        known = law_k.logpdf(a[k]) if a[k] == b[k] else np.log(law_k.sf(a[k]) - law_k.sf(b[k]))
        assert log_likelihood(law, a[k : k + 1], b[k : k + 1], location[k : k + 1], scale) == pytest.approx(known)
    for start in (1e-9, 50.0 if law == "weibull" else 1e9):
        far = log_likelihood(law, np.array([start]), np.array([10 * start]), np.zeros(1), 0.7)
        assert np.isfinite(far) and far < -20


def test_the_log_normal_of_exact_times_is_closed_form():
    """Least squares of ln t, residual sd by 1/n, and Student's interval of the slope."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    ln_t = 1 + 2 * x + 0.3 * rng.normal(size=30)
    found = fit("lognormal", np.exp(ln_t), np.exp(ln_t), {"x": x})
    slope, intercept = np.polyfit(x, ln_t, 1)
    residual = np.sqrt(np.mean((ln_t - intercept - slope * x) ** 2))
    values = [found.params[name].value for name in ("intercept", "x", "scale")]
    np.testing.assert_allclose(values, [intercept, slope, residual], rtol=1e-6)
    line, e = linregress(x, ln_t), found.params["x"]
    assert e.se == pytest.approx(line.stderr, rel=1e-4)
    assert e.hi - e.value == pytest.approx(student(28).ppf(0.975) * line.stderr, rel=1e-4)


def test_another_optimiser_finds_the_same_weibull():
    """scipy's distribution, plain Nelder-Mead in the law's own parameters, censored data."""
    a, b = observed(onset_times("weibull", np.full(40, 100.0), 1, 0.6, np.random.default_rng(3)))
    b = np.where(a > 5000, INF, b)
    found = fit("weibull", a, b)

    def loss(theta):
        law = weibull_min(np.exp(-theta[1]), scale=np.exp(theta[0]))
        return -np.log(law.sf(a) - law.sf(b)).sum()

    best = minimize(loss, [8.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000})
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-7)
    assert found.params["intercept"].value == pytest.approx(best.x[0], abs=1e-4)
    assert found.params["scale"].value == pytest.approx(np.exp(best.x[1]), rel=1e-4)


def test_units_of_a_covariate_change_only_its_coefficient():
    rng = np.random.default_rng(5)
    n = np.repeat([32.0, 128.0, 512.0], 6)
    a, b = observed(onset_times("lognormal", n, 1, 0.4, rng))
    one, other = fit("lognormal", a, b, {"n": np.log(n)}), fit("lognormal", a, b, {"n": 1000 * np.log(n) + 7})
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-7)
    assert one.params["n"].value == pytest.approx(1000 * other.params["n"].value, rel=1e-4)
    assert one.params["n"].se == pytest.approx(1000 * other.params["n"].se, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("law", ["lognormal", "weibull"])
@pytest.mark.parametrize("slope", [1.0, 0.0])
def test_planted_slopes_come_back_covered(law, slope):
    """ln tau_mem on ln n_unique, 30 runs: bias below 3 SE + 2 %, 95 % interval covers .90 to .985 of 300 studies.

    Some are censored at both ends. Slope 0 is the null: an effect is claimed in about 5 %.
    """
    rng, n, studies = np.random.default_rng(7), np.repeat(2.0 ** np.arange(5, 10), 6), 300
    estimates, covered = [], 0
    for _ in range(studies):
        times = onset_times(law, n if slope else 16 * n, slope, 0.5, rng) * (1 if slope else 50)
        found = fit(law, *observed(times), {"n": np.log(n)})
        assert found.status == "ok"
        e = found.params["n"]
        estimates.append(e.value)
        covered += e.lo <= slope <= e.hi
    assert np.mean(estimates) == pytest.approx(slope, abs=0.02 + 3 * np.std(estimates) / np.sqrt(studies))
    assert 0.90 <= covered / studies <= 0.985


def test_a_planted_slope_comes_back():
    n = np.repeat(2.0 ** np.arange(5, 10), 12)
    for law in ("lognormal", "weibull"):
        found = fit(law, *observed(onset_times(law, n, 1, 0.3, np.random.default_rng(1))), {"n": np.log(n)})
        e = found.params["n"]
        assert e.lo <= 1 <= e.hi and e.hi - e.lo < 0.3


def test_leaving_out_what_was_never_seen_would_bias_the_slope():
    """Half the times lie beyond the last evaluation: as intervals the slope is 1, without them far below."""
    n = np.repeat(2.0 ** np.arange(6, 12), 30)
    times = onset_times("lognormal", n, 1, 1.0, np.random.default_rng(2))
    a, b = observed(times)
    whole = fit("lognormal", a, b, {"n": np.log(n)}).params["n"]
    seen = np.isfinite(b)
    dropped = fit("lognormal", a[seen], b[seen], {"n": np.log(n[seen])}).params["n"]
    assert 0.2 < 1 - seen.mean() < 0.8 and whole.lo <= 1 <= whole.hi and dropped.hi < 1


def test_times_never_seen_to_end_are_not_identifiable():
    found = fit("weibull", [10.0, 20.0], [INF, INF])
    assert found.status == "not_identifiable" and "train longer" in found.message
    assert found.params["intercept"].se is None


def test_intervals_that_a_line_passes_through_leave_the_scale_at_its_bound():
    t = np.array([10.0, 20, 40, 80])
    found = fit("lognormal", 0.9 * t, 1.1 * t, {"x": np.log(t)})
    assert found.status in ("at_bound", "not_identifiable") and found.params["x"].lo is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gamma", [1.0], [2.0]), "known are"),
        (("weibull", [3.0], [2.0]), r"row 0: \(3, 2\]"),
        (("weibull", [0.0], [np.nan]), "no interval"),
        (("weibull", [], []), "no row"),
        (("weibull", [1.0, 2.0], [2.0, 3.0], {"x": [1.0, np.nan]}), "covariate x"),
        (("weibull", [1.0, 2.0], [2.0, 3.0], {"x": [1.0, 1.0]}), "told apart"),
    ],
)
def test_bad_requests_say_so(arguments, says):
    with pytest.raises(ValueError, match=says):
        fit(*arguments)
