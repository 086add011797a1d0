"""Galleries: the images that rank first by a loop over runs, and samples sorted into copies and new ones."""

import numpy as np
import pandas
import pytest

from analysis.pictures.image_figures import ACROSS, images, pictures_of_runs
from analysis.table import Tables, validated
from scaling import schema

RUN = {"images_seen": 1000, "params": 1000, "n_unique": 12, "n_train": 12, "n_generated": 64}
COUNT = 12
PIXELS = {f"image{k}": np.full((1, 4, 4), 10 * k, np.uint8) for k in range(COUNT)}


def rows(run: str, **columns) -> list[dict]:
    every = {"in_training": [True] * COUNT, "copies": [1] * COUNT, **columns}
    return [
        RUN | {"run_id": run, "image_id": f"image{k}", "role": "train"} | {name: v[k] for name, v in every.items()}
        for k in range(COUNT)
    ]


def tables(image_rows=(), gallery=None, pixels=PIXELS, runs=("a", "b"), **evals) -> Tables:
    own = {"images": list(image_rows), "evals": [RUN | {"run_id": run} | evals for run in runs]}
    frames = {name: validated(pandas.DataFrame(own.get(name, [])), name, where=name)[0] for name in schema.TABLES}
    return Tables(**frames, gallery=gallery or {}, pixels=pixels)


def named(found, name: str):
    return next(figure for figure in found if figure.name == name)


HITS = {"a": [0, 5, 1, 0, 2, 0, 0, 9, 0, 0, 0, 4], "b": [3, 5, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0]}


def test_images_stand_in_the_order_of_their_hits_over_runs():
    more = [row for run, hits in HITS.items() for row in rows(run, n_hits=hits, copies=[1 + (run == "b")] * COUNT)]
    (found,) = images(tables(more), None, {}, 0.95)
    total = np.add(HITS["a"], HITS["b"])
    order = [k for k in sorted(range(COUNT), key=lambda k: (-total[k], f"image{k}")) if total[k] > 0][:ACROSS]
    shown = [axes for axes in found.figure.axes if axes.images]
    assert [int(axes.images[0].get_array()[0, 0]) for axes in shown] == [10 * k for k in order]
    assert [axes.get_xlabel() for axes in shown] == [f"×1–2\n{total[k]} hits\nn 2" for k in order]
    for mark, k in zip(found.marks, order, strict=True):
        assert f"image image{k}: {total[k]} hits (sum over runs)" in mark.said and mark.runs == ("a", "b")
        assert (mark.x, mark.y) == (1.5, 1.5)


def test_the_smallest_ratio_and_the_largest_leverage_come_first():
    ratio = [0.5, 0.1, np.nan, 0.9] + [1.0] * 8
    leverage = [0.1, 0.2, 0.9, 0.3] + [0.01] * 8
    (found,) = images(tables(rows("a", best_ratio=ratio, leverage=leverage)), None, {}, 0.95)
    first = found.data.groupby("ranking", sort=False).head(1)
    assert dict(zip(first["ranking"], first["image_id"], strict=True)) == {"best_ratio": "image1", "leverage": "image2"}
    assert "ratio 0.1" in found.alt and "leverage 0.9" in found.alt


def test_held_out_images_and_images_without_pixels_are_not_shown():
    some = rows("a", n_hits=[9] * COUNT, in_training=[False] * 6 + [True] * 6)
    (found,) = images(tables(some, pixels={k: v for k, v in PIXELS.items() if k != "image7"}), None, {}, 0.95)
    assert sorted(found.data["image_id"]) == ["image10", "image11", "image6", "image8", "image9"]


def strip(ratio, start: int = 0) -> dict[str, np.ndarray]:
    nearest = np.stack([np.full((1, 4, 4), start + k, np.uint8) for k in range(len(ratio))])
    return dict(
        zip(schema.GALLERY, (nearest + 100, nearest, np.array(ratio, np.float32), np.arange(len(ratio))), strict=True)
    )


def test_samples_below_a_third_are_copies_and_the_others_new():
    gallery = {"a": strip([0.9, 0.2, 0.34, 0.05]), "b": strip([0.33, 0.95], start=50)}
    (found,) = images(tables(gallery=gallery, n_memorized=16, n_flagged=5, n_spurious=2), None, {}, 0.95)
    by_kind = {kind: part["gap_ratio"].round(2).tolist() for kind, part in found.data.groupby("kind")}
    assert by_kind == {"copy": [0.05, 0.2, 0.33], "new": [0.95, 0.9, 0.34]}
    first = found.figure.axes[0]
    assert first.get_ylabel() == "copy:\nsample" and first.images[0].get_array()[0, 0] == 103  # the sample of ratio .05
    assert [mark.runs for mark in found.marks] == [("a",), ("a",), ("b",), ("b",), ("a",), ("a",)]
    assert "25 % are copies" in found.caption and "Of 10 groups of recurring samples 4 are spurious" in found.caption


def test_no_run_fills_a_strip_while_others_have_pictures():
    gallery = {"a": strip([0.01] * 10), "b": strip([0.2] * 10, start=50), "c": strip([0.3] * 10, start=80)}
    (found,) = images(tables(gallery=gallery, runs="abc"), None, {}, 0.95)
    assert found.data["runs"].value_counts().to_dict() == {"a": 4, "b": 2, "c": 2}  # two of each, then the smallest
    assert len(found.data) == ACROSS and found.data["gap_ratio"].is_monotonic_increasing


def test_runs_of_another_picture_size_are_left_out():
    large = {name: np.repeat(array, 2, axis=-1) if array.ndim == 4 else array for name, array in strip([0.1]).items()}
    found = pictures_of_runs({"a": strip([0.5, 0.6]), "b": large, "c": {}}, schema.GALLERY)
    assert found["run"].tolist() == ["a", "a"]


@pytest.mark.parametrize("some", [tables(), tables(rows("a", n_hits=[0] * COUNT), pixels={})])
def test_nothing_kept_or_nothing_memorized_is_said(some):
    said = images(some, None, {}, 0.95)
    assert "No pictures of memorized images" in said and "kept no samples" in said
