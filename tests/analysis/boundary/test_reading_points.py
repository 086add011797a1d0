"""Which evaluation speaks for a run."""

import numpy as np
import pandas
import pytest

from analysis.boundary.reading_points import at_holdout_minimum, at_images_seen
from analysis.columns import TableError

LOSSES = {"turned": [9.0, 3, 2, 4], "falling": [9.0, 3, 2, 1], "gap": [9.0, np.nan, 5, 6], "none": [np.nan] * 4}


def study(order=slice(None)) -> pandas.DataFrame:
    rows = [
        {"run_id": run, "images_seen": seen, "holdout_loss": loss, "batch_size": 64}
        for run, losses in LOSSES.items()
        for seen, loss in zip((0, 100, 200, 300), losses, strict=True)
    ]
    return pandas.DataFrame(rows)[order]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_minimum_of_each_run_and_whether_it_lies_inside(order):
    found = at_holdout_minimum(study(order)).set_index("run_id")
    assert found["images_seen"].to_dict() == {"turned": 200, "falling": 300, "gap": 200}  # "none" has no such row
    assert found["holdout_min_inside"].to_dict() == {"turned": True, "falling": False, "gap": True}


def test_the_untrained_network_is_no_minimum():
    """A run whose loss only rises is read at its first evaluation after an image; a minimum there is inside."""
    rising = pandas.DataFrame({"run_id": "r", "images_seen": [0, 10, 20], "holdout_loss": [1.0, 2, 3]})
    found = at_holdout_minimum(rising)
    assert found["images_seen"].tolist() == [10] and found["holdout_min_inside"].tolist() == [True]
    only = at_holdout_minimum(rising[:2])
    assert only["holdout_min_inside"].tolist() == [False]


def test_row_numbers_are_kept():
    assert at_holdout_minimum(study()).index.tolist() == [2, 7, 10]
    assert at_images_seen(study(), 200).index.tolist() == [2, 6, 10, 14]


def test_a_point_is_rounded_up_to_a_whole_batch():
    """Asked for 1000: batches of 64 evaluate at 1024, of 100 at 1000; 1088 is another point."""
    frame = pandas.DataFrame(
        {"run_id": ["a", "a", "b", "c"], "images_seen": [1024, 1088, 1000, 1088], "batch_size": [64, 64, 100, 64]}
    )
    found = at_images_seen(frame, 1000)
    assert found[["run_id", "images_seen"]].to_numpy().tolist() == [["a", 1024], ["b", 1000]]
    assert at_images_seen(frame.drop(columns="batch_size"), 1000)["run_id"].tolist() == ["b"]


def test_where_no_run_can_be_read_it_says_so():
    with pytest.raises(TableError, match="images_seen=150; the nearest are 0, 100, 200"):
        at_images_seen(study().drop(columns="batch_size"), 150)
    with pytest.raises(TableError, match="no run has a holdout_loss"):
        at_holdout_minimum(study().assign(holdout_loss=np.nan))
    with pytest.raises(TableError, match="did you mean run_id"):
        at_images_seen(study().rename(columns={"run_id": "run_ids"}).assign(run_idd=1), 100)
