"""Placing models on a study: which stand on its boundaries, and in words which do not and why."""

import pytest

from analysis.columns import TableError
from analysis.placed_models import check_placeable, placed_models
from tests.analysis.pictures.test_boundary_figures import rows
from tests.analysis.plain_study import tables

DIGITS, PIXELS = {"dataset": "digits", "data_sha256": "ab"}, {"kid": 0.5, "kid_se": 0.01, "feature_space": "pixels"}


def study(**changed):
    return tables(rows(**DIGITS | PIXELS | changed))


def guest(name: str = "e", **changed) -> dict:
    return rows({name: (3.0, 0.15)}, **DIGITS | PIXELS | changed)[0]


def test_a_model_measured_alike_on_the_same_data_stands_on_both_boundaries():
    found = placed_models(study(), tables([guest()]), 0.95)
    assert [one.column for one in found.placements] == ["holdout_loss", "kid"] and found.said == []
    assert list(found.of_data["run_id"]) == ["e0"]


def test_kid_in_other_features_is_not_placed_and_the_hold_out_loss_still_is():
    found = placed_models(study(), tables([guest(feature_space="efficientnet_lite0")]), 0.95)
    assert [one.column for one in found.placements] == ["holdout_loss"]
    (said,) = found.said
    assert said == "Model e0 is not placed by KID: features of its kid: efficientnet_lite0, of the boundary's: pixels."


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dataset": "folder:photos"}, "its data set is folder:photos, that of the boundary digits"),
        ({"data_sha256": "cd"}, "its images are not the boundary's, though the name is the same (content cd, not ab)"),
    ],
)
def test_models_of_other_data_are_on_no_boundary(changed, said):
    found = placed_models(study(), tables([guest(), guest("other", **changed)]), 0.95)
    assert [list(one.models["run_id"]) for one in found.placements] == [["e0"], ["e0"]]
    assert found.said == [f"Model other0 is not placed: {said}."]


def test_where_nothing_is_left_one_line_says_why():
    photos, digits = guest("a", dataset="folder:photos"), guest("b", dataset="digits", holdout_loss=None)
    check_placeable([study(dataset="cifar10"), study()], tables([digits]))  # one of two data sets has its model
    with pytest.raises(TableError, match=r"no model can be placed. Model a0 is not placed: its data set") as found:
        check_placeable([study(dataset="cifar10"), study()], tables([photos]))
    assert "\n" not in str(found.value)
    with pytest.raises(TableError, match=r"by hold-out loss: its tables lack.* by KID: features of its kid"):
        check_placeable([study()], tables([digits | {"feature_space": "inception"}]))


def test_a_study_too_small_for_a_boundary_is_said_and_no_mistake_of_the_model():
    one_run = tables(rows(**DIGITS | PIXELS)[:1])
    check_placeable([one_run], tables([guest()]))
    found = placed_models(one_run, tables([guest()]), 0.95)
    assert found.placements == [] and [said[:32] for said in found.said] == [
        "No model is placed by hold-out l", "No model is placed by KID: it ta",
    ]  # fmt: skip


def test_many_models_refused_for_one_reason_are_one_sentence():
    others = [guest(f"m{k}", dataset="other") for k in range(5)]
    (said,) = placed_models(study(), tables([guest(), *others]), 0.95).said
    assert said.startswith("Model m00, m10, m20 and 2 more, each is not placed: its data set is other")
