"""Study 1's slice on other images in one picture: what comes back of them, beside digits at equal sizes and copies."""

from typing import TYPE_CHECKING, Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import Ordered, ReportFigure
from analysis.rates import wilson
from analysis.studies.robustness import CEILING, HITS, matching
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

Line = tuple[str, Literal["-", "--"], str | None]
LINES: tuple[Line, ...] = (
    ("digits, 8x8", "-", None),
    ("Fashion-MNIST, 14x14", "--", "white"),
)  # words, line, face of the marks


def other_images(evals: "DataFrame", strata: "DataFrame", other: Tables) -> ReportFigure:
    """Recovery as a share of the ideal denoiser's over copies at the last evaluation, a colour for each size."""
    import pandas

    known = strata[strata["run_id"].isin(matching(evals, other)["run_id"])]
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    order = Ordered(other.evals["params"].unique(), "parameters")
    drawn = []
    for (words, line, face), rows in zip(LINES, (known, other.strata), strict=True):
        sums = last_evaluations(rows).groupby(["params", "copies"], as_index=False)[[HITS, CEILING]].sum()
        rate, lo, hi = wilson(sums[HITS].clip(upper=sums[CEILING]), sums[CEILING])
        sums = sums.assign(images=words, rate=rate, lo=lo, hi=hi)
        drawn.append(sums)
        for size, part in sums.groupby("params"):
            away = [(part["rate"] - part["lo"]).clip(lower=0), (part["hi"] - part["rate"]).clip(lower=0)]
            axes.errorbar(part["copies"], part["rate"], yerr=away, color=order.color(size), marker=order.marker(size),
                          linestyle=line, markerfacecolor=face, markersize=4.5, linewidth=1.2, capsize=2)  # fmt: skip
    copies = sorted(known["copies"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(copies, [f"{r:.0f}" for r in copies])
    axes.set(ylim=(-0.03, 1.03), xlabel="copies (log scale)", ylabel="recovered, of what the ideal denoiser does")
    axes.spines[["top", "right"]].set_visible(False)
    signs = [Line2D([], [], color=order.color(v), marker=order.marker(v), label=f"{order.label(v)} parameters")
             for v in order.values]  # fmt: skip
    kinds = [Line2D([], [], color="black", linestyle=line, marker="o", markerfacecolor=face, label=words)
             for words, line, face in LINES]  # fmt: skip
    axes.legend(handles=[*signs, *kinds], fontsize=8, frameon=False, handlelength=3)
    data = pandas.concat(drawn, ignore_index=True)
    most = data.sort_values(["params", "copies"]).groupby("images").last()["rate"]
    caption = (
        f"The same spectrum of copies on two sources, three draws of images pooled: noised training images that come "
        f"back, as a share of those that the ideal denoiser does; bars: 95 % of chains (Wilson), not of other draws. "
        f"n = {known['run_id'].nunique()} and {other.evals['run_id'].nunique()} runs."
    )
    alt = "At the largest size and most copies: " + "; ".join(f"{of} {100 * rate:.0f} %" for of, rate in most.items())
    return ReportFigure("other_images", "curves", figure, caption, f"{alt}.", True, data)
