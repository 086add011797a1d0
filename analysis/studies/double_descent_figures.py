"""Study 2 in pictures: both losses over sizes with the peak, copies, KID and early stopping across it, over images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.pictures.descent_plot import SHOWN, DescentPanel, plot_descents
from analysis.plots import ReportFigure, ticks_apart
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

WEIGHTS = "params_no_time"
XLABEL = "weights (log scale)"
COLORS = ("#0072B2", "#D55E00", "#CC79A7", "#009E73")
MARKERS = ("o", "s", "^", "D")


def curves(
    settings: Mapping[str, "DataFrame"], found: Mapping[str, tuple[Mapping[str, Any], float | None]]
) -> ReportFigure:
    """A panel a setting: training and hold-out loss over sizes, the peak with its interval, the predicted threshold."""
    import pandas

    panels, data = [], []
    for name, rows in settings.items():
        verdict, predicted = found[name]
        panel = _panel(name, XLABEL, rows, WEIGHTS, verdict, predicted)
        data.append(panel.losses.assign(setting=name))
        panels.append(panel)
    figure = plot_descents(panels)
    runs = sum(len(rows) for rows in settings.values())
    caption = (
        f"Training and hold-out loss at the end over the models' sizes. Bars: standard error of the runs' mean. "
        f"Triangle: the peak with its 95 % interval. Dotted: images x draws x 64, where the peak was predicted. "
        f"n = {runs} runs."
    )
    held = {
        name: one[one["loss"] == "holdout_loss"].set_index("x")["mean"]
        for name, one in zip(settings, data, strict=True)
    }
    said = "; ".join(f"{name}: hold-out loss highest at {count_label(one.idxmax())}" for name, one in held.items())
    return ReportFigure("curves", "descent", figure, caption, f"{said} weights.", True, pandas.concat(data))


def images(rows: "DataFrame", predicted: float, verdict: Mapping[str, Any]) -> ReportFigure:
    """Training and hold-out loss of one size over numbers of images, the peak and where it was predicted."""
    size, draws = rows[WEIGHTS].iloc[0], rows["noise_draws"].iloc[0]
    name = f"{size:,.0f} weights, {draws:.0f} draws an image"
    panel = _panel(name, "unique images (log scale)", rows, "n_unique", verdict, predicted)
    figure = plot_descents([panel])
    caption = (
        f"Training and hold-out loss at the end of models of one size ({name}) over numbers of images. Bars: standard "
        f"error of the runs' mean. Dotted: weights / (draws x 64), where the peak was predicted; a triangle: a peak "
        f"that was found, with its 95 % interval. n = {len(rows)} runs."
    )
    held = panel.losses[panel.losses["loss"] == "holdout_loss"].set_index("x")["mean"]
    alt = f"Hold-out loss over {len(held)} numbers of images, highest at {held.idxmax():.0f}, {held.max():.2f}."
    return ReportFigure("over_images", "descent", figure, caption, alt, True, panel.losses)


def across(
    settings: Mapping[str, "DataFrame"], minima: Mapping[str, "DataFrame"], predicted: Mapping[str, float | None]
) -> ReportFigure:
    """Hold-out loss at the end and at each run's minimum, copies among samples and KID, over size / predicted peak."""
    import pandas

    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    data = []
    for place, (name, rows) in enumerate(settings.items()):
        sign = {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)], "markersize": 4}
        rows = rows.assign(copies=rows["n_memorized"] / rows["n_generated"])
        for axes, column in zip(panels, ("holdout_loss", "copies", "kid"), strict=True):
            means = _means(rows, column)
            axes.errorbar(means["x"], means["mean"], yerr=means["se"].fillna(0), **sign, linewidth=1.2, capsize=2,
                          label=name)  # fmt: skip
            data.append(means.assign(setting=name, column=column))
        least = _means(minima[name], "holdout_loss")
        panels[0].plot(least["x"], least["mean"], color=sign["color"], linestyle="--", linewidth=1)
        data.append(least.assign(setting=name, column="holdout_loss at the hold-out minimum"))
        if predicted[name] is not None:
            for axes in panels:
                axes.axvline(predicted[name], color=sign["color"], linestyle=":", linewidth=1, zorder=0)
    for axes, label in zip(panels, ("hold-out loss", "copies among samples", "KID"), strict=True):
        axes.set(xscale="log", xlabel=XLABEL, ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        shown = ticks_apart(data[0]["x"], 0.3)
        axes.set_xticks(shown, [count_label(tick) for tick in shown])
        axes.xaxis.set_minor_locator(NullLocator())
    panels[1].set_ylim(-0.003, max(0.05, panels[1].get_ylim()[1]))  # where no sample is a copy, 0 is the bottom
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False
    )
    caption = (
        "What happens across the peak: hold-out loss at the end (solid) and at each run's hold-out minimum (dashed), "
        "copies among the samples at the end, and their KID. Bars: standard error over runs; dotted: predicted peaks."
    )
    table = pandas.concat(data, ignore_index=True)
    highest = table[table["column"] == "copies"]["mean"].max()
    alt = f"Hold-out loss, copies (at most {100 * highest:.0f} %) and KID over sizes for {len(settings)} settings."
    return ReportFigure("across", "descent", figure, caption, alt, True, table)


def _panel(
    name: str, xlabel: str, rows: "DataFrame", x: str, verdict: Mapping[str, Any], predicted: float | None
) -> DescentPanel:
    import pandas

    losses = pandas.concat([_means(rows, loss, x).assign(loss=loss) for loss in SHOWN], ignore_index=True)
    ends = tuple(verdict[end] for end in ("peak_x", "peak_lo", "peak_hi"))
    return DescentPanel(name, xlabel, losses, None if None in ends else ends, predicted)


def _means(rows: "DataFrame", column: str, by: str = WEIGHTS) -> "DataFrame":
    """Columns x, mean, se (NaN of one run), n: a row a value of `by`."""
    import pandas

    grouped = rows[rows[column].notna()].groupby(by)[column]
    found = {"mean": grouped.mean(), "se": grouped.std(ddof=1) / np.sqrt(grouped.size()), "n": grouped.size()}
    return pandas.DataFrame(found).rename_axis("x").reset_index()
