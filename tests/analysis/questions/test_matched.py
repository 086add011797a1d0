import numpy as np
import pytest

from analysis.questions.comparable import clustered_mean, state_at_loss
from analysis.questions.matched import matched
from tests.analysis.plain_study import tables

ASK = {"rate": 0.01, "at": {}, "level": 0.95, "draws": 500, "seed": 0}
CLOCK = 1000 * 4.0 ** np.arange(4)
MANY = 10**9  # samples: a count's rounding is below 1e-8 of a logit


def run(params: int, seed: int, n_unique: int = 64, *, slope: float, height: float, growth: float) -> list[dict]:
    """loss = 1 - slope ln(t/1000), logit f = height + growth ln(t/1000): straight in ln t, so that reading is exact."""
    age = np.log(CLOCK / CLOCK[0])
    hits = np.round(MANY / (1 + np.exp(-height - growth * age)))
    return [
        {"run_id": f"{params}-{seed}-{n_unique}", "images_seen": t, "params": params, "seed": seed,
         "n_unique": n_unique, "holdout_loss": 1 - slope * a, "holdout_loss_se": 0.01, "n_memorized": x,
         "n_generated": MANY}
        for t, a, x in zip(CLOCK, age, hits, strict=True)
    ]  # fmt: skip


def study(luck: np.ndarray) -> list[dict]:
    """Seeds of two sizes; the larger learns twice as fast: it has the smaller's best loss at half its age."""
    rows = []
    for seed, more in enumerate(luck):
        rows += run(1000, seed, slope=0.05, height=-4, growth=0.5)
        rows += run(8000, seed, slope=0.1, height=-3 + more, growth=0.8)
    return rows


def test_the_larger_model_is_read_where_it_has_the_loss_of_the_smaller():
    """Smaller: minimum at age ln 64. Larger: there at age ln 8, between two evaluations; logits by hand."""
    luck = np.array([-0.1, 0.0, 0.1])
    found = matched(tables(study(luck)), **ASK)
    assert found.answerable
    assert found.value == pytest.approx((-3 + 0.8 * np.log(8)) - (-4 + 0.5 * np.log(64)), abs=1e-6)
    half = 4.302653 * 0.1 / np.sqrt(3)  # Student's t with 2 degrees of freedom
    assert (found.lo, found.hi) == pytest.approx((found.value - half, found.value + half), abs=1e-5)
    (row,) = found.rows
    assert row["images_seen_smaller"] == 64000 and row["images_seen_larger"] == pytest.approx(8000)
    assert row["holdout_loss"] == pytest.approx(1 - 0.05 * np.log(64)) and row["n_pairs"] == 3
    assert row["per_doubling"] == pytest.approx(found.value / 3)


def test_equal_models_differ_by_nothing_and_no_interval_is_zero_wide():
    rows = [row for seed in range(3) for p in (1000, 8000) for row in run(p, seed, slope=0.1, height=-3, growth=0.5)]
    found = matched(tables(rows), **ASK)
    assert not found.answerable and "agree to the last digit" in found.why
    assert all(row["value"] == 0 for row in found.rows)


def test_settings_and_seeds_are_never_mixed():
    """Another n_unique, and a seed of one size alone, make no pair."""
    rows = study(np.zeros(2)) + run(1000, 5, slope=0.1, height=0, growth=0)
    rows += run(8000, 0, 256, slope=0.1, height=5, growth=0)
    found = matched(tables(rows), **ASK)
    assert sum(row["n_pairs"] for row in found.rows) == 2 and all(row["value"] < 2 for row in found.rows)


def test_rotations_of_one_seed_are_pairs_of_their_own_in_one_setting():
    """Two seeds, each with two rotations, are four replicates: mean and interval of four seeds with the same luck."""
    luck = np.array([-0.1, 0.0, 0.1, 0.3])
    expected = matched(tables(study(luck)), **ASK)
    rotated = [row | {"seed": row["seed"] % 2, "rotate": row["seed"] // 2} for row in study(luck)]
    found = matched(tables(rotated), **ASK)
    assert (found.value, found.lo, found.hi) == pytest.approx((expected.value, expected.lo, expected.hi))
    assert len(found.rows) == 1 and found.rows[0]["n_pairs"] == 4 and "4 settings and seeds" in found.why


def test_without_memorized_samples_there_is_nothing_to_compare():
    rows = [row | {"n_memorized": 0} for row in study(np.zeros(2))]
    found = matched(tables(rows), **ASK)
    assert not found.answerable and "no sample of any run is memorized" in found.why


def test_one_size_is_not_answered():
    found = matched(tables(run(1000, 0, slope=0.1, height=0, growth=1)), **ASK)
    assert not found.answerable and "no two sizes" in found.why and found.value is None


def test_a_run_that_begins_below_the_loss_is_taken_only_within_2_se():
    t, y = np.array([10.0, 100.0]), np.array([1.0, 2.0])
    for first, there in ((0.9, None), (0.985, (10.0, 1.0))):
        found = state_at_loss(t, np.array([first, 0.5]), np.full(2, 0.01), y, 1.0)
        assert found == there


def test_coarse_evaluations_are_said():
    rows = [row for row in study(np.zeros(2)) if row["images_seen"] in (CLOCK[0], CLOCK[-1])]
    found = matched(tables(rows), **ASK)
    assert "64 times apart" in found.why


def test_lost_rows_are_said():
    rows = study(np.zeros(3))
    rows[0]["n_memorized"] = None
    rows += [{**row, "holdout_loss": None, "run_id": "blind", "seed": 9} for row in rows[:4]]
    why = matched(tables(rows), **ASK).why
    assert "1 run without a hold-out loss" in why and "1 evaluation without n_memorized" in why


def test_the_bootstrap_of_many_clusters_is_as_wide_as_theory():
    """400 independent clusters: half width 1.96 sd/sqrt(n)."""
    values = np.random.default_rng(0).normal(size=400)
    found = clustered_mean(values, np.arange(400), level=0.95, draws=4000, seed=1)
    assert found.hi - found.lo == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


@pytest.mark.parametrize(("clusters", "rows"), [(4, 1), (6, 5), (16, 3)])
def test_clustered_means_cover(clusters, rows):
    """500 samples with shared luck of sd 1 and own of sd .5: 95 % +- 1 % (one standard error)."""
    rng, hits = np.random.default_rng(clusters), 0
    label = np.repeat(np.arange(clusters), rows)
    for _ in range(500):
        values = rng.normal(size=clusters)[label] + 0.5 * rng.normal(size=len(label))
        found = clustered_mean(values, label, level=0.95, draws=300, seed=0)
        hits += found.lo <= 0 <= found.hi
    assert 0.92 <= hits / 500 <= 0.985
