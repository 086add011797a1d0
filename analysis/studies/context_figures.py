"""Study 7 in one picture: the tagged images' recovery by size in every company, and what study 1's law says of it."""

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

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#007A5A", "#A6417A"
SIGNS = {"unique": (BLUE, "o"), "equal": (VERMILION, "s"), "matched": (GREEN, "^"), "duplicated": (PURPLE, "D")}


def company(own: "DataFrame", law: "DataFrame", words: Mapping[str, str]) -> ReportFigure:
    """A panel for each number of copies: recovery over sizes by company; the last: measured against foretold shares.

    own: the tagged images' last strata; law: every last stratum beside study 1's law (context_law.py).
    """
    import pandas

    copies = sorted(own["copies"].unique())
    figure = Figure(figsize=(2.4 * (len(copies) + 1), 2.9), layout="constrained")
    *panels, last = figure.subplots(1, len(copies) + 1)
    data = []
    for axes, r in zip(panels, copies, strict=True):
        data += _recovered(axes, own[own["copies"] == r], words)
        axes.set(ylim=(-0.03, 1.03), title=f"{r:.0f} {'copy' if r == 1 else 'copies'}")
        _sizes(axes, own)
    data += _against_the_law(last, law)
    panels[0].set_ylabel("recovered share of chains")
    signs = {label: sign for axes in panels for sign, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(signs.values()), list(signs), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    caption = (
        f"Recovery of 32 tagged images with equal copies in different company, n_train and images seen the same; bars: "
        f"95 % of the chains (Wilson). Right: every stratum's share of what the ideal denoiser brings back (filled: "
        f"the tagged) beside what the law of study 1 says of it. n = {own['run_id'].nunique()} runs."
    )
    ends = {name: _shares(part).iloc[-1] for name, part in own.groupby("context")}
    said = ", ".join(f"{100 * one[HITS] / one[TRIALS]:.0f} % ({words[name]}, {one['copies']:.0f} copies)"
                     for name, one in ends.items())  # fmt: skip
    alt = f"Recovered shares at the largest size and most copies: {said}."
    return ReportFigure("company", "curves", figure, caption, alt, True, pandas.concat(data, ignore_index=True))


def _shares(part: "DataFrame") -> "DataFrame":
    """Hits and trials of all draws by copies and size."""
    return part.groupby(["copies", "params"], as_index=False)[[HITS, TRIALS]].sum()


def _recovered(axes: Axes, own: "DataFrame", words: Mapping[str, str]) -> list["DataFrame"]:
    """A curve for each company; what was drawn."""
    drawn = []
    for name, (color, marker) in SIGNS.items():
        part = own[own["context"] == name]
        if part.empty:
            continue
        sums = _shares(part)
        rate, lo, hi = wilson(sums[HITS], sums[TRIALS])
        axes.errorbar(sums["params"], rate, yerr=[rate - lo, hi - rate], color=color, marker=marker, markersize=4,
                      linewidth=1.2, capsize=2, label=words[name])  # fmt: skip
        drawn.append(sums.assign(context=name, value=rate, lo=lo, hi=hi))
    return drawn


def _against_the_law(axes: Axes, law: "DataFrame") -> list["DataFrame"]:
    """Means over draws of a stratum's measured share over the foretold; what was drawn."""
    by = ["context", "tagged", "copies", "params"]
    drawn = []
    for name, (color, marker) in SIGNS.items():
        rows = law[law["context"] == name].groupby(by, as_index=False)[["law", "measured"]].mean()
        for tagged in (False, True):
            some = rows[(rows["copies"] == rows["tagged"]) == tagged]
            axes.plot(some["law"], some["measured"], marker, color=color, markersize=4,
                      fillstyle="full" if tagged else "none", markeredgewidth=0.8)  # fmt: skip
        drawn.append(rows.assign(context=f"{name}: foretold"))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", zorder=0)
    axes.set(title="beside study 1's law", ylabel="measured share", xlabel="share by the law",
             xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))  # fmt: skip
    _plain(axes)
    return drawn


def _sizes(axes: Axes, own: "DataFrame") -> None:
    """The axis of sizes, its ticks at those that were trained."""
    axes.set(xscale="log", xlabel="parameters (log scale)")
    _plain(axes)
    shown = ticks_apart(own["params"], 0.3)
    axes.set_xticks(shown, [count_label(tick) for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())


def _plain(axes: Axes) -> None:
    axes.title.set_fontsize(9)
    axes.xaxis.label.set_fontsize(8.5)
    axes.spines[["top", "right"]].set_visible(False)
