"""Held-out sizes in the curves: where they stand, what is said of them, and their coverage counted by hand."""

import re
from dataclasses import replace

import numpy as np
import pandas
import pytest

from analysis.pictures import curve_figures
from analysis.pictures.held_out_marks import MARKER
from analysis.pictures.scales import study_scale
from analysis.summary import last_evaluations


def drawn(study, fits, build, **changes):
    by_name = {one.name: replace(one, **changes) for one in fits}
    return build(study, study_scale(study, "params"), by_name, 0.95)


def crosses(figure) -> np.ndarray:
    """[m 2] of the crosses in a figure's panel."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == MARKER]
    return np.concatenate([line.get_xydata() for line in lines]) if lines else np.empty((0, 2))


@pytest.mark.parametrize(("name", "build"), [("recovery", curve_figures.recovery),
                                             ("memorized", curve_figures.memorized)])  # fmt: skip
def test_every_held_out_setting_is_a_cross_at_its_prediction(study, fits, name, build):
    (fit,) = [one for one in fits if one.name == name]
    for found in drawn(study, fits, build):
        held = found.data[found.data["drawn"] == "held_out"]
        values = crosses(found.figure)
        np.testing.assert_allclose(np.sort(values[:, 1]), np.sort(held["rate"]))
        shown = [text.get_text() for text in found.figure.axes[0].get_legend().get_texts()]
        assert shown.count("held out, predicted") == 1
        places = {(mark.x, mark.y) for mark in found.marks if "predicted without this size" in mark.said}
        assert {tuple(value) for value in values} == places and len(places) == len(held)
        assert set(held["rate"].round(9)) <= set(fit.held_out["predicted"].round(9))
        assert (held["n_runs"] == [len(runs.split()) for runs in held["runs"]]).all()


def test_the_caption_counts_the_intervals_that_hold_what_was_measured(study, fits):
    """By a loop over the strata of the setting shown; with ends that exclude every other stratum."""
    (fit,) = [one for one in fits if one.name == "recovery"]
    held = fit.held_out.assign(hi=np.where(np.arange(len(fit.held_out)) % 2, fit.held_out["hi"], 0.0), lo=0.0)
    found = drawn(study, [fit], curve_figures.recovery, held_out=held)[0]
    ends = {(row.run_id, row.copies): (row.lo, row.hi) for row in held.itertuples()}
    inside = total = 0
    for row in last_evaluations(study.strata).itertuples():
        if row.n_train == 2016:  # the larger of two training sets is the one shown
            lo, hi = ends[row.run_id, row.copies]
            inside += lo <= row.n_basin_recovered / row.n_basin <= hi
            total += 1
    assert 0 < inside < total
    assert f"it holds {inside} of {total} strata of runs" in found.caption
    assert "each of 4 sizes" in found.caption and "by extrapolation" in found.caption


def test_crosses_are_inside_the_panel(study, fits):
    for found in drawn(study, fits, curve_figures.recovery):
        axes = found.figure.axes[0]
        assert axes.get_ylim()[1] >= found.data.loc[found.data["drawn"] == "held_out", "hi"].max()


def test_without_a_held_out_size_nothing_is_drawn_and_the_caption_says_so(study, fits):
    for found in drawn(study, fits, curve_figures.recovery, held_out=None):
        assert len(crosses(found.figure)) == 0 and "No size is held out" in found.caption
        assert "held out, predicted" not in [t.get_text() for t in found.figure.axes[0].get_legend().get_texts()]
    assert not any("held out" in found.caption for found in drawn(study, [], curve_figures.recovery))


def test_the_csv_says_which_rows_are_predictions(study, fits):
    (found,) = drawn(study, fits, curve_figures.memorized)
    held = found.data[found.data["drawn"] == "held_out"]
    assert isinstance(found.data, pandas.DataFrame) and (held["lo"] < held["rate"]).all()
    assert (held["rate"] < held["hi"]).all() and held["params"].nunique() == 4
    assert re.search(r"with the 95 % interval of one new run; it holds \d+ of 16 runs", found.caption)
