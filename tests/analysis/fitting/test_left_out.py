"""Counts predicted without their own level: against the fit that never saw them, and by what an interval promises."""

import numpy as np
import pytest
from scipy.special import expit

from analysis.fitting.estimate import fit
from analysis.fitting.left_out import MOST_LEFT_OUT, left_out
from analysis.laws import law

SIZES = np.array([2743.0, 10405.0, 40489.0, 159697.0])
TRIALS = 200


def study(rng: np.random.Generator, sizes=SIZES, seeds: int = 3, luck: float = 0.2):
    """x, hits and run of a study: seeds runs of each size, strata of 1, 2, 4, 8 copies, a luck for each run."""
    size, run, copies = np.repeat(sizes, 4 * seeds), np.repeat(np.arange(len(sizes) * seeds), 4), 2.0 ** np.arange(4)
    x = {"params": size, "copies": np.tile(copies, len(sizes) * seeds)}
    logit = -11 + 0.8 * np.log(x["params"]) + 0.9 * np.log(x["copies"]) + luck * rng.normal(size=run.max() + 1)[run]
    return x, rng.binomial(TRIALS, expit(logit)), run


def fitted(x, hits):
    return fit(law("logistic", list(x)), x, hits, trials=np.full(len(hits), TRIALS), starts=4)


def test_a_level_is_predicted_by_the_fit_to_the_others():
    x, hits, run = study(np.random.default_rng(0))
    found = left_out(fitted(x, hits), "params", run, seed=0)
    for size in SIZES:
        out = x["params"] == size
        others = fitted({name: values[~out] for name, values in x.items()}, hits[~out])
        direct = others.predict({name: values[out] for name, values in x.items()})
        np.testing.assert_allclose(found.value[out], direct, rtol=1e-4)
    np.testing.assert_array_equal(found.extrapolated, np.isin(x["params"], SIZES[[0, -1]]))


def test_what_was_measured_at_a_level_does_not_touch_its_own_prediction():
    x, hits, run = study(np.random.default_rng(1))
    out = x["params"] == SIZES[1]
    other = np.where(out, TRIALS - hits, hits)  # far from any law of the rest
    first, second = (left_out(fitted(x, y), "params", run, seed=0) for y in (hits, other))
    for name in ("value", "lo", "hi"):
        np.testing.assert_array_equal(getattr(first, name)[out], getattr(second, name)[out])
    assert not np.allclose(first.value[~out], second.value[~out], rtol=0.05)
    rate = other[out] / TRIALS
    assert np.mean((second.lo[out] <= rate) & (rate <= second.hi[out])) < 0.1  # the law does not hold there


@pytest.mark.slow
def test_intervals_hold_new_runs_as_often_as_they_say():
    """25 studies of 48 strata in 12 runs: strata of a run share its luck, so the share of 95 % scatters by .02."""
    rng, inside = np.random.default_rng(2), []
    for _ in range(25):
        x, hits, run = study(rng)
        found = left_out(fitted(x, hits), "params", run, seed=0)
        rate = hits / TRIALS
        inside.append(np.mean((found.lo <= rate) & (rate <= found.hi)))
    assert 0.92 <= np.mean(inside) <= 0.995


def test_two_levels_or_another_law_leave_nothing_out():
    x, hits, run = study(np.random.default_rng(3), sizes=SIZES[:2])
    assert np.isnan(left_out(fitted(x, hits), "params", run, seed=0).value).all()
    assert np.isnan(left_out(fitted({"copies": x["copies"]}, hits), "params", run, seed=0).value).all()


def test_a_rest_of_too_few_runs_predicts_nothing():
    x, hits, run = study(np.random.default_rng(4), sizes=SIZES[:3], seeds=1)
    assert np.isnan(left_out(fitted(x, hits), "params", run, seed=0).value).all()


def test_of_many_levels_some_are_left_out_the_ends_among_them():
    sizes = np.geomspace(1000, 1e6, 9)
    x, hits, run = study(np.random.default_rng(5), sizes=sizes, seeds=1)
    known = ~np.isnan(left_out(fitted(x, hits), "params", run, seed=0).lo)
    assert len(set(x["params"][known])) == MOST_LEFT_OUT and {sizes[0], sizes[-1]} <= set(x["params"][known])


def test_values_are_refused():
    x = {"x": np.arange(1.0, 9)}
    with pytest.raises(ValueError, match="of values, not of counts"):
        left_out(fit(law("power", ["x"]), x, x["x"] ** 0.5), "x", np.arange(8), seed=0)
