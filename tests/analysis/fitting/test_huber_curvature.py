"""Huber far inside the scatter, rows that scatter unequally: standard errors against the estimates' own spread."""

import numpy as np
import pytest

from analysis.fitting.assessment import huber_curvature
from analysis.fitting.estimate import fit
from analysis.fitting.objectives import huber_sandwich
from analysis.fitting.uncertainty import by_run
from analysis.laws import POWER

SLOPE = -0.3


def study(rng, unequal):
    """120 rows about y = x^-0.3; `unequal`: those at both ends, which decide the slope, scatter up to 4 times more."""
    log_x = rng.uniform(0, 6, 120)
    scatter = 0.006 * np.exp(0.5 * np.abs(log_x - 3) * unequal)
    return {"x": np.exp(log_x)}, np.exp(SLOPE * log_x + scatter * rng.standard_normal(120))


@pytest.mark.slow
@pytest.mark.parametrize("unequal", [True, False])
def test_standard_errors_are_the_spread_of_the_estimates(unequal):
    rng = np.random.default_rng(5)
    found = {"fit": [], "by_run": []}
    for _ in range(100):
        result = fit(POWER, *study(rng, unequal), loss="huber_log:0.001", starts=4)
        found["fit"].append(result.params["c"])
        found["by_run"].append(by_run(result).params["c"])
    spread = np.std([c.value for c in found["fit"]])
    for kind, estimates in found.items():
        # 100 estimates know their spread to 7 %; one density for all rows gives 0.76 of it if they scatter unequally.
        assert 0.86 < np.median([c.se for c in estimates]) / spread < 1.25, kind
        assert np.mean([c.lo <= SLOPE <= c.hi for c in estimates]) >= 0.9, kind


def test_rows_share_the_mean_curvature_and_outliers_have_none():
    residuals = np.append(np.random.default_rng(1).standard_normal(200) * 0.01, 0.2)
    curvature = huber_curvature(1e-3, residuals)
    slope, _ = huber_sandwich(1e-3, residuals, 0)
    assert curvature.mean() == pytest.approx(slope)
    assert curvature[-1] < 1e-6 * slope
    assert curvature[np.argmin(np.abs(residuals))] == curvature.max()


def test_a_width_beyond_the_scatter_treats_all_rows_alike():
    assert np.all(huber_curvature(1.0, np.array([0.1, -0.2, 0.3, -0.1])) == 1.0)
