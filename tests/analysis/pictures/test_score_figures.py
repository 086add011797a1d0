"""The counterfactual scores in the report: what the command says of the same rows, counted again by loops."""

import re

import numpy as np
import pandas
import pytest

from analysis.counterfactual import pooled, study
from analysis.pages.study import SECTIONS
from analysis.pictures.score_figures import scores
from analysis.table import Tables, validated
from scaling import schema
from tests.analysis.test_counterfactual import half_design, table

N, RUNS = 60, 12


def images(cells: int = 1, **columns) -> pandas.DataFrame:
    """Images with 1, 2, 4 copies that gain 0, 3, 9 nats where they are in training; densities 0 to 59."""
    rng, made = np.random.default_rng(0), []
    for cell in range(cells):
        inside, copies = half_design(RUNS, N, rng), np.tile([1, 2, 4], N // 3)
        gain = np.where(copies == 1, 0, 0.75 * copies**1.8)
        value = rng.normal(size=(RUNS, N)) + inside * gain + np.arange(N)
        held = rng.normal(size=(RUNS, 6))
        made.append(
            table(value, inside, holdout=held, copies=copies, cell=f"c{cell}", leverage=rng.random(N), **columns)
        )
    return pandas.concat(made, ignore_index=True)


def tables(rows: pandas.DataFrame | None = None, pixels=None) -> Tables:
    evals = pandas.DataFrame([{"run_id": "a", "images_seen": 1000, "params": 2743}])
    own = {"evals": evals, "images": pandas.DataFrame() if rows is None else rows}
    frames = {name: validated(own.get(name, pandas.DataFrame()), name, where=name)[0] for name in schema.TABLES}
    return Tables(**frames, pixels=pixels or {})


def drawn(rows, pixels=None) -> dict:
    return {found.name: found for found in scores(tables(rows, pixels), None, {}, 0.95)}


@pytest.mark.parametrize("cells", [1, 2])
def test_the_scores_are_those_of_the_command(cells):
    rows = images(cells)
    whole, answer = study(rows, {}, level=0.95, seed=0)
    expected = (pooled(whole) if cells > 1 else whole).set_index("image_id")
    found = drawn(rows)
    own = found["scores_by_density"].data.set_index("image_id")
    for name, theirs in (("score", "Mbar"), ("se", "se"), ("log_density", "mean_in")):
        np.testing.assert_allclose(own[name], expected.loc[own.index, theirs])
    said = answer["pooled"] or answer["cells"][0]
    means = found["scores_by_copies"].data
    means = means[means["drawn"] == "mean"]
    assert means["copies"].tolist() == [1, 2, 4]
    for name, theirs in (("score", "mean"), ("lo", "lo"), ("hi", "hi")):
        np.testing.assert_allclose(means[name], [m[theirs] for m in said["by_copies"]])
    assert f"{RUNS * cells} runs" in found["scores_by_copies"].caption


def test_the_four_quadrants_and_the_share_of_inliers_are_counted_by_hand():
    found = drawn(images())["scores_by_density"]
    rows = found.data
    lo, hi = np.quantile(rows["log_density"], [0.05, 0.95])
    counts = {(high, inside): 0 for high in (True, False) for inside in (True, False)}
    for row in rows.itertuples():
        counts[row.score > 2 * row.se, lo <= row.log_density <= hi] += 1
    said = re.search(
        r"of the (\d+) above 2 standard errors (\d+) are inside and (\d+) outside .* of the others (\d+) and (\d+)",
        found.alt,
    )
    assert [int(n) for n in said.groups()] == [
        counts[True, True] + counts[True, False], *counts.values(),
    ]  # fmt: skip
    assert min(counts[True, True], counts[True, False], counts[False, True]) > 0
    top = rows.sort_values("score", ascending=False).head(6)  # 10 % of 60
    inliers = sum(lo <= v <= hi for v in top["log_density"])
    assert re.search(rf"of the top 10 % of scores {100 * inliers / 6:.0f} % \(\d+ to \d+ %, n = 6\)", found.caption)
    assert sum(mark.said.startswith("image i") for mark in found.marks) == N


def test_every_image_is_in_one_quadrant():
    """Every other image is recovered, the first half is dense: within copies as well, so a quarter is both."""
    columns = {"n_basin_recovered": np.tile([0.0, 4.0], N // 2), "distance_10": np.arange(N) >= N // 2}
    found = drawn(images(**columns))["scores_quadrants"]
    shown = [int(text.get_text()) for text in found.figure.axes[0].texts]
    assert sum(shown) == found.data["n"].sum() == N
    by_pair = found.data.groupby(["recovered", "dense"])["n"].sum()
    assert by_pair.tolist() == [N / 4] * 4 and "nearness to the 10th neighbour" in found.caption
    without = drawn(images())["scores_quadrants"]
    assert "mean log-density without the image, in disjoint runs" in without.caption
    assert f"n = {without.data['n'].sum()} images" in without.caption


def test_every_figure_has_a_section_of_the_page():
    pixels = {"i0000": np.zeros((1, 4, 4), np.uint8)}
    assert {found.section for found in drawn(images(), pixels).values()} <= {key for key, _ in SECTIONS}


def test_the_highest_scores_are_shown_where_there_are_pixels():
    pixels = {f"i{k:04d}": np.full((1, 4, 4), k, np.uint8) for k in range(0, N, 2)}
    found = drawn(images(), pixels)
    rows = found["scores_by_density"].data
    rows = rows[rows["image_id"].isin(pixels)].sort_values("score", ascending=False).head(10)
    shown = [int(axes.images[0].get_array()[0, 0]) for axes in found["scores_images"].figure.axes]
    assert shown == [int(image[1:]) for image in rows["image_id"]]
    assert "scores_images" not in drawn(images())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "no run left images out of training"),
        (images().assign(fold_of=np.nan), "no run left images out of training"),
        (images().assign(log_density_bound=np.nan), "evaluate.measures must hold density"),
        (images().assign(draw=lambda t: t["seed"]), "mixes draws"),
        (images().query("seed < 2"), "none of 60 images has a standard error"),
    ],
)
def test_where_no_image_can_be_scored_words_say_why(rows, said):
    found = scores(tables(rows), None, {}, 0.95)
    assert found.startswith("No figure of counterfactual scores: ") and said in found
