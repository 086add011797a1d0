"""The rows of the trained pair on records made by hand; slow: the pair itself, each judged by the other's rows too."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scaling.selfcheck.trained_pair import LONG, LONG_ROWS, SHORT, SHORT_ROWS, Run, checks, configuration

UNTRAINED = {"n_memorized": 0, "holdout_loss": 1.18}
LONG_RECORD = {
    "n_memorized": 75, "n_null_memorized": 0, "n_basin": 256, "n_basin_recovered": 145, "n_null_basin": 256,
    "n_null_basin_recovered": 1, "seen_loss": 0.168, "seen_loss_se": 0.004, "holdout_loss": 0.913,
    "holdout_loss_se": 0.013,
}  # fmt: skip
SHORT_RECORD = {
    "n_memorized": 0, "n_null_memorized": 0, "n_basin": 256, "n_basin_recovered": 0, "n_null_basin": 256,
    "n_null_basin_recovered": 0, "seen_loss": 0.4655, "seen_loss_se": 0.0013, "holdout_loss": 0.4693,
    "holdout_loss_se": 0.0033,
}  # fmt: skip
RECORDS = dict.fromkeys(LONG_ROWS, LONG_RECORD) | dict.fromkeys(SHORT_ROWS, SHORT_RECORD)
NULLS = LONG_ROWS[1]


def verdict(row, last: dict, first: dict = UNTRAINED) -> bool:
    made = row.check("", SimpleNamespace(evals=(first, last)))
    assert "Error" not in str(made.gave)
    return made.ok


@pytest.mark.parametrize("row", RECORDS, ids=lambda row: row.instrument)
def test_each_row_accepts_its_run_and_refuses_the_other(row):
    """A network that memorized must miss what is asked of one that did not, and the other way round."""
    assert verdict(row, RECORDS[row])
    if row is not NULLS:
        assert not verdict(row, SHORT_RECORD if row in LONG_ROWS else LONG_RECORD)


def test_nulls_that_are_memorized_are_a_miss():
    """Before training, or among held-out images: then the criterion counts what is no copy."""
    assert not verdict(NULLS, LONG_RECORD | {"n_null_memorized": 30})
    assert not verdict(NULLS, LONG_RECORD, UNTRAINED | {"n_memorized": 30})
    for row in (LONG_ROWS[2], SHORT_ROWS[1]):
        assert not verdict(row, RECORDS[row] | {"n_null_basin_recovered": 100})


def test_an_empty_column_is_a_miss_and_no_number():
    made = SHORT_ROWS[0].check("", SimpleNamespace(evals=(UNTRAINED, SHORT_RECORD | {"n_memorized": None})))
    assert not made.ok and "TypeError" in made.gave


def test_both_runs_are_measured_only_at_their_ends():
    from scaling.training.points import evaluation_steps

    for cell in (LONG, SHORT):
        config = configuration(**cell, out=Path("out"), device="cpu")
        assert evaluation_steps(config.evaluate, config.train, cell["n_unique"]) == [0, cell["steps"]]
        assert config.runtime.out == "out" and config.runtime.device == "cpu" and not config.runtime.progress


@pytest.mark.slow
def test_a_run_is_trained_through_the_store_once(tmp_path: Path):
    """Ten steps on the real path: the columns that the rows read are there, and the second look trains nothing."""
    run = Run(configuration(n_unique=64, steps=10, out=tmp_path, device="cpu"))
    first, last = run.evals
    assert (first["images_seen"], last["images_seen"]) == (0, 640)
    assert set(LONG_RECORD) <= set(last) and last["n_generated"] == 256 and last["params"] == 40_489
    assert run.evals[1] is last


@pytest.mark.slow
def test_the_pair():
    """measures.md, section 7: 74 of 256 memorized at width 8, lr 2e-3, n 64, 1,600 steps."""
    made = list(checks(torch.device("cpu")))
    assert [check.instrument for check in made] == [row.instrument for row in (*LONG_ROWS, *SHORT_ROWS)]
    assert all(check.ok for check in made), [check for check in made if not check.ok]
