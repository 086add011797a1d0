"""Which run is repeated, on made-up tables."""

import json

import pytest

from scaling.reproduce.choice import choose, named
from scaling.store_errors import StoreError


def rows(run: str, cell: str, seed: int, flops: float, memorized: int, basin: int = 0, at: int = 64, rotate: int = 0):
    """An untrained evaluation and the last one."""
    config = {"seed": seed, "data": {"fold": {}, "draw": None, "duplication": {"rotate": rotate}}, "width": flops}
    last = dict(run_id=run, cell_id=cell, seed=seed, images_seen=at, train_flops=flops, config=json.dumps(config))
    last |= dict(n_memorized=memorized, n_generated=100, n_basin_recovered=basin, n_basin=100, wall_seconds=2.0)
    return [{**last, "images_seen": 0, "train_flops": 0.0, "n_memorized": 0}, last]


def cell(name: str, flops: float, *memorized: int, **further: int):
    return {f"{name}{s}": rows(f"{name}{s}", name, s, flops, m, **further) for s, m in enumerate(memorized)}


def test_the_cheapest_informative_cell_with_replicates():
    """a is cheaper and memorizes nothing, b still cheaper has two seeds, d is dearer; c's lowest seed is taken."""
    runs = {**cell("a", 1, 0, 0, 3), **cell("b", 0.5, 50, 50), **cell("c", 2, 30, 3, 20), **cell("d", 3, 50, 50, 50)}
    found = choose(runs)
    assert (found.run, found.others, found.cells) == ("c0", ("c1", "c2"), (("a0", "a1", "a2"), ("d0", "d1", "d2")))
    assert found.why == (
        "the cheapest of 6 runs in 2 cells of 3 replicates or more where some is memorized and not all; "
        "2 FLOP, 2 s when it was committed, n_memorized/n_generated 0.177, n_basin_recovered/n_basin 0.000, "
        "3 replicates"
    )


def test_chains_that_come_back_inform_too_and_a_full_copier_does_not():
    runs = {**cell("a", 1, 99, 98, 97), **cell("b", 2, 0, 0, 0, basin=40)}
    assert choose(runs).run == "b0"


def test_of_equal_cost_the_cell_nearest_to_one_half():
    assert choose({**cell("a", 1, 10, 10, 10), **cell("b", 1, 40, 40, 40)}).run == "b0"


def test_without_an_informative_cell_any_with_replicates():
    found = choose({**cell("a", 2, 0, 0, 0), **cell("b", 1, 0, 0, 0)})
    assert found.run == "b0" and "(in none is some memorized and not all)" in found.why


def test_a_run_that_ended_elsewhere_is_no_replicate():
    runs = {**cell("a", 1, 50, 50), "a2": rows("a2", "a", 2, 1, 50, at=32), **cell("b", 2, 50, 50, 50)}
    assert choose(runs).run == "b0"


def test_rotations_of_one_setting_stand_in_for_replicates():
    runs = {f"{name}0": rows(f"{name}0", name, 0, 1, 50, rotate=at) for at, name in enumerate("abc")}
    found = choose(runs)
    assert found.run == "a0" and found.others == ("b0", "c0")
    assert found.why.endswith("3 replicates, other draws or rotations among them")


def test_without_replicates_nothing_is_chosen():
    runs = {**cell("a", 1, 50, 50), **cell("b", 2, 50, 50)}
    with pytest.raises(StoreError, match=r"no cell has 3 runs .* no spread to measure a tolerance from"):
        choose(runs)
    with pytest.raises(StoreError, match=r"--run a0: has 1 replicate\(s\)"):
        named(runs, "a0")


def test_the_run_asked_for():
    runs = {**cell("a", 1, 50, 50, 50), **cell("b", 2, 0, 0, 0)}
    found = named(runs, "b1")
    assert (found.others, found.cells) == (("b0", "b2"), (("a0", "a1", "a2"),))
    assert found.why.startswith("asked for; 2 FLOP")
    with pytest.raises(StoreError, match="--run x: the table has no such run, but 6 others"):
        named(runs, "x")
