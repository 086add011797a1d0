"""Which cells are one design."""

import json

import pandas
import pytest

from analysis.replicates import REPLICATE_KEYS, design_cells, without


def test_keys_are_taken_out_with_all_below_them_and_nothing_else():
    config = {"seed": 3, "data": {"draw": 1, "fold": {"index": 0, "of": 2}, "duplication": {"rotate": 2, "copies": 4}},
              "model": {"seed": 5}}  # fmt: skip
    assert without(config, REPLICATE_KEYS) == {"data": {"duplication": {"copies": 4}}, "model": {"seed": 5}}
    assert config["data"]["fold"] == {"index": 0, "of": 2}  # the argument stays as it was
    assert without({"data": None}, REPLICATE_KEYS) == {"data": None}


def rows(*cells: tuple) -> pandas.DataFrame:
    names = ("run_id", "cell_id", "params", "n_unique", "n_train", "copies", "config")
    return pandas.DataFrame(cells, columns=names)


def rotated(by: int | None, width: int = 8) -> str:
    return json.dumps({"seed": 0, "model": {"width": width}, "data": {"duplication": {"rotate": by}}})


def test_cells_that_differ_in_rotation_only_are_one():
    found = design_cells(rows(
        ("r1", "b", 100, 64, 128, 4, rotated(0)), ("r2", "a", 100, 64, 128, 4, rotated(2)),
        ("r3", "c", 100, 64, 128, 4, rotated(0, width=16)),  # another model
        ("r4", "d", 900, 64, 128, 4, rotated(0)),  # another size, whatever the configuration says
    ))  # fmt: skip
    assert found.tolist() == ["a", "a", "c", "d"]


@pytest.mark.parametrize("config", [None, rotated(0)])
def test_what_is_not_known_is_told_apart(config):
    found = design_cells(rows(
        ("r1", None, 100, 64, 128, 4, config), ("r2", None, 100, 64, 128, 4, config),
        ("r3", "c", 100, 64, 128, 4, None), ("r4", "d", 100, 64, 128, 4, None),
    ))  # fmt: skip
    assert found.tolist() == ["r1", "r2", "c", "d"]
