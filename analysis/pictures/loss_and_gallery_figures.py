"""The report's figures over training, and its gallery: from which rows, with caption and alternative text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import plots
from analysis.pictures.curve_figures import Figures, Fits, overdispersion, trend
from analysis.pictures.gallery_plot import plot_gallery
from analysis.pictures.photographs import pair_points
from analysis.pictures.points import Points, marks_of, points, said_runs, said_setting, said_share, with_runs
from analysis.plots import Ordered, ReportFigure
from analysis.summary import (
    last_evaluations,
    main_setting,
    pooled_rates,
)
from analysis.table import Tables
from analysis.words import count_label, several
from scaling.schema import GALLERY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

MOST_PANELS, MOST_STRIPS, MOST_PAIRS = 6, 3, 10
TRAINING_SET = ("design", "n_unique", "n_train")


def growth(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Memorized share of samples against images_seen, a line a size."""
    rows = tables.evals[tables.evals["n_memorized"].notna() & (tables.evals["n_generated"] > 0)]
    if rows.empty or rows["images_seen"].nunique() < 2:
        return "No figure over training: it takes memorized counts at two or more evaluations."
    rows, setting = main_setting(rows, TRAINING_SET)
    c, by = overdispersion(fits.get("memorized")), ("params", "images_seen")
    rates = pooled_rates(rows, by, "n_memorized", "n_generated", overdispersion=c, level=level)
    rates = with_runs(rates, rows, by)
    figure = plots.plot_growth(rates, params, ylabel=f"memorized share of samples ({100 * level:g} % interval)")
    marks = marks_of(
        figure.axes[0], rates, rates["images_seen"], rates["rate"],
        lambda row: f"{said_setting(row, by)}: {said_share(row, 'memorized', 'samples')}",
    )  # fmt: skip
    at = points([rates.assign(drawn="pooled")], marks)
    count = rows["run_id"].nunique()
    caption = (
        f"Memorized share of samples while training goes on, by model size. n = {said_runs(count)}{setting}.{at.note}"
    )
    alt = f"Memorized share against images seen; {trend(rates, 'images_seen')}."
    return [ReportFigure("memorized_over_training", "training", figure, caption, alt, data=at.data, marks=at.marks)]


def losses(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Training, seen and hold-out loss against images_seen, a panel a size."""
    rows = tables.evals[tables.evals[list(plots.LOSSES)].notna().any(axis=1)]
    rows = rows[rows["images_seen"].notna()]  # of an audited model the clock may not be known
    if rows.empty:
        return "No figure of losses: none was measured."
    rows, setting = main_setting(rows, TRAINING_SET)
    sizes = sorted(rows["params"].unique())
    shown = [sizes[k] for k in _spaced(len(sizes), MOST_PANELS)]
    figure = plots.plot_losses(rows, shown)
    at = _loss_points(figure.axes, rows, shown)
    caption = (
        f"Losses over training: on the optimised batches, on training images under fresh noise (seen), on held-out "
        f"images. Where "
        f"seen falls and hold-out rises, the model memorizes. Bands: 95 %. n = "
        f"{said_runs(rows['run_id'].nunique())}{setting}.{at.note}"
    )
    panels = several(len(shown), "panel")
    alt = f"Training, seen and hold-out loss against images seen, {panels}, one for each model size."
    return [
        ReportFigure("losses", "training", figure, caption, alt, wide=True, data=at.data, marks=at.marks),
    ]


def _loss_points(panels: Sequence["Axes"], rows: "DataFrame", sizes: Sequence[float]) -> Points:
    """Each size's mean losses, as drawn in its panel."""
    parts, marks = [], []
    for axes, size in zip(panels, sizes, strict=False):  # the last panels may stay empty
        for name in plots.LOSSES:
            known = rows[(rows["params"] == size) & rows[name].notna()]
            if known.empty:
                continue
            means = with_runs(plots.loss_means(known, name), known, ("images_seen",))
            means = means.assign(drawn="mean", measure=name, params=size, n_runs=means["runs"].map(len))
            parts.append(means)
            marks += marks_of(axes, means, means["images_seen"], means["loss"], _said_loss)
    return points(parts, marks)


def _said_loss(row: Any) -> str:
    ends = f" ({row.lo:.4g} to {row.hi:.4g})" if np.isfinite(row.lo) else ""
    setting = said_setting(row, ("params", "images_seen"))
    return f"{setting}: {row.measure.replace('_', ' ')} {row.loss:.4g}{ends}, {said_runs(row.n_runs)}"


def gallery(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """Samples above their nearest training images, of runs from the most copies to the fewest."""
    rows = last_evaluations(tables.evals)
    rows = rows[[bool(tables.gallery.get(str(run))) for run in rows["run_id"]]]
    if rows.empty:
        return "No gallery: the runs kept no samples."
    rows = rows.assign(share=rows["n_memorized"] / rows["n_generated"])
    rows = rows.sort_values(["share", "params"], na_position="first")
    shown = rows.iloc[_spaced(len(rows), MOST_STRIPS)[::-1]]
    strips = [tables.gallery[str(run)] for run in shown["run_id"]]
    if not all(name in strip for strip in strips for name in GALLERY):
        return f"No gallery: the sample files lack one of {', '.join(GALLERY)}."
    pairs = [_thinned({name.removeprefix("gallery_"): strip[name] for name in GALLERY}) for strip in strips]
    titles = [
        f"run {row.run_id}: {count_label(row.params)} parameters, "
        + ("memorized samples not counted" if np.isnan(row.share) else f"{100 * row.share:.1f} % of samples memorized")
        for row in shown.itertuples()
    ]
    figure = plot_gallery(pairs, titles, max(len(pair["ratio"]) for pair in pairs))
    caption = (
        "Generated samples (upper row) and the training image nearest to each (lower row), from runs that memorize "
        "most, middling "
        "and least. Below: the gap ratio and the copies of that training image; framed where the ratio is below "
        "1/3, the mark of "
        "a copy. Half of a strip are the first samples drawn, half those with the smallest ratio."
    )
    alt = f"Samples beside their nearest training images for {said_runs(len(pairs))}."
    at = pair_points(figure, pairs, [str(run) for run in shown["run_id"]])
    return [ReportFigure("gallery", "gallery", figure, caption, alt, wide=True, data=at.data, marks=at.marks)]


def _thinned(pair: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most MOST_PAIRS: from the front half (first drawn) and the back half (smallest ratio) alike."""
    count = len(pair["ratio"])
    if count <= MOST_PAIRS:
        return pair
    keep = np.append(np.arange(MOST_PAIRS // 2), count // 2 + np.arange(MOST_PAIRS - MOST_PAIRS // 2))
    return {name: array[keep] for name, array in pair.items()}


def _spaced(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` places, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
