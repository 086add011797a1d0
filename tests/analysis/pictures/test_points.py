"""Rows and marks of the figures against a brute-force count of the study, and against what is drawn."""

from dataclasses import replace

import numpy as np
import pandas
import pytest
from matplotlib.axes import Axes

from analysis.pictures import curve_figures
from analysis.pictures.points import MOST_MARKS, thinned
from analysis.pictures.scales import study_scale
from analysis.plots import Mark
from analysis.rates import wilson
from tests.analysis.pictures.drawn_study import CLOCK

COUNTED = {  # figure -> table, hits, trials, the columns that tell its pooled points apart, the rows of its setting
    "recovery_by_params": ("strata", "n_basin_recovered", "n_basin", ("params", "copies"), "n_train == 2016"),
    "recovery_by_copies": ("strata", "n_basin_recovered", "n_basin", ("params", "copies"), "n_train == 2016"),
    "efficiency_by_copies": ("strata", "n_hits", "n_generated", ("params", "copies"), "n_train == 2016"),
    "memorized_by_params": ("evals", "n_memorized", "n_generated", ("params", "copies"), "params > 0"),
    "memorized_by_duplication": ("evals", "n_memorized", "n_generated", ("params", "duplication_rate"), "params > 0"),
}


@pytest.mark.parametrize("name", COUNTED)
def test_pooled_rows_are_the_counts_of_their_runs(name, study, plain_figures):
    table, hits, trials, by, setting = COUNTED[name]
    found = plain_figures[name].data.query("drawn == 'pooled'")
    rows = getattr(study, table).query(setting)
    rows = rows[rows["images_seen"] == CLOCK[-1]]
    seen = 0
    for row in found.itertuples():
        own = rows[[all(one[key] == getattr(row, key) for key in by) for _, one in rows.iterrows()]]
        assert set(row.runs.split()) == set(own["run_id"]) and row.n_runs == len(own)
        assert (row.hits, row.trials) == (own[hits].sum(), own[trials].sum())
        if name != "efficiency_by_copies":
            assert row.rate == pytest.approx(own[hits].sum() / own[trials].sum())
            assert row.lo <= row.rate <= row.hi and row.hi > row.lo
        seen += len(own)
    assert seen == len(rows)


def test_efficiency_is_over_the_copier(plain_figures):
    """Spectrum of 6 strata of 32 images: a stratum with r copies holds 32 r/2016 of the draws."""
    rows = plain_figures["efficiency_by_copies"].data.query("drawn == 'pooled'")
    np.testing.assert_allclose(rows["rate"], rows["hits"] / rows["trials"] / (32 * rows["copies"] / 2016))


def test_single_runs_have_their_own_interval(plain_figures):
    rows = plain_figures["memorized_by_params"].data.query("drawn == 'run'")
    expected = wilson(rows["hits"], rows["trials"], 0.95)
    np.testing.assert_allclose(rows[["lo", "hi"]], np.stack([expected.lo, expected.hi], 1))
    assert (rows["n_runs"] == 1).all() and rows["runs"].nunique() == len(rows) == 16


def test_losses_are_means_of_the_runs(study, plain_figures):
    rows = plain_figures["losses"].data
    for row in rows.itertuples():
        own = study.evals.query(f"params == {row.params} and images_seen == {row.images_seen} and n_train == 2016")
        assert row.loss == pytest.approx(own[row.measure].mean()) and set(row.runs.split()) == set(own["run_id"])
        error = np.sqrt((own[f"{row.measure}_se"] ** 2).sum()) / len(own)
        assert row.hi - row.lo == pytest.approx(2 * 1.96 * error)
    assert len(rows) == 4 * (5 + 5 + 4)  # the training loss is not known before training


def test_budget_rows_end_at_the_images_that_were_hit(study, plain_figures):
    rows = plain_figures["attack_budget"].data
    kept = study.images[study.images["run_id"].isin(rows["runs"])]
    assert kept["n_unique"].nunique() == 1  # of the setting that is shown
    for run, own in kept.groupby("run_id"):
        mine = rows[rows["runs"] == run].set_index("drawn")
        assert mine.loc["found"].sort_values("b")["share"].iloc[-1] == pytest.approx((own["n_hits"] > 0).mean())
        p = own["copies"] / own["copies"].sum()
        assert mine.loc["copier"].sort_values("b")["share"].iloc[-1] == pytest.approx((1 - (1 - p) ** 512).mean())


def test_prompted_rows_have_ceiling_and_null(plain_figures):
    rows = plain_figures["prompted_recovery"].data
    ceilings = rows.query("drawn == 'ceiling'").groupby("context")["rate"]
    assert ceilings.min().to_dict() == ceilings.max().to_dict() == {"1/4": 19 / 64, "1/2": 51 / 64}
    np.testing.assert_allclose(rows.query("drawn == 'null_rate'")["rate"], 1 / 64)


def places(axes: Axes) -> np.ndarray:
    """Every point of a line or marker in the axes [n 2]."""
    return np.concatenate([np.column_stack(line.get_data()).astype(float) for line in axes.lines])


def test_a_mark_stands_on_what_is_drawn(plain_figures):
    for name, figure in plain_figures.items():
        assert figure.marks, name
        for axes in {mark.axes for mark in figure.marks}:
            if axes.images:
                continue  # photographs: tested below
            drawn = places(axes)
            for mark in (mark for mark in figure.marks if mark.axes is axes):
                away = np.abs(drawn - [mark.x, mark.y]) / np.maximum(np.abs([mark.x, mark.y]), 1e-12)
                assert np.min(away.max(1)) < 1e-9, (name, mark.said)


def test_marks_name_runs_of_the_study_and_say_their_numbers(study, plain_figures):
    runs = set(study.evals["run_id"])
    for name, figure in plain_figures.items():
        for mark in figure.marks:
            assert mark.runs and set(mark.runs) <= runs, (name, mark)
            assert "\n" not in mark.said and any(c.isdigit() for c in mark.said)
        assert {run for mark in figure.marks for run in mark.runs} == set(
            " ".join(figure.data["runs"].dropna()).split()
        )


def test_a_mark_says_value_interval_and_n(plain_figures):
    """32 copies, 159,697 parameters: chains 46 and 40 of 128 in the two runs; Wilson by formula."""
    (mark,) = [m for m in plain_figures["recovery_by_params"].marks
               if m.said.startswith("159\u202f697 parameters, copies 32") and len(m.runs) == 2]  # fmt: skip
    assert "86 of 256 chains, 2 runs" in mark.said and "recovered 33.6 % (" in mark.said
    assert mark.y == pytest.approx(86 / 256)


def test_photographs_have_one_mark_a_sample_in_the_middle_of_its_picture(plain_figures):
    gallery, prompts = plain_figures["gallery"], plain_figures["prompts"]
    assert len(gallery.marks) == len(gallery.data) == 3 * 8
    assert len(prompts.marks) == len(prompts.data) == 4 * 3
    for mark in (*gallery.marks, *prompts.marks):
        assert mark.axes.images[0].get_array().shape[:2] == (8, 8) and (mark.x, mark.y) == (3.5, 3.5)
    said = [mark.said for mark in gallery.marks[:8]]
    for words, ratio, copies in zip(said, gallery.data["ratio"], gallery.data["copies"], strict=False):
        assert f"gap ratio {ratio:.3g} " in words and words.endswith(f"copies {copies}")
    assert gallery.data["memorized"].sum() == 3 * 4


def test_many_marks_are_thinned_evenly():
    marks = [Mark(None, k, 0, "") for k in range(10 * MOST_MARKS)]
    kept = [mark.x for mark in thinned(marks)]
    assert len(kept) == MOST_MARKS and kept[0] == 0 and kept[-1] == len(marks) - 1
    assert set(np.diff(kept)) <= {10, 11} and thinned(marks[:3]) == marks[:3]


def test_a_large_study_says_that_marks_were_left_out(study):
    """560 runs: the study's 8 of one setting 70 times, each time under other names."""
    own = study.strata.query("n_train == 2016")
    many = pandas.concat([own.assign(run_id=own["run_id"] + f"-{k}") for k in range(70)], ignore_index=True)
    found = curve_figures.recovery(replace(study, strata=many), study_scale(study, "params"), {}, 0.95)[1]
    drawn = 24 + 560 * 6
    assert len(found.marks) == MOST_MARKS < drawn and f"{MOST_MARKS} of the {drawn} points" in found.caption
    assert len(found.data.query("drawn != 'null_rate'")) == drawn  # the csv holds them all


def test_the_csv_alone_draws_the_fitted_curve(fits, plain_figures):
    data = plain_figures["recovery_by_params"].data.query("drawn == 'fit' and copies == 32")
    (found,) = [fit for fit in fits if fit.name == "recovery"]
    at = {name: np.full(len(data), 1.0) for name in found.result.law.variables}
    at |= {"params": data["params"].to_numpy(), "copies": np.full(len(data), 32.0)}
    assert len(data) == 100
    for name, value in (("n_unique", 192.0), ("n_train", 2016.0)):
        if name in at:
            at[name] = np.full(len(data), value)
    np.testing.assert_allclose(data["rate"], found.result.predict(at))


def test_values_without_a_run_have_none(plain_figures):
    data = plain_figures["recovery_by_params"].data
    assert data.query("drawn in ('fit', 'null_rate')")["runs"].isna().all()
    assert isinstance(data, pandas.DataFrame) and data.columns[0] == "drawn"
