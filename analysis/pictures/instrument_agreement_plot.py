"""How the instruments rank the cells alike, and what each of them reads beside its null and ceiling."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from analysis.plots import BLACK, GREY, Ordered

if TYPE_CHECKING:
    from pandas import DataFrame

ROOMY = 5  # instruments up to which the intervals stand in the tiles


def plot_rank_agreement(pairs: "DataFrame", names: Sequence[str], words: Mapping[str, str]) -> Figure:
    """Spearman's rho, a tile a pair: bold where its interval excludes 0. pairs: first, second, value, lo, hi."""
    count = len(names)
    at, rho = {name: k for k, name in enumerate(names)}, np.full((count, count), np.nan)
    figure = Figure(figsize=(5.0, max(2.6, (0.42 if count > ROOMY else 0.52) * count + 1.3)), layout="constrained")
    axes = figure.subplots()
    for row in pairs.itertuples():
        y, x = max(at[row.first], at[row.second]), min(at[row.first], at[row.second])
        rho[y, x] = row.value
        told = np.isfinite([row.lo, row.hi]).all()
        apart = told and not row.lo <= 0 <= row.hi
        said = f"{row.value:.2f}"
        if count <= ROOMY:
            said += f"\n({row.lo:.2f},\n{row.hi:.2f})" if told else "\n(no\ninterval)"
        axes.text(x, y, said, ha="center", va="center", fontsize=6.5 if count > ROOMY else 7.5,
                  fontweight="bold" if apart else "normal",
                  color="white" if abs(row.value) > 0.6 else BLACK)  # fmt: skip
    shades = colormaps["PuOr_r"].with_extremes(bad="white")
    image = axes.imshow(np.ma.masked_invalid(rho[1:, :-1]), cmap=shades, vmin=-1, vmax=1, aspect="auto",
                        extent=(-0.5, count - 1.5, count - 0.5, 0.5))  # fmt: skip
    labels = [words.get(name, name) for name in names]
    axes.set_xticks(range(count - 1), labels[:-1], rotation=35, ha="right", fontsize=7.5)
    axes.set_yticks(range(1, count), labels[1:], fontsize=7.5)
    axes.set_xticks(np.arange(count - 2) + 0.5, minor=True)
    axes.set_yticks(np.arange(1, count - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, aspect=30)
    bar.set_label("Spearman's ρ over cells", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    return figure


def plot_beside_null(readings: "DataFrame", line: Ordered, names: Sequence[str], words: Mapping[str, str]) -> Figure:
    """A row an instrument, a dot a cell: its rate with interval; grey: the null (|) and the ceiling (>).

    readings: columns instrument, y (height), rate, lo, hi, null, ceiling (NaN: not measured), line.name.
    """
    figure = Figure(figsize=(5.0, 0.62 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for value, part in readings.groupby(line.name):
        color = line.color(value)
        axes.hlines(part["y"], part["lo"], part["hi"], color=color, linewidth=0.8)
        axes.plot(part["rate"], part["y"], line.marker(value), color=color, markersize=3.8, markeredgecolor="white",
                  markeredgewidth=0.3, label=line.label(value))  # fmt: skip
    signs = []
    for column, marker, size in (("null", "|", 5), ("ceiling", ">", 3.5)):
        known = readings[readings[column].notna()]
        if len(known):
            signs += axes.plot(known[column], known["y"], marker, color=GREY, markersize=size, zorder=3)
            signs[-1].set_label(column)
    axes.set_yticks(range(len(names)), [words.get(name, name) for name in names], fontsize=8)
    axes.set(ylim=(len(names) - 0.45, -0.55), xlim=(-0.02, 1.02), xlabel="share of the attempts that succeed")
    sizes = [line for line in axes.get_lines() if line not in signs]
    axes.legend(
        handles=sizes,
        title="parameters",
        fontsize=7.5,
        title_fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
    if signs:
        figure.legend(handles=signs, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
