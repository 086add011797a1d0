"""The report's figures of the counterfactual scores: by copies, in quadrants, against log-density, and the images."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.counterfactual import KEYS, mean_scores, pooled
from analysis.per_image.folds import cells, halves
from analysis.per_image.quadrants import CENTRAL, HIGH, central, covariates, summary
from analysis.pictures.counterfactual_figures import (
    most_memorized,
    plot_by_copies,
    plot_density,
    plot_most_memorized,
    plot_quadrants,
)
from analysis.pictures.curve_figures import Figures, Fits
from analysis.pictures.image_figures import mark
from analysis.pictures.points import points, said_runs
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.table import Tables
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

SEED = 0  # of the deal of the runs into disjoint halves
DENSITY = {"distance_10": "nearness to the 10th neighbour"}  # quadrants.axes
SCORE = (
    "Counterfactual score of an image: its log-density in the runs that trained on it minus that in the runs that did "
    "not (nats; python -m analysis.counterfactual says more)."
)


class Scored(NamedTuple):
    """The scores of a study, cells pooled, and their summary."""

    table: "DataFrame"  # of counterfactual.mean_scores or pooled, with covariates
    summary: dict[str, Any]
    n: str  # in words: runs and cells
    level: float


def scores(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Where runs leave images out: score by copies, quadrants, score against log-density, the highest scores."""
    images = tables.images
    if not images["fold_of"].notna().any():
        return (
            "No figure of counterfactual scores: no run left images out of training (data.fold, as "
            "sweeps/counterfactual.yaml does), so no image was measured with and without itself."
        )
    try:
        found = _scored(images, level)
    except ValueError as error:  # what cannot be compared, in words: other draws, other folds, no density
        return f"No figure of counterfactual scores: {error}"
    if not found.summary["n_scored"]:
        return (
            f"No figure of counterfactual scores: none of {found.summary['n_images']} images has a standard error; "
            f"each must be in and out of two runs or more."
        )
    pictures = _highest(found, tables) or []
    return [_by_copies(found), _quadrants(found), _by_density(found), *pictures]


def _scored(images: "DataFrame", level: float) -> Scored:
    """What the figures need of `counterfactual.study`, which takes twenty times as long; raises ValueError."""
    found = cells(images)
    table = mean_scores(found).merge(covariates(images), on=KEYS, how="left", validate="one_to_one")
    split = [mean_scores(half) for half in halves(found, np.random.default_rng(SEED))]
    if len(found) > 1:
        table, split = pooled(table), [pooled(half) for half in split]
    runs, several = sum(len(cell.value) for cell in found), len(found) > 1
    said = f"{said_runs(runs)}{f' in {len(found)} cells, pooled by inverse variance' if several else ''}"
    return Scored(table, summary(table, [(split[0], split[1])], None, level), said, level)


def _by_copies(found: Scored) -> ReportFigure:
    import pandas

    known, means = _known(found), found.summary["by_copies"]
    figure = plot_by_copies(known, means, found.level)
    marks = [
        Mark(figure.axes[0], m["copies"], m["mean"],
             f"copies {m['copies']}: mean score {m['mean']:.3g} nats ({m['lo']:.3g} to {m['hi']:.3g}), n = "
             f"{several(m['n'], 'image')}")
        for m in means if m["lo"] is not None
    ]  # fmt: skip
    drawn = pandas.DataFrame(means).rename(columns={"mean": "score", "n": "images"}).assign(drawn="mean")
    at = points([_rows(known), drawn], marks)
    above = found.summary["above_2_se"]
    luck = "" if above["expected"] is None else f"; {100 * above['expected']:.1f} % by luck"
    caption = (
        f"{SCORE} Against its copies in the training set; black: mean of the images with so many copies "
        f"({100 * found.level:g} % interval over images). {_percent(above)} of the images are above {HIGH:g} standard "
        f"errors{luck}. n = {several(len(known), 'image')}, {found.n}."
    )
    alt = "Counterfactual score against copies: means " + ", ".join(
        f"{m['mean']:.3g} at {m['copies']}" for m in means
    )  # fmt: skip
    return ReportFigure("scores_by_copies", "scores", figure, caption, f"{alt}.", data=at.data, marks=at.marks)


def _quadrants(found: Scored) -> ReportFigure:
    import pandas

    counts = found.summary["quadrants"]
    figure = plot_quadrants(counts)
    total = sum(cell["n"] for cell in counts)
    both = sum(cell["n"] for cell in counts if cell["high"] and cell["recovered"])
    density = DENSITY.get(found.summary["density_axis"], "the mean log-density without the image, in disjoint runs")
    caption = (
        f"Images by counterfactual score (above {HIGH:g} standard errors or not) and recovery (back in half of the "
        f"runs that trained on it), and by density and leverage (above or below the median of the images with as many "
        f"copies). Density: {density}. High by one measure of memorization and not by the other shows where "
        f"they differ. n = {several(total, 'image')}, {found.n}."
    )
    cells = several(len(counts), "combination")
    alt = f"A table of {several(total, 'image')} in {cells}; high score and recovered: {both}."
    return ReportFigure("scores_quadrants", "scores", figure, caption, alt, data=pandas.DataFrame(counts))


def _by_density(found: Scored) -> ReportFigure:
    known = _known(found)
    figure = plot_density(known)
    lo, hi = central(known["mean_in"].to_numpy())
    high = (known["Mbar"] > HIGH * known["se"]).to_numpy()
    inside = known["mean_in"].between(lo, hi).to_numpy()
    rows = _rows(known).assign(high=high, central=inside)
    marks = [
        Mark(figure.axes[0], row.mean_in, row.Mbar,
             f"image {row.image_id}: score {row.Mbar:.3g} ± {row.se:.2g} nats, log-density {row.mean_in:.4g}, copies "
             f"{row.copies:g}")
        for row in known.itertuples()
    ]  # fmt: skip
    at = points([rows], marks)
    counts = {
        (a, b): int(np.sum((high == a) & (inside == b))) for a in (True, False) for b in (True, False)
    }  # fmt: skip
    said = (
        f"of the {high.sum()} above {HIGH:g} standard errors {counts[True, True]} are inside and {counts[True, False]} "
        f"outside the central {100 * CENTRAL:g} % by density, of the others {counts[False, True]} and "
        f"{counts[False, False]}"
    )
    rates = found.summary["base_rates"]
    shares = "; ".join(
        f"of the top {100 * one['top']:g} % of scores {_percent(one)}, from disjoint halves {_percent(other)}"
        for one, other in zip(rates["same_runs"], rates["disjoint_halves"], strict=True)
    )
    caption = (
        f"{SCORE} Against the log-density with the image in training: {said}. Inliers (the base rate is "
        f"{100 * CENTRAL:g} %): {shares}. Score and density of the same runs share their noise, those of disjoint "
        f"halves of the runs do not. n = {several(len(known), 'image')}, {found.n}.{at.note}"
    )
    alt = f"Counterfactual score against log-density; {said}."
    return ReportFigure("scores_by_density", "scores", figure, caption, alt, data=at.data, marks=at.marks)


def _highest(found: Scored, tables: Tables) -> list[ReportFigure]:
    top = most_memorized(found.table, tables.pixels.keys())
    if top.empty:
        return []
    ids = top["image_id"].to_numpy()
    pixels = np.stack([tables.pixels[image] for image in ids])
    figure = plot_most_memorized(top, ids, pixels)
    marks = [
        mark(
            axes, picture, f"image {row.image_id}: score {row.Mbar:.3g} ± {row.se:.2g} nats, copies {row.copies:g}", ()
        )
        for axes, picture, row in zip(figure.axes, pixels, top.itertuples(), strict=True)
    ]
    caption = (
        f"The images of the highest counterfactual scores (nats ± standard error, copies), those above {HIGH:g} "
        f"standard errors first. n = {several(len(_known(found)), 'image')}, {found.n}."
    )
    shown, first = several(len(top), "image"), top["Mbar"].iloc[0]
    alt = f"The {shown} of the highest counterfactual scores, the first {first:.3g} nats."
    return [ReportFigure("scores_images", "images", figure, caption, alt, wide=True, data=_rows(top), marks=marks)]


def _known(found: Scored) -> "DataFrame":
    return found.table[found.table["se"].notna()]


def _rows(table: "DataFrame") -> "DataFrame":
    """For the csv."""
    named = {"Mbar": "score", "mean_in": "log_density"}
    return table.rename(columns=named)[["image_id", "copies", "score", "se", "log_density"]].assign(drawn="image")


def _percent(share: dict[str, Any]) -> str:
    """83 % (44 to 97 %, n = 6)."""
    if share["share"] is None:
        return "none (n = 0)"
    return f"{100 * share['share']:.0f} % ({100 * share['lo']:.0f} to {100 * share['hi']:.0f} %, n = {share['n']})"
