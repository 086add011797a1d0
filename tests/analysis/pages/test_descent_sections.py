"""Which curves the report judges: runs are pooled only where nothing but the axis and the seed differs."""

import json

import numpy as np

from analysis.descent_curves import descent_curves
from analysis.pages.descent_sections import descent_table
from tests.analysis.plain_study import tables

SIZES = 1000.0 * 2 ** np.arange(8)
PEAKED = np.array([1.6, 1.0, 0.7, 1.0, 1.5, 1.0, 0.6, 0.5])
FALLING = np.array([1.6, 1.3, 1.1, 0.9, 0.8, 0.7, 0.6, 0.5])


def runs(curve: np.ndarray, seed: int, **model) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {"run_id": f"{model}{k}{seed}", "images_seen": 1000, "params": params, "seed": seed, "n_unique": 64,
         "holdout_loss": loss + 0.01 * rng.standard_normal(),
         "config": json.dumps({"seed": seed, "model": {"width": k, **model}, "data": {"draw": seed}})}
        for k, (params, loss) in enumerate(zip(SIZES, curve, strict=True))
    ]  # fmt: skip


def test_a_planted_double_descent_is_present_and_a_fall_is_not():
    for curve, present in ((PEAKED, True), (FALLING, False)):
        rows = [row for seed in range(4) for row in runs(curve, seed)]
        _, (found,), _ = descent_table(descent_curves(tables(rows).evals, 0.95, 0))
        assert (found["axis"], found["n_x"], found["n_replicates"]) == ("params", 8, 4)
        assert (found["verdict"] == "present") == present


def test_another_topology_is_no_replicate():
    """With attention the curve falls, without it peaks: two curves of four runs each, one of them a double descent."""
    rows = [row for seed in range(4) for row in (*runs(PEAKED, seed), *runs(FALLING, seed, attention=True))]
    _, found, _ = descent_table(descent_curves(tables(rows).evals, 0.95, 0))
    assert [(curve["n_replicates"], curve["verdict"] == "present") for curve in found] == [(4, True), (4, False)]


def test_a_rotation_and_a_draw_are_replicates():
    """Two rotations of two seeds, and two draws, are four replicates of one curve, as four seeds are."""
    seeds = [row for seed in range(4) for row in runs(PEAKED, seed)]
    (expected,) = descent_curves(tables(seeds).evals, 0.95, 0)
    for data in ([{"duplication": {"rotate": k // 2}} for k in range(4)], [{"draw": k // 2} for k in range(4)]):
        rows = [row | {"config": json.dumps(json.loads(row["config"]) | {"data": data[row["seed"]]})} for row in seeds]
        (found,) = descent_curves(tables(rows).evals, 0.95, 0)
        assert found.verdict == expected.verdict and found.verdict["n_replicates"] == 4


def test_too_few_sizes_are_said():
    _, found, missing = descent_table(descent_curves(tables(runs(FALLING, 0)[:2]).evals, 0.95, 0))
    assert found == [] and "it takes 3 sizes" in missing[0]


def test_curves_stand_in_order_of_axis_data_and_size():
    """Rows come in the order of hashes; a reader looks for the smallest first."""
    rows = [
        {"run_id": f"{p}{n}{t}", "images_seen": t, "params": p, "n_unique": n, "holdout_loss": 1.0}
        for p in (16000, 1000, 4000) for n in (256, 64) for t in (3000, 1000, 2000)
    ]  # fmt: skip
    rows = [row | {"run_id": f"{row['params']}-{row['n_unique']}"} for row in rows]
    found = [(curve.axis, curve.setting) for curve in descent_curves(tables(rows).evals, 0.95, 0)]
    assert found == [("params", f"n_unique {n}") for n in (64, 256)] + [
        ("images_seen", f"n_unique {n}, params {p}\u202f000") for n in (64, 256) for p in (1, 4, 16)
    ]
