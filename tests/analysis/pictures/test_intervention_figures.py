"""Ranked interventions: ratios with the limits that both intervals allow, in the answer's order."""

import json

import numpy as np
import pytest

from analysis.pictures.intervention_figures import interventions, ranked_table, ratio_interval
from analysis.pictures.intervention_plot import PANELS
from analysis.pictures.saving import show_as_written
from analysis.questions.interventions import interventions as ask
from tests.analysis.plain_study import tables
from tests.analysis.questions.test_interventions import ASK, study


def answer(rows) -> list[dict]:
    return [{"question": "matched", "rows": [], "why": ""}, ask(tables(rows), **ASK).as_json()]


@pytest.fixture(scope="module")
def answers() -> list[dict]:
    return answer(study())


@pytest.mark.parametrize(("over", "under", "known"), [
    ([3, 2, 4], [2, 1, 4], [1.5, 0.5, 4]),
    ([-3, -4, -2], [2, 1, 4], [-1.5, -4, -0.5]),
    ([0, -1, 1], [2, 1, 4], [0, -1, 1]),
    ([3, 2, 4], [2, -1, 4], [1.5, np.nan, np.nan]),  # the removal may be none: no limit
    ([3, 2, 4], [-2, -3, -1], [np.nan, np.nan, np.nan]),  # nothing is removed: no price
])  # fmt: skip
def test_the_ratio_holds_what_both_intervals_allow(over, under, known):
    found = np.array(ratio_interval(np.array([over], float), np.array([under], float)))[:, 0]
    np.testing.assert_allclose(found, known)


def test_changes_stand_in_rank_with_the_planted_prices(answers):
    """Decay removes 3 for a loss of .1, fewer weights 1 for .2, more data 1.5 for -.05."""
    ranked, _ = interventions(answers, 0.95)
    table = ranked.data.assign(key=ranked.data["change"].str.split(":").str[0]).set_index("key")
    prices = table["loss_per_logit"].to_dict()
    assert prices["train.weight_decay"] == pytest.approx(0.1 / 3, abs=1e-3)
    assert prices["model.width"] == pytest.approx(0.2, abs=1e-3)
    assert prices["data.n_unique"] == pytest.approx(-0.05 / 1.5, abs=1e-3)
    labels = [label.get_text() for label in ranked.figure.axes[0].get_yticklabels()]
    assert [label.split()[0] for label in labels] == ["1", "2", "3", "4", "5"] and "early stop" in labels[0]
    heights = ranked.figure.axes[0].get_yticks()
    assert np.all(np.diff(heights) < 0)  # the first in rank at the top


def test_intervals_are_drawn_where_they_are_told(answers):
    ranked, _ = interventions(answers, 0.95)
    for axes, name in zip(ranked.figure.axes, PANELS, strict=True):
        bars = {line.get_ydata()[0]: tuple(line.get_xdata()) for line in axes.lines if len(set(line.get_ydata())) == 1
                and len(line.get_xdata()) == 2}  # fmt: skip
        for y, row in zip(axes.get_yticks(), ranked.data.to_dict("records"), strict=True):
            if np.isfinite(row[f"{name}_lo"]):
                assert bars[y] == (row[f"{name}_lo"], row[f"{name}_hi"])
            else:
                assert y not in bars


def test_moves_lead_from_the_base_to_cost_and_benefit_with_their_runs(answers):
    _, moves = interventions(answers, 0.95)
    by_change = {mark.said.split(":")[0]: mark for mark in moves.marks}
    decay = by_change["train.weight_decay"]
    assert (decay.x, decay.y) == pytest.approx((0.1, 3.0), abs=1e-2)
    assert set(decay.runs) == {f"{name}-{seed}" for name in ("base", "decay") for seed in range(3)}
    ends = [text.xy for text in moves.figure.axes[0].texts if text.arrow_patch is not None]
    assert (decay.x, decay.y) in ends and all(
        text.xyann == (0, 0) for text in moves.figure.axes[0].texts if text.arrow_patch is not None
    )


def test_one_seed_has_open_marks_and_no_rank():
    rows = [row for row in study() if row["seed"] == 0 and not row["run_id"].startswith("same")]
    ranked, _ = interventions(answer(rows), 0.95)
    assert all(label.get_text().startswith("?") for label in ranked.figure.axes[0].get_yticklabels())
    marks = [line for line in ranked.figure.axes[0].lines if line.get_marker() == "D"]
    assert len(marks) == len(ranked.data) and {line.get_fillstyle() for line in marks} == {"none"}


def test_a_study_without_changes_says_so(answers):
    for rows in ([], study()[:2], [row | {"config": None} for row in study()]):
        found = interventions(answer(rows) if rows else [], 0.95)
        assert isinstance(found, str) and found.startswith("No figure of interventions: ")


def test_a_long_hostile_change_is_cut_and_never_set_as_a_formula(answers):
    hostile = "$\\frac{ x " * 40
    changed = json.loads(json.dumps(answers))
    changed[1]["rows"][1]["change"] = hostile
    ranked, moves = interventions(changed, 0.95)
    label = ranked.figure.axes[0].get_yticklabels()[1].get_text()
    assert len(label) < 80 and label.count("\n") <= 1
    for figure in (ranked.figure, moves.figure):
        show_as_written(figure)
        figure.draw_without_rendering()


def test_missing_costs_stay_missing():
    empty = {
        f"{name}{end}": None for name in ("benefit", "cost_holdout_loss", "cost_kid") for end in ("", "_lo", "_hi")
    }
    row = {"change": "a", "rank": None, "runs": ["r"], "n_seeds": 1, "images_seen": None, **empty, "benefit": 1.0}
    assert ranked_table([row])[["loss_per_logit", "cost_kid", "rank"]].isna().all(axis=None)
