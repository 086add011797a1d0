"""Study 1 in two pictures: every stratum on one curve, and what was predicted before it was trained."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import expit

from analysis.plots import GREY, Ordered, ReportFigure
from analysis.registered import observed
from analysis.studies.rate_law import rate_law, value_of
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

SIZE = (6.4, 4.2)
STEP = np.log(2) / 2  # of ln index: strata within it are pooled


def collapsed(strata: "DataFrame") -> ReportFigure:
    """Recovered share of what the ideal denoiser brings back against the law's index, the law drawn; by size."""
    import pandas

    ratio = (strata["params"] / strata["n_unique"]).to_numpy(float)
    exposures = (strata["images_seen"] * strata["copies"] / strata["n_train"]).to_numpy(float)
    x = {"params_per_unique": ratio, "exposures": exposures, "time": strata["images_seen"].to_numpy(float)}
    law = rate_law(strata, "n_basin_recovered", "n_ideal_basin_recovered", x)
    b, constant = {name: value_of(law, f"b_{name}") for name in x}, value_of(law, "b_0")
    # In units of exposures: how often a network of 100 weights an image would have to see it, at 100,000 images seen.
    index = np.exp(np.log(exposures) + (b["params_per_unique"] * np.log(ratio / 100)
                   + b["time"] * np.log(x["time"] / 1e5)) / b["exposures"])  # fmt: skip
    order = Ordered(strata["params"].unique(), "parameters")
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    rows = []
    for size in order.values:
        mine = (strata["params"] == size).to_numpy()
        place = np.floor(np.log(index[mine]) / STEP)
        part = strata[mine].assign(place=place, index=np.log(index[mine])).groupby("place")
        hits, trials = part["n_basin_recovered"].sum(), part["n_ideal_basin_recovered"].sum()
        centre = np.exp(part["index"].mean())
        axes.plot(centre, hits / trials, order.marker(size), color=order.color(size), markersize=4.5,
                  linestyle="none", label=order.label(size))  # fmt: skip
        rows.append(pandas.DataFrame({"params": size, "index": centre, "rate": hits / trials, "strata": part.size()}))
    line = np.geomspace(index.min(), index.max(), 200)
    fixed = constant + b["params_per_unique"] * np.log(100) + b["time"] * np.log(1e5)
    axes.plot(line, expit(fixed + b["exposures"] * np.log(line)), color=GREY, linewidth=1.2, zorder=0)
    axes.set(xscale="log", ylim=(-0.03, 1.03), ylabel="recovered share of what the ideal denoiser recovers",
             xlabel="exposures, corrected for size, data and time (log scale)")  # fmt: skip
    axes.legend(title="parameters", fontsize=8, title_fontsize=8, frameon=False)
    exponents = (b["params_per_unique"] / b["exposures"], b["time"] / b["exposures"])
    caption = (
        f"All strata of copies, sizes, numbers of images and times from 25,600 images seen on, on one axis: exposures "
        f"x (parameters / (100 unique images))^{exponents[0]:.2f} x (images seen / 100,000)^{exponents[1]:.2f}. Each "
        f"point: a size's strata within a factor of 1.4 of the axis, pooled. Line: the logistic law of the three. "
        f"n = {len(strata):,} strata of {strata['run_id'].nunique()} runs."
    )
    alt = "The share rises from 0 to near 1 around one S-shaped line, the points of every size somewhat beside it."
    return ReportFigure("collapse", "curves", figure, caption, alt, True, pandas.concat(rows, ignore_index=True))


def predicted_against_measured(prediction: "DataFrame", tables: Tables) -> ReportFigure:
    """Each registered rate with its 90 % interval against the rate that its run measured."""
    rows = observed(prediction, tables)
    rows = rows[rows["rate"].notna() & rows["response"].isin(("recovery of ceiling", "memorized"))]
    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    order = Ordered(rows["params"].unique(), "parameters")
    for axes, name, title in ((left, "recovery of ceiling", "recovered share of the ceiling, by stratum"),
                              (right, "memorized", "memorized share of samples, by cell")):  # fmt: skip
        part = rows[rows["response"] == name]
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for size, mine in part.groupby("params"):
            away = np.stack([mine["value"] - mine["lo"], mine["hi"] - mine["value"]]).clip(min=0)
            axes.errorbar(mine["rate"], mine["value"], yerr=away, fmt=order.marker(size), color=order.color(size),
                          markersize=4, linewidth=0.8, capsize=1.5)  # fmt: skip
        axes.set(title=title, xlabel="measured", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.title.set_fontsize(9)
    left.set_ylabel("predicted before training (90 % interval)")
    marks = [Line2D([], [], marker=order.marker(v), color=order.color(v), linestyle="none", label=order.label(v))
             for v in order.values]  # fmt: skip
    right.legend(handles=marks, title="parameters", fontsize=8, title_fontsize=8, frameon=False, loc="lower right")
    caption = (
        f"Rates registered before any of these runs was trained, with the 90 % interval of one new run, against what "
        f"the runs measured: {len(rows[rows['response'] != 'memorized'])} strata and "
        f"{len(rows[rows['response'] == 'memorized'])} cells. On the line: predicted exactly."
    )
    alt = "Predicted against measured rates scatter about the diagonal, most bars crossing it."
    columns = ["response", "run_id", "copies", "params", "value", "lo", "hi", "rate"]
    return ReportFigure("registered", "curves", figure, caption, alt, True, rows[columns])
