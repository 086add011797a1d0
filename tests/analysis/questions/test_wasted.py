import numpy as np
import pytest

from analysis.questions.wasted import Ladder, compute_optimal, differences_se, ladder, smallest_equal, wasted
from tests.analysis.plain_study import tables

ASK = {"rate": 0.01, "at": {}, "level": 0.95, "draws": 500, "seed": 0}
LOSSES = {1000: 0.9, 2000: 0.6, 4000: 0.5, 8000: 0.5}
RATES = {1000: 0.0, 2000: 0.05, 4000: 0.1, 8000: 0.3}


def study(seeds: int, rng: np.random.Generator, *, rates=RATES, losses=LOSSES, noise=0.003) -> list[dict]:
    """Runs whose loss falls to their minimum at 2,000 images and rises; memorization is that of the minimum, then 1."""
    rows = []
    for params, loss in losses.items():
        for seed in range(seeds):
            lowest = loss + noise * rng.normal()
            for t, more, f in ((500, 0.2, 0.0), (2000, 0.0, rates[params]), (8000, 0.3, 0.9)):
                rows.append(
                    {"run_id": f"{params}-{seed}", "images_seen": t, "params": params, "seed": seed, "n_unique": 64,
                     "holdout_loss": lowest + more, "holdout_loss_se": 0.02, "train_flops": 6.0 * params * t,
                     "n_memorized": int(rng.binomial(1000, f)), "n_generated": 1000}
                )  # fmt: skip
    return rows


def test_the_largest_of_two_equal_models_wastes_what_it_memorizes():
    """Sizes 4,000 and 8,000 have one loss; f .1 and .3 at the minimum (not .9 at the end)."""
    found = wasted(tables(study(5, np.random.default_rng(1))), **ASK)
    assert found.answerable and found.lo < 0.2 < found.hi and abs(found.value - 0.2) < 0.02
    rows = {row["params"]: row for row in found.rows}
    assert [rows[p]["params_equal"] for p in LOSSES] == [1000, 2000, 4000, 4000]
    assert rows[8000]["params_wasted"] == 4000 and rows[8000]["value"] == pytest.approx(found.value)
    assert rows[4000]["value"] is None and rows[4000]["rate"] == pytest.approx(0.1, abs=0.02)


def test_rotations_of_one_seed_are_replicates():
    rows = study(4, np.random.default_rng(1))
    expected = wasted(tables(rows), **ASK)
    found = wasted(tables([row | {"seed": row["seed"] % 2, "rotate": row["seed"] // 2} for row in rows]), **ASK)
    assert (found.value, found.lo, found.hi) == pytest.approx((expected.value, expected.lo, expected.hi))
    assert [row["n_runs"] for row in found.rows] == [4] * len(LOSSES)


def test_equal_models_waste_nothing():
    """Null: the same loss and the same f: the interval holds 0 in about 95 of 100 studies."""
    rng, hits, told = np.random.default_rng(1), 0, 0
    flat = dict.fromkeys(RATES, 0.1)
    for _ in range(30):
        found = wasted(tables(study(4, rng, rates=flat, losses={4000: 0.5, 8000: 0.5})), **ASK)
        told += found.answerable
        hits += found.answerable and found.lo <= 0 <= found.hi
    assert told >= 25 and hits / told >= 0.85


def test_no_hits_at_all_leave_an_interval_that_is_not_zero_wide():
    """0 of 5,000 against 0 of 5,000: Newcombe, +- z^2/(n + z^2)."""
    rows = [row | {"n_memorized": 0} for row in study(5, np.random.default_rng(1))]
    row = {row["params"]: row for row in wasted(tables(rows), **ASK).rows}[8000]
    z2 = 1.959964**2
    assert row["value"] == 0 and (row["lo"], row["hi"]) == pytest.approx((-z2 / (5000 + z2), z2 / (5000 + z2)))


def test_sizes_that_all_differ_waste_nothing_that_can_be_seen():
    found = wasted(tables(study(4, np.random.default_rng(0), losses={1000: 0.9, 2000: 0.6})), **ASK)
    assert not found.answerable and "no size has a smaller one" in found.why and len(found.rows) == 2


def test_one_replicate_is_judged_by_its_own_errors():
    """Losses .50 and .54 of SE .02: equal (2 SE of the difference: .057); .50 and .60: not."""
    for other, equal in ((0.54, [0, 0]), (0.60, [0, 1])):
        of = Ladder(np.array([1.0, 2.0]), np.array([0]), np.array([[0.5, other]]), np.full((1, 2), 0.02),
                    np.zeros((1, 2)), np.ones((1, 2)))  # fmt: skip
        assert smallest_equal(of).tolist() == equal


def test_of_two_sizes_the_standard_error_is_that_of_paired_differences():
    loss = np.random.default_rng(2).normal(size=(6, 2))
    of = Ladder(np.arange(2), np.arange(6), loss, loss * 0, loss * 0, loss * 0 + 1)
    apart = loss[:, 0] - loss[:, 1]
    assert differences_se(of)[0, 1] == pytest.approx(apart.std(ddof=1) / np.sqrt(6))


def test_the_standard_error_is_that_of_the_simulation():
    """Four sizes, five replicates whose shared luck is ten times their own: it cancels."""
    rng, found, true = np.random.default_rng(3), [], []
    for _ in range(2000):
        loss = rng.normal(size=(5, 1)) + 0.1 * rng.normal(size=(5, 4))
        true.append(loss[:, 0].mean() - loss[:, 3].mean())
        if len(found) < 200:
            found.append(differences_se(Ladder(np.arange(4), np.arange(5), loss, loss, loss, loss))[0, 3] ** 2)
    assert np.mean(found) == pytest.approx(np.var(true), rel=0.1)


def test_the_compute_optimal_size_may_stop_earlier():
    """By hand: within the 1.2e7 FLOP of 1,000 parameters the 4,000 see 500 images, f 0, and are better already."""
    rows = study(2, np.random.default_rng(0), losses={1000: 0.9, 4000: 0.5, 8000: 0.6}, noise=0.0)
    found = {row["params"]: row for row in wasted(tables(rows), **ASK).rows}
    assert found[8000]["params_optimal"] == 4000 and found[8000]["params_beyond_optimal"] == 4000
    assert found[8000]["beyond_optimal"] == pytest.approx(found[8000]["rate"] - found[4000]["rate"])
    assert found[1000]["params_optimal"] == 4000 and found[1000]["beyond_optimal"] == found[1000]["rate"]
    assert found[4000]["params_optimal"] == 4000 and found[4000]["beyond_optimal"] is None
    frame = tables(rows).evals.assign(_replicate=0)
    assert compute_optimal(frame[frame["seed"] == 0].assign(train_flops=np.nan), 8000.0)[1] is None


def test_two_runs_of_one_place_are_refused():
    with pytest.raises(ValueError, match="two runs share setting, size and seed"):
        ladder(np.array([1.0, 1.0]), np.array([0, 0]), {"loss": np.zeros(2)})


def test_lost_runs_are_said():
    rows = study(3, np.random.default_rng(0))
    for row in rows[:3]:
        row["holdout_loss"] = None
    assert "1 run without hold-out loss or counts" in wasted(tables(rows), **ASK).why
