"""Pictures of spurious groups: the largest first, of unlike runs; and in words why there are none."""

import numpy as np
import pytest

from analysis.pictures.image_figures import ACROSS
from analysis.pictures.spurious_figures import spurious
from analysis.table import load
from scaling import schema
from tests.analysis.pictures.drawn_study import write_drawn
from tests.analysis.pictures.test_image_figures import tables


def groups(sizes, start: int = 0) -> dict[str, np.ndarray]:
    """A run's groups of these sizes: sample start + k + 100 beside image start + k."""
    nearest = (start + np.arange(len(sizes), dtype=np.uint8))[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    ratio = 0.4 + 0.01 * np.arange(len(sizes), dtype=np.float32)
    return dict(zip(schema.SPURIOUS_GALLERY, (nearest + 100, nearest, ratio, np.array(sizes, int)), strict=True))


def values(axes) -> int:
    return int(axes.images[0].get_array()[0, 0])


def test_the_largest_groups_come_first_two_of_a_run_while_others_have_some():
    """By hand: 2 of a (30, 20), 2 of b (25, 5), then the largest that are left, of a (19, 18)."""
    gallery = {"a": groups([30, 20, 19, 18]), "b": groups([25, 5], start=50), "old": {}}
    (found,) = spurious(tables(gallery=gallery, n_flagged=9, n_spurious=3), None, {}, 0.95)
    assert found.data["samples"].tolist() == [30, 25, 20, 19, 18, 5]
    assert found.data["runs"].tolist() == ["a", "b", "a", "a", "a", "b"]
    samples, nearest = found.figure.axes[:6], found.figure.axes[6:]
    assert [values(axes) for axes in samples] == [100, 150, 101, 102, 103, 151]
    assert [values(axes) for axes in nearest] == [0, 50, 1, 2, 3, 51]
    assert [axes.get_xlabel() for axes in nearest[:2]] == ["30 times\nratio 0.40", "25 times\nratio 0.40"]
    assert [mark.runs for mark in found.marks][:2] == [("a",), ("b",)] and "30 samples of run a" in found.marks[0].said
    assert "Of 18 groups of recurring samples 6 are spurious" in found.caption and "n = 2 of 2 runs" in found.caption


def test_at_most_so_many_are_shown():
    gallery = {run: groups([9 - k] * 4, start=20 * k) for k, run in enumerate("abcdef")}
    (found,) = spurious(tables(gallery=gallery, runs="abcdef", n_flagged=9, n_spurious=4), None, {}, 0.95)
    assert len(found.data) == ACROSS and found.data["runs"].value_counts().to_dict() == dict.fromkeys("abcd", 2)


@pytest.mark.parametrize(
    ("evals", "gallery", "said"),
    [
        ({}, {}, "no run looked for recurring samples"),
        ({"n_flagged": 4, "n_spurious": 0}, {"a": groups([])}, "none of 8 groups of recurring samples is spurious"),
        ({"n_flagged": 4, "n_spurious": 3}, {"a": {}}, "the gallery has none of the 6 spurious groups"),
    ],
)
def test_where_there_is_nothing_to_show_words_say_why(evals, gallery, said):
    assert said in spurious(tables(gallery=gallery, **evals), None, {}, 0.95)


def test_a_gallery_from_before_is_read_as_ever(tmp_path):
    found = load(write_drawn(tmp_path, sizes=(2743,), seeds=1, levels=(3,)))
    (arrays,) = found.gallery.values()
    assert set(schema.GALLERY) <= set(arrays) and not set(schema.SPURIOUS_GALLERY) & set(arrays)
    assert "no run looked for" in spurious(found, None, {}, 0.95)
