"""Which rows compare with a boundary: by data set, by content, by how a column was measured."""

import pandas
import pytest

from analysis.boundary.placeable import unlike_data, unlike_measures


def frame(**columns) -> pandas.DataFrame:
    return pandas.DataFrame({name: list(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("own", "model", "said"),
    [
        (["digits"], "digits", ""),
        (["digits"], "folder:photos", "its data set is folder:photos, that of the boundary digits"),
        (["digits"], None, "its data set is not named, that of the boundary digits"),
        ([None], "digits", "its data set is digits, that of the boundary not named"),
        ([None], None, ""),
        (["cifar10", "digits"], "digits", "the boundary is of several data sets (cifar10, digits)"),
    ],
)
def test_a_name_must_be_the_same_and_a_missing_one_is_its_own(own, model, said):
    (why,) = unlike_data(frame(dataset=own), frame(dataset=[model]))
    assert why.startswith(said) and bool(why) == bool(said)


@pytest.mark.parametrize(
    ("own", "model", "alike"), [("a", "a", True), ("a", "b", False), ("a", None, True), (None, "b", True)]
)
def test_content_must_be_the_same_where_both_know_it(own, model, alike):
    study, models = frame(dataset=["x"], data_sha256=[own]), frame(dataset=["x"], data_sha256=[model])
    (why,) = unlike_data(study, models)
    assert (why == "") == alike and (alike or "the name is the same" in why)


def test_a_table_without_the_columns_tells_nothing():
    assert unlike_data(frame(a=[1]), frame(dataset=["x"])) == unlike_data(frame(dataset=["x"]), frame(a=[1])) == [""]
    assert unlike_measures(frame(kid=[1.0]), frame(kid=[1.0], feature_space=["pixels"]), ["kid"]) == [""]


def test_kid_takes_the_same_features_and_the_frechet_distance_the_same_number_of_samples_too():
    study = frame(feature_space=["pixels", None], n_generated=[2048.0, 2048.0])
    models = frame(feature_space=["pixels", "inception", None], n_generated=[512, 2048, 2048])
    assert unlike_measures(study, models, ["memorized", "kid", "holdout_loss"]) == [
        "", "features of its kid: inception, of the boundary's: pixels", "",
    ]  # fmt: skip
    assert unlike_measures(study, models, ["frechet"]) == [
        "number of samples of its frechet: 512, of the boundary's: 2048",
        "features of its frechet: inception, of the boundary's: pixels", "",
    ]  # fmt: skip


def test_a_boundary_measured_in_two_ways_takes_nobody():
    (why,) = unlike_measures(frame(feature_space=["a", "b"]), frame(feature_space=["a"]), ["kid"])
    assert why == "kid of the boundary has several features (a, b): keep one"
