"""Onsets over training: where they are known, open where a run ends first, and curves that are the pooled counts."""

import numpy as np
import pytest

from analysis.pictures.paper_size import resize
from analysis.pictures.training_figures import training
from analysis.pictures.training_plot import ONSETS
from analysis.plots import Ordered
from tests.analysis.plain_study import tables

SIZE = Ordered([1000], "params")
T, F = (1000, 1500, 2000), (0.004, 0.041, 0.147)  # crosses 1 % at 1,068 (measures.md K39)


def run(name: str, f=F, loss=(3.0, 1.0, 2.0), *, params: int = 1000, cell: str = "c", n: int = 10_000) -> list[dict]:
    return [
        {"run_id": name, "cell_id": cell, "seed": 0, "images_seen": t, "params": params, "n_unique": 64, "n_train": 64,
         "copies": 1, "n_generated": n, "n_memorized": round(n * share), "holdout_loss": held, "holdout_loss_se": 0.01}
        for t, share, held in zip(T, f, loss, strict=True)
    ]  # fmt: skip


def strip(figure, name: str, column: int = 0):
    """Lines of one onset in the lowest row, in order of height."""
    color, marker = ONSETS[name][:2]
    axes = figure.axes[2 * (len(figure.axes) // 3) + column]
    return axes, [line for line in axes.lines if line.get_color() == color], marker


def test_a_known_crossing_is_marked_with_its_interval():
    (found,) = training(tables(run("a")), SIZE, {}, 0.95)
    _, lines, marker = strip(found.figure, "tau_mem")
    (at,) = [line for line in lines if line.get_marker() == marker]
    assert at.get_xdata()[0] == pytest.approx(1068, abs=0.5)
    (bar,) = [line for line in lines if len(line.get_xdata()) == 2]
    assert 1000 <= bar.get_xdata()[0] < 1068 < bar.get_xdata()[1] < 1500
    (mark,) = [mark for mark in found.marks if mark.said.startswith("memorizes")]
    assert mark.x == at.get_xdata()[0] and mark.y == at.get_ydata()[0] and mark.runs == ("a",)
    assert mark.said.startswith("memorizes at 1\u202f070 images seen (1\u202f0")


def test_generalizing_is_bracketed_by_its_evaluations():
    (found,) = training(tables(run("a")), SIZE, {}, 0.95)
    _, lines, marker = strip(found.figure, "tau_gen")
    (at,) = [line for line in lines if line.get_marker() == marker]
    (bar,) = [line for line in lines if len(line.get_xdata()) == 2]
    np.testing.assert_array_equal(bar.get_xdata(), [1000, 1500])
    assert 1000 < at.get_xdata()[0] <= 1500


@pytest.mark.parametrize(("f", "sign", "end", "said"), [
    ((0, 0, 0), ">", 1, "memorizes not up to 2\u202f000 images seen"),
    ((0.5, 0.6, 0.7), "<", 0, "memorizes before 1\u202f000 images seen"),
])  # fmt: skip
def test_what_is_censored_ends_in_an_arrow_at_the_axes_end(f, sign, end, said):
    (found,) = training(tables(run("a", f)), SIZE, {}, 0.95)
    axes, lines, marker = strip(found.figure, "tau_mem")
    (arrow,) = [line for line in lines if line.get_marker() == sign]
    assert arrow.get_xdata()[0] == axes.get_xlim()[end]
    assert not [line for line in lines if line.get_marker() == marker]
    assert said in [mark.said for mark in found.marks]


def test_curves_are_the_pooled_counts_and_mean_losses_of_the_cell():
    rows = run("a") + run("b", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), n=30_000)
    (found,) = training(tables(rows), SIZE, {}, 0.95)
    shares = [mark for mark in found.marks if mark.said.startswith("memorized share")]
    assert [mark.y for mark in shares] == pytest.approx([(40 + 3000) / 4e4, (410 + 6000) / 4e4, (1470 + 9000) / 4e4])
    losses = [mark.y for mark in found.marks if mark.said.startswith("hold-out loss")]
    assert losses == pytest.approx([2.0, 1.5, 2.5])
    assert all(mark.runs == ("a", "b") and "n = 2 runs" in mark.said for mark in shares)
    assert len([mark for mark in found.marks if mark.said.startswith("generalizes")]) == 2


def test_three_sizes_of_five_are_shown_and_that_is_said():
    rows = [row for p in (1, 2, 3, 4, 5) for row in run(f"r{p}", params=1000 * p, cell=f"c{p}")]
    (found,) = training(tables(rows), Ordered(range(1000, 6000, 1000), "params"), {}, 0.95)
    assert [axes.get_title().split()[0] for axes in found.figure.axes[:3]] == ["1", "3", "5"]
    assert "Shown: 3 of 5 cells" in found.caption and "n = 3 runs" in found.caption


@pytest.mark.parametrize("rows", [run("a")[:1], [row | {"n_memorized": None} for row in run("a")]])
def test_one_evaluation_or_no_counts_are_said(rows):
    assert "two or more evaluations" in training(tables(rows), SIZE, {}, 0.95)


def test_at_a_papers_width_a_cell_keeps_its_column():
    rows = [row for p in (1, 2, 3) for row in run(f"r{p}", params=1000 * p, cell=f"c{p}")]
    (found,) = training(tables(rows), Ordered((1000, 2000, 3000), "params"), {}, 0.95)
    resize(found.figure, 3.35)
    places = [
        (axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start) for axes in found.figure.axes
    ]
    assert places == [(row, column) for row in range(3) for column in range(3)]
    assert found.figure.get_figwidth() == 3.35
