"""Every question has its row in the report: an answer with its interval, or why there is none."""

import pytest

from analysis.pages.question_sections import ASKED, _value, question_table
from analysis.questions.answer import Answer
from analysis.table import load
from tests.analysis.plain_study import tables


def test_each_question_is_answered_with_an_interval_or_a_reason(runs_folder):
    page, answers = question_table(load(runs_folder), 0.9, 100, 0)
    assert [answer["question"] for answer in answers] == list(ASKED)
    assert all(text in page for text in ("At most how many copies", "cannot tell", "(90 % interval)"))
    told = [answer for answer in answers if answer["answerable"]]
    assert {"max_copies", "absolute_vs_fraction"} <= {answer["question"] for answer in told}
    assert all(answer["lo"] is not None or answer["hi"] is not None for answer in told)
    assert all(answer["why"] and answer["value"] is None for answer in answers if not answer["answerable"])


@pytest.mark.filterwarnings("error")
def test_runs_that_cannot_be_told_apart_cost_a_row_and_not_the_report():
    """Without seeds two runs of one size are no pair for `matched`; rates of 0 give some runs no weight."""
    rows = [
        {"run_id": f"r{p}{s}", "images_seen": t, "params": p, "n_memorized": min(256, p * t // 10**6),
         "n_generated": 256, "holdout_loss": 1 - p / 1e6 + t / 1e6}
        for p in (1000, 4000, 16000, 64000, 256000) for s in range(2) for t in (0, 1000, 4000)
    ]  # fmt: skip
    _, answers = question_table(tables(rows), 0.95, 100, 0)
    assert len(answers) == len(ASKED)
    (refused,) = [answer for answer in answers if "share setting, size and seed" in answer["why"]]
    assert not refused["answerable"] and refused["value"] is None


def test_a_value_without_both_ends_has_no_interval():
    assert _value(Answer("wasted", True, 0.0)) == "0 (no interval)"
    assert _value(Answer("max_params", True, 15264.3, 3493.0, None, extrapolated=True)) == (
        "15\u202f200 (the limit: 3\u202f490 to no limit), extrapolated"
    )
