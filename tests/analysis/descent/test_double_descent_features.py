"""Double descent where theory places it: random features (measures.md K42 to K43b) and ridgeless regression (K44)."""

import numpy as np
import pandas
import pytest
import torch

from analysis.double_descent import predicted_threshold, verdicts
from scaling.selfcheck.random_features import _draw

D = 32


def features(cases: list[tuple[int, int]], *, m: int, ridge: float, seeds: int = 3) -> pandas.DataFrame:
    """Rows (p, n, seed) of test losses for (p, n) in cases."""
    rows = []
    for p, n in cases:
        for seed in range(seeds):
            test, seen = _draw(p, n, m, ridge, seed, torch.device("cpu"))
            rows.append({"params": p, "n_unique": n, "noise_draws": m, "seed": seed, "test": test, "seen": seen})
    return pandas.DataFrame(rows)


def verdict(rows: pandas.DataFrame, x: str = "params", **more) -> dict:
    (found,) = verdicts(rows, x=x, y="test", replicate="seed", **more)
    return found


def test_random_features_peak_at_n_m():
    """K42: n 128, m 1: peak 2.90 at 144, recovery .91 (malign) with the minimum 1.02 at 8."""
    rows = features([(p, 128) for p in (8, 32, 96, 144, 256, 512)], m=1, ridge=1e-3)
    found = verdict(rows, predicted=predicted_threshold(128, 1, 1))
    assert found["verdict"] == "present"
    assert found["peak_lo"] <= 128 <= found["peak_hi"]
    assert 110 <= found["peak_x"] <= 175
    assert found["prominence"] == pytest.approx(2.90 - 1.30, abs=0.25)  # to the lowest of the 512 features, about 1.3
    assert "malign" in found["why"] and "inside the peak's interval" in found["why"]
    assert found["second_descent"] is False


@pytest.mark.slow
def test_window_named_by_theory_confirms_it():
    """K42b: m 4, ridge 1e-3: minimum .946 at 24, peak 2.77 near 512."""
    rows = features([(p, 128) for p in (16, 24, 48, 256, 512, 576, 1024)], m=4, ridge=1e-3)
    found = verdict(rows, window=(500, 600), valley=(16, 48), predicted=512)
    assert (found["test"], found["verdict"]) == ("confirmatory", "present")
    assert found["p_value"] < 0.01 and found["peak_lo"] <= 512 <= found["peak_hi"]
    assert found["second_descent"] is False


@pytest.mark.slow
def test_large_ridge_has_no_peak():
    """K43: .887 at 64, then rising to 1.05: overfitting. Theory's place is covered: absent; without theory: open."""
    rows = features([(p, 128) for p in (8, 32, 64, 128, 256, 576, 1024, 2048)], m=4, ridge=0.1)
    assert verdict(rows, predicted=512)["verdict"] == "absent"
    found = verdict(rows)
    assert found["verdict"] == "cannot_tell" and "still rises at its end" in found["why"]
    assert "does not cover" in verdict(rows, predicted=2048)["why"]


@pytest.mark.slow
def test_sample_wise_peak_stands_at_p_over_m():
    """K43b: p 256, m 1: peak 2.7 at n 224 to 256; the bump 2.0 at n = d = 32 must not be taken for it."""
    rows = features([(256, n) for n in (8, 16, 32, 64, 96, 160, 224, 256, 512, 1024, 2048)], m=1, ridge=1e-3)
    found = verdict(rows, x="n_unique")
    assert found["verdict"] == "present" and found["peak_lo"] <= 256 <= found["peak_hi"]
    assert found["second_descent"] is True and "benign" in found["why"]


def ridgeless(p: int, n: int, v: float, rng: np.random.Generator) -> float:
    """Risk of the least-norm solution, p features of signal 1 spread evenly (Hastie et al. 2019)."""
    beta = np.full(p, p**-0.5)
    x = rng.standard_normal((n, p))
    y = x @ beta + np.sqrt(v) * rng.standard_normal(n)
    return float(np.sum((np.linalg.lstsq(x, y, rcond=None)[0] - beta) ** 2))


def test_ridgeless_regression_peaks_at_p_equals_n():
    """K44: p v/(n - p - 1) below n = 40, 1 - n/p + n v/(p - n - 1) above."""
    ladder, n, v, rng = (5, 10, 20, 30, 40, 50, 80, 160, 320), 40, 0.25, np.random.default_rng(0)
    rows = pandas.DataFrame(
        [
            {"params": p, "seed": 1000 * p + k, "test": np.median([ridgeless(p, n, v, rng) for _ in range(30)])}
            for p in ladder
            for k in range(5)
        ]
    )
    found = verdict(rows, predicted=n)
    assert found["verdict"] == "present" and found["peak_lo"] <= n <= found["peak_hi"]
    # Far from the pole the mean agrees with the closed form.
    many = [ridgeless(10, n, v, rng) for _ in range(600)]
    assert np.mean(many) == pytest.approx(10 * v / 29, abs=3 * np.std(many) / np.sqrt(600))


def test_prediction_for_frozen_noise():
    """measures.md section 7: n 64, m 4, d 64 gives 16.4 k parameters; fresh noise predicts no peak."""
    assert predicted_threshold(64, 4, 64) == 16_384
    assert predicted_threshold(64, None, 64) is None and predicted_threshold(64, np.nan, 64) is None
    with pytest.raises(ValueError, match="above 0"):
        predicted_threshold(0, 4, 64)
