"""Crosses on a boundary whose place is known by hand."""

import numpy as np

from analysis.pictures.placed_figures import placed_figures
from analysis.placed_models import placed_models
from tests.analysis.pictures.test_boundary_figures import SIZE, rows
from tests.analysis.plain_study import tables


def holdout(study, place):
    (found,) = placed_figures(placed_models(study, place, 0.95), SIZE, 0.95)
    assert found.name == "boundary_placed_holdout"
    return found


def test_models_from_elsewhere_are_placed_as_known_by_hand():
    """On a (1, .8), b (2, .2), c (5, .1): (3, .15) is dominated by none; (4, .3) by b alone, .1 of .7 away in rate.

    So far as the data are exact: of the two ways to the boundary, 2 of a range of 4 or .1 of .8, the second is less.
    """
    found = holdout(tables(rows()), tables(rows({"inside": (3.0, 0.15), "behind": (4.0, 0.3)})))
    crosses = [line.get_xydata()[0] for line in found.figure.axes[0].lines if line.get_marker() == "P"]
    np.testing.assert_allclose(crosses, [(3, 0.15), (4, 0.3)])
    (arrow,) = [text for text in found.figure.axes[0].texts if text.arrow_patch is not None]
    np.testing.assert_allclose((*arrow.xyann, *arrow.xy), (4, 0.3, 4, 0.2), rtol=1e-3)
    inside, behind = (mark for mark in found.marks if "placed model" in mark.said)
    assert "on the boundary with probability 0.00; on it if its rate fell by 0.1" in behind.said
    assert "probability 1.00" in inside.said and "fell by" not in inside.said
    assert "placed model behind0" in found.caption and "compare on the same data" in found.caption
    assert (inside.link, behind.link) == ("placed-holdout_loss-0", "placed-holdout_loss-1")


def test_a_placed_model_has_its_intervals_or_says_that_it_has_none():
    """Hold-out loss 3 with a standard error of .1; 15 of 100: Wilson's interval is .0931 to .2328 (R's prop.test)."""
    guest = rows({"e": (3.0, 0.15)}, se=0.1, n=100)
    for row, loss in ((guest[0], "3 (2.804 to 3.196)"), (guest[0] | {"holdout_loss_se": None}, "3 (its error is not")):
        found = holdout(tables(rows()), tables([row]))
        assert f"hold-out loss {loss}" in found.caption and "rate 15 % (9.31 to 23.3 %)" in found.caption


def test_the_placed_are_judged_by_samples_also_where_the_study_has_chains():
    """An audit of samples has no chains: the study is then read by its memorized samples too."""
    strata = [{"run_id": row["run_id"], "images_seen": 1000, "copies": 8, "n_basin": 10, "n_basin_recovered": 5}
              for row in rows()]  # fmt: skip
    found = holdout(tables(rows(), strata=strata), tables(rows({"e": (3.0, 0.15)})))
    assert found.figure.axes[0].get_ylabel().startswith("memorized share of samples")
