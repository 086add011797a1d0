"""Study 2's numbers and pictures against planted curves: a peak where it was put, none where none was."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.studies.double_descent import confirmed, figures, numbers, settings
from analysis.summary import last_evaluations
from analysis.table import Tables, validated

WEIGHTS = (2_400, 5_200, 9_200, 20_000, 36_000, 80_000, 143_000)
TIMES = 1_000 * 2 ** np.arange(6)


def runs(n: int, m: float, *, height: float, weights=WEIGHTS, of: str = "") -> list[dict]:
    """Five seeds a size: a falling curve with a hump of `height` at n m 64, where the training loss ends."""
    rng, rows = np.random.default_rng([n, 0 if np.isnan(m) else int(m)]), []
    peak = n * (4 if np.isnan(m) else m) * 64
    for w, seed in product(weights, range(5)):
        luck = rng.normal(0, 0.02)
        fit = 0.5 * np.exp(-((w / peak) ** 2) * 2) + 1e-3
        for t in TIMES:
            hump = height * np.exp(-(np.log(w / peak) ** 2)) * (t == TIMES[-1])
            rows.append({
                "run_id": f"{of}{n}-{m}-{w}-{seed}", "cell_id": f"{n}-{m}-{w}", "seed": seed, "images_seen": t,
                "params": w + 300, "params_no_time": w, "n_unique": n, "noise_draws": m, "image_size": 8, "channels": 1,
                "train_loss": fit * (1 if t > 8_000 else 2), "holdout_loss": 0.8 - 0.03 * np.log(w) + hump + luck,
                "n_memorized": 26 if w > peak else 0, "n_generated": 256, "kid": 0.1,
            })  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def tables() -> Tables:
    evals = [
        *runs(64, 4, height=0.5), *runs(128, 4, height=0.5), *runs(128, np.nan, height=0),
        *(row for n in (8, 16, 256) for row in runs(n, 4, height=0.5, weights=(9_200,), of="x")),
    ]  # fmt: skip
    frames = {"evals": evals, "strata": [], "noise_levels": [], "prompts": [], "images": []}
    return Tables(*(validated(pandas.DataFrame(of), name, where=name)[0] for name, of in frames.items()))


@pytest.fixture(scope="module")
def found(tables) -> dict[str, str]:
    return dict(numbers(tables, Path()))


def test_the_planted_peaks_are_found_by_the_registered_test(found):
    for key, peak in (("64_4", 16_384), ("128_4", 32_768)):
        assert found[f"{key}_confirmed"].startswith("peak, p") and found[f"{key}_predicted"] == f"{peak:,}"
        value, ends = found[f"{key}_quotient"].split(" (")
        lo, hi = map(float, ends.strip(")").split(" to "))
        assert lo < 1 < hi and float(value) == pytest.approx(1, abs=0.25)


def test_the_control_has_no_peak_and_no_prediction(found, tables):
    assert not found["128_fresh_searched"].startswith("peak")
    assert "128_fresh_confirmed" not in found
    rows = settings(last_evaluations(tables.evals))
    assert list(rows) == ["64 images, 4 draws", "128 images, 4 draws", "128 images, fresh noise"]
    assert confirmed(rows["128 images, fresh noise"]) is None


def test_read_at_the_hold_out_minimum_the_peak_is_gone(found):
    """The hump was planted at the last evaluation only."""
    assert not found["64_4_at_minima"].startswith("peak")


def test_the_observed_threshold_is_where_the_training_loss_ends(found):
    """0.5 exp(-2 (w/peak)^2) falls below 5 % of its value at 0 from w = 1.22 peaks on."""
    assert found["64_4_fitted"] == "36,000" and found["128_4_fitted"] == "80,000"


def test_convergence_is_of_the_last_doubling(found):
    assert found["converged"] == "120 of 120" and found["change_train"] == "0 %"


def test_copies_are_told_at_the_peak_and_at_the_end(found):
    at_peak, end = found["64_4_copies"].split(", ")
    assert end.startswith("10 %") and not at_peak.startswith("none") and found["64_4_last_copies"] == end


def test_the_curve_over_images_is_that_of_the_size_with_most_of_them(found):
    assert found["data_weights"] == "9,200" and found["data_predicted"] == "36"
    assert len(found["data_wise"].strip().splitlines()) == 2 + 5  # 8, 16, 64, 128 and 256 images


def test_every_size_has_its_verdict_along_the_clock(found):
    lines = found["epoch_wise"].strip().splitlines()
    assert len(lines) == 2 + len(WEIGHTS) and all(line.count("|") == 5 for line in lines)


def test_the_figures_tell_every_setting_and_every_number_of_images(tables):
    made = {one.name: one.data for one in figures(tables, Path())}
    assert list(made) == ["curves", "across", "over_images"]
    assert all(made[name]["setting"].nunique() == 3 for name in ("curves", "across"))
    assert set(made["over_images"]["x"]) == {8, 16, 64, 128, 256} and set(made["over_images"]["n"]) == {5}
