"""What is said of a figure beside it: one thing is no things."""

import re
from dataclasses import replace

import pytest

from analysis.descent_curves import descent_curves
from analysis.pictures.study_figures import study_figures
from analysis.plots import ReportFigure
from analysis.questions.interventions import interventions
from analysis.table import Tables
from tests.analysis.pages.test_descent_sections import PEAKED, runs
from tests.analysis.pictures.drawn_folds import folded_tables
from tests.analysis.pictures.drawn_study import drawn_tables
from tests.analysis.plain_study import tables
from tests.analysis.questions.test_interventions import ASK, study

DESCRIBING = "unique|model|training|spurious|recurring|generated"
ONE_THINGS = re.compile(rf"(?<![\w.,\u202f])1 (?:(?:{DESCRIBING}) )*(?!is |was |has |less |spurious )[a-z]+[^s\W]s\b")


def one_of_each() -> list[ReportFigure]:
    """What can be drawn of one run, one curve, one changed setting, one picture, one image with a score."""
    (change,) = [row for row in interventions(tables(study()), **ASK).as_json()["rows"] if "decay" in row["change"]]
    answer = {"question": "interventions", "rows": [change | {"n_seeds": 1}]}
    curve = descent_curves(tables(runs(PEAKED, 0)).evals, 0.95, 0)
    run, size, folded = drawn_tables((2743,), 1, (3,)), drawn_tables((2743, 10405), 1, (1,)), folded_tables()
    images = folded.images[folded.images["image_id"] == f"{94:016x}"]
    few = [pictured(run), pictured(size), pictured(replace(folded, images=images))]
    return [figure for one in few for figure in study_figures(one, [], 0.95, descents=curve, answers=[answer])[0]]


def pictured(found: Tables) -> Tables:
    """With the first picture of each kind only."""
    return replace(found, gallery={run: {name: array[-1:] for name, array in own.items()}
                                   for run, own in list(found.gallery.items())[:1]})  # fmt: skip


@pytest.mark.parametrize(
    ("said", "wrong"),
    [("1 lines", True), ("n = 1 runs.", True), ("of 1 unique images", True), ("11 lines", False), ("0.1 runs", False),
     ("4\u202f1 runs", False), ("1 line", False), ("1 is", False), ("1 less", False)],
)  # fmt: skip
def test_the_yardstick_is_right(said, wrong):
    assert bool(ONE_THINGS.search(said)) == wrong


def test_one_thing_is_no_things(every_figure):
    single = one_of_each()
    assert {
        "losses", "gallery", "images_copies_and_new", "images_spurious", "prompts", "recovery_by_params",
        "scores_quadrants", "interventions_ranked", "intervention_moves", "descent_along_params",
    } <= {one.name for one in single}  # fmt: skip
    for figure in (*every_figure.values(), *single):
        for said in (figure.alt, figure.caption, *(mark.said for mark in figure.marks)):
            assert not ONE_THINGS.search(said), (figure.name, said)
