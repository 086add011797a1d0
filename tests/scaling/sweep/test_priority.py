"""The order of a budget: known optimal designs, brute force, and what a study's slope gains from it."""

from itertools import combinations

import numpy as np
import pytest

from scaling.config import build
from scaling.sweep.priority import Design, affordable, design, information, order


def grid(widths=(8,), uniques=(256,), seeds=(0,), **more):
    return [
        build({"seed": seed, "model": {"width": width}, "data": {"n_unique": unique}, **more})
        for width in widths
        for unique in uniques
        for seed in seeds
    ]


def line(count):
    """A straight line in one number of `count` levels."""
    z = np.linspace(-1, 1, count)
    return Design(np.column_stack([np.ones(count), z]), np.full(2, 1e-3), np.arange(count))


EQUAL = np.ones(100)


def test_a_line_is_told_by_its_ends_and_a_bend_by_the_middle():
    """Textbook D-optimal designs: {-1, 1}, then {-1, 0, 1} with a square."""
    assert set(order(line(9), EQUAL[:9])[:2]) == {0, 8}
    z = np.linspace(-1, 1, 9)
    bent = Design(np.column_stack([np.ones(9), z, z**2]), np.full(3, 1e-3), np.arange(9))
    assert set(order(bent, EQUAL[:9])[:3]) == {0, 4, 8}


def test_a_grid_is_told_by_its_corners():
    configs = grid((4, 8, 16), (64, 128, 256))
    found = order(design(configs), EQUAL[:9])
    assert {(configs[at].model.width, configs[at].data.n_unique) for at in found[:4]} == {
        (4, 64), (4, 256), (16, 64), (16, 256),
    }  # fmt: skip


@pytest.mark.parametrize(("made", "count"), [(line(7), 2), (line(7), 4), (design(grid((4, 8, 16), (64, 256))), 4)])
def test_small_designs_are_those_of_brute_force(made, count):
    every = combinations(range(len(made.x)), count)
    best = max(information(made, rows) for rows in every)
    assert information(made, order(made, EQUAL[: len(made.x)])[:count]) == pytest.approx(best)


def test_greedy_is_near_the_best_in_hours_too():
    """Unequal costs, every subset within the budget: the promise is (1 - 1/e)/2 of the gain, here it is far better."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        x = np.column_stack([np.ones(9), rng.uniform(-1, 1, (9, 2))])
        made, seconds = Design(x, np.full(3, 0.1), np.arange(9)), rng.uniform(1, 20, 9)
        budget = seconds.sum() / 2
        subsets = [s for k in range(10) for s in combinations(range(9), k) if seconds[list(s)].sum() <= budget]
        empty, best = information(made, ()), max(information(made, s) for s in subsets)
        got = information(made, affordable(order(made, seconds, budget=budget), seconds, budget))
        assert (got - empty) / (best - empty) > 0.85


def test_many_cheap_cells_beat_one_and_one_beats_a_cheap_one_that_is_in_its_way():
    """Where either greedy order alone fails: by gain alone the first, by gain per second alone the second."""
    x = np.column_stack([np.ones(7), [0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 1.0]])
    made, seconds = Design(x, np.full(2, 0.1), np.arange(7)), np.array([1.0] * 6 + [6.0])
    assert set(affordable(order(made, seconds, budget=6), seconds, 6)) == set(range(6))
    x = np.array([[0.1, 0.0], [1.0, 1.0]])
    made, seconds = Design(x, np.full(2, 0.1), np.arange(2)), np.array([0.1, 10.0])
    assert affordable(order(made, seconds, budget=10), seconds, 10) == [1]


def test_every_further_cell_adds_information():
    made = design(grid((4, 8, 16, 32), (64, 128), (0, 1)))
    found = order(made, np.random.default_rng(1).uniform(1, 9, 16), done=[3])
    assert sorted([*found, 3]) == list(range(16))
    steps = np.diff([information(made, [3, *found[:k]]) for k in range(16)])
    assert (steps > 0).all()


def test_further_seeds_of_equal_cost_come_after_all_distinct_cells():
    configs = grid((4, 8), (64, 128), (0, 1, 2))
    found = order(design(configs), EQUAL[: len(configs)])
    rounds = [{(configs[at].model.width, configs[at].data.n_unique) for at in found[k : k + 4]} for k in (0, 4, 8)]
    assert rounds == [{(4, 64), (4, 128), (8, 64), (8, 128)}] * 3
    assert [configs[at].seed for at in found[:4]] == [0] * 4


def test_what_is_done_counts():
    """With both ends of a bend done the middle is next, not their neighbours; nor more seeds of the ends of a line."""
    z = np.linspace(-1, 1, 9)
    bent = Design(np.column_stack([np.ones(9), z, z**2]), np.full(3, 1e-3), np.arange(9))
    assert order(bent, EQUAL[:9], done=[0, 8])[0] == 4
    twice = Design(np.repeat(line(5).x, 2, axis=0), line(5).prior, np.repeat(np.arange(5), 2))
    assert order(twice, EQUAL[:10], done=[0, 8])[0] in (2, 6)
    configs = grid((4, 8), (64,), (0, 1))  # width 4 is done with both seeds
    assert [configs[at].model.width for at in order(design(configs), EQUAL[:4], done=[0, 1])] == [8, 8]


def test_axes_are_what_varies():
    """Logs of numbers, indicators of names; two keys that vary together are one axis; a nuisance is none."""
    made = design(grid((2, 8, 32)))
    assert made.x == pytest.approx(np.array([[1, -1, 1], [1, 0, 0], [1, 1, 1]]))
    families = [
        build({"model": {"family": family, "width": width}, "data": {"draw": draw}})
        for family, width in (("unet", 4), ("mlp", 16), ("dit", 32))
        for draw in (0, 1)
    ]
    made = design(families)
    assert made.x.shape == (6, 3) and made.cell[0] == made.cell[1] and len(set(made.cell)) == 3
    one = design(grid(seeds=(0, 1)))
    assert one.x.shape == (2, 1) and order(one, EQUAL[:2]) == [0, 1]


def slope_ses(configs, own):
    """Standard errors of y's slopes on ln width and ln n_unique: closed form of generalised least squares.

    Unit noise a run, sd `own` a cell; infinite where the runs tell no slope.
    """
    points = [(np.log(c.model.width), np.log(c.data.n_unique)) for c in configs]
    cells, counts = np.unique(points, axis=0, return_counts=True)
    x = np.column_stack([np.ones(len(cells)), cells])
    told = (x.T / (own**2 + 1 / counts)) @ x
    return np.sqrt(np.diag(np.linalg.inv(told)))[1:] if np.linalg.matrix_rank(told) == 3 else np.full(2, np.inf)


@pytest.mark.parametrize("own", [0.0, 1.0])
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_half_the_time_resolves_the_slopes_better_than_other_orders(power, own):
    """A grid as in sweeps/, data outermost, seeds innermost, cost a power of the width; within half of its time."""
    configs = grid((2, 4, 8, 16, 24, 32), (64, 128, 256, 512), (0, 1, 2))
    configs.sort(key=lambda c: (c.data.n_unique, c.model.width, c.seed))
    seconds = np.array([c.model.width**power for c in configs])
    budget = seconds.sum() / 2
    orders = {
        "ours": order(design(configs), seconds, budget=budget),
        "file": list(range(len(configs))),
        "longest": np.argsort(-seconds, kind="stable").tolist(),
    }
    found = {
        name: max(slope_ses([configs[at] for at in affordable(one, seconds, budget)], own))
        for name, one in orders.items()
    }
    assert found["ours"] < 0.8 * min(found["file"], found["longest"])


def test_cells_beyond_those_weighed_follow_in_the_order_of_the_file(monkeypatch):
    monkeypatch.setattr("scaling.sweep.priority.CHOSEN", 3)
    found = order(line(9), EQUAL[:9])
    assert found[3:] == sorted(found[3:]) and sorted(found) == list(range(9))
