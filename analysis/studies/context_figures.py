"""Study 7 in one picture: the tagged images' recovery by size in every company, and the contexts' log-odds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.plots import GREY, ReportFigure, ticks_apart
from analysis.rates import wilson
from analysis.studies.context_pairs import HITS, TRIALS
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.studies.context_pairs import Told

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#007A5A", "#A6417A"
SIGNS = {"unique": (BLUE, "o"), "equal": (VERMILION, "s"), "matched": (GREEN, "^"), "duplicated": (PURPLE, "D")}
APART = 1.06  # of the sizes: points of one size beside each other


def by_size(own: "DataFrame", words: Mapping[str, str], odds: Mapping[str, Mapping[float, "Told"]]) -> ReportFigure:
    """A panel for each number of copies: recovery over sizes by company; the last: log-odds against unique company."""
    import pandas

    copies = sorted(own["copies"].unique())
    figure = Figure(figsize=(2.4 * (len(copies) + 1), 2.9), layout="constrained")
    *panels, last = figure.subplots(1, len(copies) + 1)
    data = []
    for axes, r in zip(panels, copies, strict=True):
        data += _recovered(axes, own[own["copies"] == r], words)
        axes.set(ylim=(-0.03, 1.03), title=f"{r:.0f} {'copy' if r == 1 else 'copies'}")
    data += _log_odds(last, odds)
    for axes in (*panels, last):
        _sizes(axes, own)
    panels[0].set_ylabel("recovered share of chains")
    signs = {label: sign for axes in panels for sign, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(signs.values()), list(signs), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    caption = (
        f"Recovery of 32 tagged images with equal copies in different company, n_train and images seen the same; bars: "
        f"95 % of the chains (Wilson). Right: log-odds of recovery against unique company, over the numbers of copies "
        f"(Mantel-Haenszel), mean over draws of images with its 95 % interval. n = {own['run_id'].nunique()} runs."
    )
    ends = {name: list(told.values()) for name, told in odds.items() if told}
    said = "; ".join(f"{name} {one[0][0]:.1f} at the smallest, {one[-1][0]:.1f} at the largest size"
                     for name, one in ends.items())  # fmt: skip
    alt = f"Log-odds against unique company: {said}."
    return ReportFigure("company", "curves", figure, caption, alt, True, pandas.concat(data, ignore_index=True))


def _recovered(axes: Axes, own: "DataFrame", words: Mapping[str, str]) -> list["DataFrame"]:
    """A curve for each company; what was drawn."""
    drawn = []
    for name, (color, marker) in SIGNS.items():
        part = own[own["context"] == name]
        if part.empty:
            continue
        sums = part.groupby(["copies", "params"], as_index=False)[[HITS, TRIALS]].sum()
        rate, lo, hi = wilson(sums[HITS], sums[TRIALS])
        axes.errorbar(sums["params"], rate, yerr=[rate - lo, hi - rate], color=color, marker=marker, markersize=4,
                      linewidth=1.2, capsize=2, label=words[name])  # fmt: skip
        drawn.append(sums.assign(context=name, value=rate, lo=lo, hi=hi))
    return drawn


def _log_odds(axes: Axes, odds: Mapping[str, Mapping[float, "Told"]]) -> list["DataFrame"]:
    """A curve for each company with the intervals over draws; what was drawn."""
    import pandas

    drawn = []
    for place, (name, told) in enumerate(odds.items()):
        color, marker = SIGNS[name]
        rows = pandas.DataFrame([(size, *one) for size, one in told.items()], columns=["params", "value", "lo", "hi"])
        away = [rows["value"] - rows["lo"], rows["hi"] - rows["value"]]
        axes.errorbar(rows["params"] * APART ** (2 * place - 1), rows["value"], yerr=away, color=color, marker=marker,
                      markersize=4, linewidth=1.2, capsize=2)  # fmt: skip
        drawn.append(rows.assign(context=f"{name}: log-odds against unique"))
    axes.axhline(0, color=GREY, linewidth=1, linestyle=":", zorder=0)
    axes.set(title="against unique company", ylabel="log-odds")
    return drawn


def _sizes(axes: Axes, own: "DataFrame") -> None:
    """The axis of sizes, its ticks at those that were trained."""
    axes.title.set_fontsize(9)
    axes.set(xscale="log", xlabel="parameters (log scale)")
    axes.xaxis.label.set_fontsize(8.5)
    axes.spines[["top", "right"]].set_visible(False)
    shown = ticks_apart(own["params"], 0.3)
    axes.set_xticks(shown, [count_label(tick) for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())
