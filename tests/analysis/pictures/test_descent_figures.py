"""Curves of hold-out loss: means, errors, peaks and thresholds as planted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.descent_curves import descent_curves
from analysis.pictures.descent_figures import curve_losses, descents, told_apart
from analysis.plots import GREY, PURPLE
from tests.analysis.pages.test_descent_sections import FALLING, PEAKED, SIZES, runs
from tests.analysis.plain_study import tables

NOISE = {"noise_draws": 4, "image_size": 8, "channels": 1}  # n m d = 64 * 4 * 64


def study(*curves, seeds: int = 4, **more) -> list:
    """A curve for each of `curves`, told apart by the number of blocks."""
    rows = [
        row | more for seed in range(seeds) for k, curve in enumerate(curves) for row in runs(curve, seed, blocks=k)
    ]
    return descent_curves(tables(rows).evals, 0.95, 0)


def test_a_planted_peak_is_marked_with_verdict_interval_and_threshold():
    (found,) = descents(study(PEAKED, **NOISE), 0.95)
    (axes,) = found.figure.axes
    (peak,) = [line for line in axes.lines if line.get_marker() == "v"]
    assert peak.get_color() == PURPLE and peak.get_xdata()[0] == pytest.approx(16_000, rel=0.2)
    (bar,) = next(c for c in axes.containers if c.lines[0] is peak).lines[2][0].get_segments()
    assert bar[0, 0] < 16_000 < bar[1, 0]
    (line,) = [line for line in axes.lines if line.get_color() == GREY and line.get_linestyle() == ":"]
    assert line.get_xdata()[0] == 64 * 4 * 64
    assert "double descent, p = " in axes.get_title(loc="left") and "n·m·d" in found.caption
    (mark,) = [mark for mark in found.marks if mark.said.startswith("peak at")]
    assert mark.x == peak.get_xdata()[0] and mark.y == pytest.approx(1.5, abs=0.1) and len(mark.runs) == 4


def test_points_are_means_of_the_replicates_with_their_standard_error():
    curves = study(PEAKED)
    (found,), rows = descents(curves, 0.95), curves[0].rows
    assert len(found.data) == 8 and found.figure.axes[0].get_xscale() == "log"
    for size, mark in zip(SIZES, found.marks, strict=False):
        own = rows.loc[rows["params"] == size, "holdout_loss"].to_numpy()
        assert mark.y == pytest.approx(own.mean()) and mark.x == size and "n = 4 runs" in mark.said
        at = found.data[found.data["params"] == size].iloc[0]
        assert at["se"] == pytest.approx(own.std(ddof=1) / 2) and len(mark.runs) == 4


def test_training_loss_is_drawn_where_it_was_measured():
    (found,) = descents(study(FALLING, train_loss=0.25), 0.95)
    train = found.data[found.data["loss"] == "train_loss"]
    assert (train["mean"] == 0.25).all() and len(train) == 8
    assert not [line for line in found.figure.axes[0].lines if line.get_marker() == "v"]  # no peak is told
    assert set(curve_losses(study(FALLING)[0])["loss"]) == {"holdout_loss"}


def test_curves_that_differ_in_one_key_are_told_apart_and_the_sure_come_first():
    (found,) = descents(study(FALLING, PEAKED), 0.95)
    titles = [axes.get_title(loc="left") for axes in found.figure.axes]
    assert titles[0].startswith("64 unique, blocks 1\ndouble descent") and "blocks 0\nno double descent" in titles[1]


def test_titles_name_what_tells_most_curves_apart_in_whole_words():
    """Four rates of one fraction beside curves without duplication: the rate tells more than design and fraction."""
    frame = study(*[FALLING] * 4)
    plans = [{"design": "none", "fraction": None, "rate": None}] + [
        {"design": "uniform", "fraction": "1/4", "rate": rate} for rate in (0.2, 0.5, 0.95)
    ]
    found = [replace(curve, rows=curve.rows.assign(config=json.dumps({"data": {"duplication": plan}})))
             for curve, plan in zip(frame, plans, strict=True)]  # fmt: skip
    assert told_apart(found) == [
        "64 unique, design none",
        *(f"64 unique, rate {p['rate']}, design uniform" for p in plans[1:]),
    ]


def test_more_curves_than_panels_are_thinned_and_that_is_said():
    (found,) = descents(study(*[FALLING] * 6, seeds=2), 0.95)
    assert len([axes for axes in found.figure.axes if axes.get_visible()]) == 4
    assert "Shown: 4 of 6 curves" in found.caption


def test_every_axis_has_its_figure():
    rows = [
        {"run_id": f"{n}-{seed}", "images_seen": t, "params": 1000, "n_unique": n, "seed": seed,
         "config": json.dumps({"seed": seed, "data": {"n_unique": n}}),
         "holdout_loss": 1 / t + 10 / n + 0.001 * np.sin(7 * seed + n + t)}
        for n in (64, 128, 256) for seed in range(3) for t in (10, 20, 40)
    ]  # fmt: skip
    found = descents(descent_curves(tables(rows).evals, 0.95, 0), 0.95)
    assert [figure.name for figure in found] == ["descent_along_n_unique", "descent_along_images_seen"]
    assert len([axes for axes in found[1].figure.axes if axes.get_visible()]) == 3


def test_two_points_are_no_curve():
    assert "it takes 3 sizes" in descents(descent_curves(tables(runs(FALLING, 0)[:2]).evals, 0.95, 0), 0.95)
