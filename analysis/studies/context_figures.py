"""Study 7 in one picture: the tagged images' recovery by size in every company, and the contexts' log-odds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.plots import GREY, ReportFigure, ticks_apart
from analysis.rates import wilson
from analysis.studies.context_pairs import HITS, TRIALS
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.studies.context_pairs import Told

SIGNS = {
    "unique": ("#0072B2", "o"),
    "equal": ("#D55E00", "s"),
    "matched": ("#007A5A", "^"),
    "duplicated": ("#A6417A", "D"),
}
APART = 1.06  # of the sizes: points of one size beside each other


def by_size(own: "DataFrame", words: Mapping[str, str], odds: Mapping[str, Mapping[float, "Told"]]) -> ReportFigure:
    """A panel for each number of copies: recovery over sizes by company; the last: log-odds against unique company."""
    import pandas

    copies = sorted(own["copies"].unique())
    figure = Figure(figsize=(2.4 * (len(copies) + 1), 2.9), layout="constrained")
    *panels, last = figure.subplots(1, len(copies) + 1)
    data = []
    for axes, r in zip(panels, copies, strict=True):
        for name, (color, marker) in SIGNS.items():
            part = own[(own["copies"] == r) & (own["context"] == name)]
            sums = part.groupby("params", as_index=False)[[HITS, TRIALS]].sum()
            if sums.empty:
                continue
            rate, lo, hi = wilson(sums[HITS], sums[TRIALS])
            axes.errorbar(sums["params"], rate, yerr=[rate - lo, hi - rate], color=color, marker=marker, markersize=4,
                          linewidth=1.2, capsize=2, label=words[name])  # fmt: skip
            data.append(sums.assign(copies=r, context=name, value=rate, lo=lo, hi=hi))
        axes.set(ylim=(-0.03, 1.03), title=f"{r:.0f} {'copy' if r == 1 else 'copies'}")
    for place, (name, told) in enumerate(odds.items()):
        color, marker = SIGNS[name]
        rows = pandas.DataFrame([(size, *one) for size, one in told.items()], columns=["params", "value", "lo", "hi"])
        x = rows["params"] * APART ** (2 * place - 1)
        last.errorbar(x, rows["value"], yerr=[rows["value"] - rows["lo"], rows["hi"] - rows["value"]], color=color,
                      marker=marker, markersize=4, linewidth=1.2, capsize=2)  # fmt: skip
        data.append(rows.assign(context=f"{name}: log-odds against unique"))
    last.axhline(0, color=GREY, linewidth=1, linestyle=":", zorder=0)
    last.set(title="against unique company", ylabel="log-odds")
    for axes in (*panels, last):
        axes.title.set_fontsize(9)
        axes.set(xscale="log", xlabel="parameters (log scale)")
        axes.xaxis.label.set_fontsize(8.5)
        axes.spines[["top", "right"]].set_visible(False)
        shown = ticks_apart(own["params"], 0.3)
        axes.set_xticks(shown, [count_label(tick) for tick in shown])
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0].set_ylabel("recovered share of chains")
    signs = {label: sign for axes in panels for sign, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(signs.values()), list(signs), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    caption = (
        f"Recovery of 32 tagged images with equal copies in different company, n_train and images seen the same; bars: "
        f"95 % of the chains (Wilson). Right: log-odds of recovery against unique company, over the numbers of copies "
        f"(Mantel-Haenszel), mean over draws of images with its 95 % interval. n = {own['run_id'].nunique()} runs."
    )
    ends = {name: list(told.values()) for name, told in odds.items()}
    said = "; ".join(
        f"{name} {one[0][0]:.1f} at the smallest, {one[-1][0]:.1f} at the largest size"
        for name, one in ends.items()
        if one
    )
    return ReportFigure("company", "curves", figure, caption, f"Log-odds against unique company: {said}.", True,
                        pandas.concat(data, ignore_index=True))  # fmt: skip
