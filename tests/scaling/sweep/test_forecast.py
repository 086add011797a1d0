from itertools import product

import numpy as np
import pytest

from scaling.config import build, put
from scaling.sweep.forecast import corrected, forecast, makespan


def configured(**keys):
    tree = {}
    for key, value in keys.items():
        tree = put(tree, key.replace("__", "."), value)
    return build(tree)


PILOT = [
    (64, 2, 85),
    (64, 8, 61),
    (64, 16, 42),
    (64, 32, 18),
    (64, 48, 9.5),
    (256, 4, 33),
    (256, 16, 12.7),
    (256, 32, 4.9),
]


@pytest.mark.parametrize(("batch", "width", "speed"), PILOT)
def test_speeds_of_the_pilot_are_met_within_a_quarter(batch, width, speed):
    """Oracle: steps/s of UNet2DModel (w, 2w) on digits 8x8, one thread, measured."""
    config = configured(train__batch_size=batch, model__width=width, train__images=1000 * batch, evaluate__measures=[])
    assert forecast(config).seconds == pytest.approx(1000 / speed, rel=0.25)


def test_numbers_of_a_cell():
    """Ladder of design.md: width 16 has 159,697 weights; a spectrum of 4 levels on 128 images has 32 x 15 copies."""
    keys = {"data__n_unique": 128, "data__duplication__design": "spectrum", "data__duplication__levels": 4}
    made = forecast(configured(**keys, train__images=1000, model__width=16))
    assert (made.params, made.n_unique, made.n_train, made.copies) == (159_697, 128, 480, 8)
    assert made.images == 1024  # whole batches of 64
    half = forecast(configured(**keys, data__fold__index=0, train__epochs=1))
    assert (half.n_unique, half.n_train, half.images) == (64, 240, 256)


def test_finished_runs_correct_the_forecast():
    """A replicate is its own answer; the others are scaled by the median ratio of what was measured."""
    configs = [configured(seed=s, model__width=w) for w in (4, 8, 16) for s in (0, 1)]
    made = [forecast(config) for config in configs]
    assert corrected(configs, made, {}) == [one.seconds for one in made]
    found = corrected(configs, made, {0: 100.0, 2: 3 * made[2].seconds})
    ratio = (100 / made[0].seconds + 3) / 2
    assert found[:4] == pytest.approx([100, 100, 3 * made[2].seconds, 3 * made[2].seconds])
    assert found[4:] == pytest.approx([made[4].seconds * ratio] * 2)


def test_makespan_of_equal_cells_is_rounds():
    assert makespan([], [2.0] * 7, 3) == 6.0
    assert makespan([], [], 3) == 0.0
    assert makespan([5.0], [1.0, 1.0], 2) == 5.0
    assert makespan([5.0, 4.0], [1.0], 1) == 5.0


def test_longest_first_is_within_four_thirds_of_the_best():
    """Graham 1969: longest processing time first is at most 4/3 - 1/(3m) of the optimum, here by brute force."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        seconds = rng.uniform(1, 10, 6)
        best = min(max(seconds[np.array(split) == k].sum() for k in range(2)) for split in product(range(2), repeat=6))
        assert best - 1e-9 <= makespan([], list(seconds), 2) <= best * (4 / 3 - 1 / 6) + 1e-9
