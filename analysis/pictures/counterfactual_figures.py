"""Figures of the counterfactual scores: data in, matplotlib Figure out (style of analysis/plots.py)."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.per_image.quadrants import HIGH, KINDS, central, kinds
from analysis.pictures.agreement_figures import plot_images
from analysis.plots import GREEN, GREY, MARKERS, PURPLE, SIZE, VERMILION, Ordered
from analysis.words import several

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

COVARIATES = {
    "nearest_train_distance": "distance to the nearest other training image (rms pixel)",
    "leverage": "leverage of the image with all copies",
}
SCORE = "counterfactual score (nats)"
KIND_COLORS = dict(zip(KINDS, (VERMILION, GREEN, GREY, PURPLE), strict=True))
EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.3}  # apart without being pale
SHOWN = 10  # of the most memorized images


def figures(table: "DataFrame", found: Mapping[str, Any], gallery: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Every figure that the table, its summary (`quadrants.summary`) and the pixels allow, by file name.

    Without any standard error there is none: a score without its error is not shown.
    """
    table = table[table["se"].notna()]
    if table.empty:
        return {}
    made = {"score_by_copies": plot_by_copies(table, found["by_copies"], found["level"])}
    made["quadrants"] = plot_quadrants(found["quadrants"])
    made["quadrants"].suptitle(f"density: {found['density_axis']}; medians within copies", fontsize=8)
    for name, label in COVARIATES.items():
        if table[name].notna().any():
            made[f"score_by_{name}"] = plot_against(table, name, label)
    if found["kinds"] and table["neighbor_se"].notna().any():
        made["score_and_neighbors"] = plot_kinds(table)
    if gallery and np.isin(table["image_id"], gallery["image_ids"]).any():
        top = most_memorized(table, gallery["image_ids"])
        made["most_memorized"] = plot_most_memorized(top, gallery["image_ids"], gallery["image_pixels"])
        made["most_memorized"].suptitle("highest counterfactual scores (score ± SE, copies)", fontsize=9)
    return made


def plot_against(table: "DataFrame", x: str, xlabel: str) -> Figure:
    """Mbar with 2 standard errors against column `x`, colour and marker by copies; rows without either are left out."""
    known = table[table["se"].notna() & table[x].notna()]
    figure, axes = _panel(f"n = {several(len(known), 'image')}, bars {HIGH:g} standard errors")
    copies = Ordered(known["copies"].unique(), "copies")
    for value, part in known.groupby("copies"):
        axes.errorbar(
            part[x], part["Mbar"], yerr=HIGH * part["se"], fmt=copies.marker(value), linestyle="none", markersize=3.5,
            color=copies.color(value), elinewidth=0.5, label=f"{value:g}", **EDGE,
        )  # fmt: skip
    _score_axis(axes, known)
    axes.set(xlabel=xlabel, ylabel=SCORE)
    axes.legend(title="copies", fontsize=8, title_fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_by_copies(table: "DataFrame", means: Sequence[Mapping[str, Any]], level: float) -> Figure:
    """Mbar of every image against its copies, and the mean of each stratum with its interval over images."""
    known = table[table["se"].notna()]
    figure, axes = _panel(f"n = {several(len(known), 'image')}; black: mean, {100 * level:g} % interval over images")
    copies = Ordered(known["copies"].unique(), "copies")
    for value, part in known.groupby("copies"):
        place = value * np.exp(np.linspace(-0.15, 0.15, len(part)))  # beside each other, in the order of the table
        axes.plot(place, part["Mbar"], ".", color=copies.color(value), markersize=5, **EDGE)
    drawn = [m for m in means if m["lo"] is not None]
    mean = np.array([m["mean"] for m in drawn])
    arms = [mean - [m["lo"] for m in drawn], [m["hi"] for m in drawn] - mean]
    axes.errorbar([m["copies"] for m in drawn], mean, yerr=arms, fmt="o", color="black", capsize=3, zorder=4)
    axes.set_xscale("log")
    axes.set_xticks(copies.values, [f"{value:g}" for value in copies.values])
    axes.set_xticks([], minor=True)
    _score_axis(axes, known)
    axes.set(xlabel="copies of the image (log scale)", ylabel=SCORE)
    return figure


def plot_quadrants(counts: Sequence[Mapping[str, Any]]) -> Figure:
    """Images by score and recovery (rows), density and leverage (columns); the share of each row is the colour."""
    rows, columns = (_combinations(counts, pair) for pair in (("high", "recovered"), ("dense", "high_leverage")))
    grid = np.zeros((len(rows), len(columns)), int)
    for cell in counts:
        at = rows.index((cell["high"], cell["recovered"])), columns.index((cell["dense"], cell["high_leverage"]))
        grid[at] += cell["n"]
    share = grid / np.maximum(grid.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(1.4 + 0.95 * len(columns), 1.0 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), n in np.ndenumerate(grid):
        axes.text(column, row, n, ha="center", va="center", color="black" if share[row, column] > 0.55 else "white")
    axes.set_yticks(range(len(rows)), [_words(row, ("score", "recovered")) for row in rows], fontsize=8)
    axes.set_xticks(range(len(columns)), [_words(c, ("dense", "leverage")) for c in columns], fontsize=8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"n = {several(grid.sum(), 'image')}; colour: share of the row", fontsize=8)
    return figure


def plot_density(table: "DataFrame") -> Figure:
    """Mbar against the log-density with the image in training; shaded: the central 90 % of the images by density.

    Full markers are above 2 standard errors, open ones are not; colour and marker by copies.
    """
    known = table[table["se"].notna()]
    figure, axes = _panel(
        f"n = {several(len(known), 'image')}; full: above {HIGH:g} standard errors; shaded: central 90 %"
    )
    copies = Ordered(known["copies"].unique(), "copies")
    for value, part in known.groupby("copies"):
        high = (part["Mbar"] > HIGH * part["se"]).to_numpy()
        color = copies.color(value)
        for some, face in ((high, color), (~high, "white")):
            axes.plot(
                part["mean_in"][some], part["Mbar"][some], copies.marker(value), linestyle="none", markersize=4,
                markeredgecolor=color, markerfacecolor=face, markeredgewidth=0.8,
                label=f"{value:g}" if face != "white" else None,
            )  # fmt: skip
    axes.axvspan(*central(known["mean_in"].to_numpy()), color=GREY, alpha=0.12, linewidth=0, zorder=0)
    _score_axis(axes, known)
    axes.set(xlabel="log-density with the image in training (nats)", ylabel=SCORE)
    axes.legend(title="copies", fontsize=8, title_fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_kinds(table: "DataFrame") -> Figure:
    """Own score against that of the nearest hold-out images, colour and marker by kind; the diagonal: learned."""
    known = table[table["neighbor_se"].notna() & table["se"].notna()]
    figure, axes = _panel(f"n = {several(len(known), 'image')}; dashed: the neighbours gain as much")
    found = kinds(known)
    for (kind, color), marker in zip(KIND_COLORS.items(), MARKERS, strict=False):
        part = known[found == kind]
        axes.plot(
            part["neighbor"], part["Mbar"], marker, linestyle="none", color=color, markersize=4,
            label=f"{kind} ({len(part)})", **EDGE,
        )  # fmt: skip
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
    axes.axhline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
    axes.set(xlabel="score of its nearest hold-out images (nats)", ylabel=SCORE)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def most_memorized(table: "DataFrame", image_ids: Collection[str], count: int = SHOWN) -> "DataFrame":
    """The rows of highest Mbar among `image_ids`, of those above 2 standard errors first."""
    known = table[table["se"].notna() & table["image_id"].isin(image_ids)]
    return known.iloc[np.lexsort([-known["Mbar"], ~(known["Mbar"] > HIGH * known["se"])])[:count]]


def plot_most_memorized(top: "DataFrame", image_ids: np.ndarray, pixels: np.ndarray) -> Figure:
    """The images of `most_memorized` in their order: image_ids [K], pixels [K C H W] uint8."""
    place = {image: k for k, image in enumerate(image_ids)}
    shown = pixels[[place[image] for image in top["image_id"]]]
    below = [f"{row.Mbar:.3g}\n± {row.se:.2g}\n×{row.copies:g}" for row in top.itertuples()]
    return plot_images([("highest\nscore", shown, below)])


def _panel(title: str) -> "tuple[Figure, Axes]":
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=8)
    return figure, axes


def _score_axis(axes: "Axes", known: "DataFrame") -> None:
    """Linear up to the usual standard error, logarithmic beyond: scores of memorized images grow as -d ln sigma_min.

    Linear throughout where nearly all scores are of one magnitude: an axis of decades would hide what they differ by.
    """
    axes.axhline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
    usual = float(HIGH * known["se"].median()) if len(known) else 0.0
    size = known["Mbar"].abs()
    if usual > 0 and size.max() > 20 * max(usual, float(size.quantile(0.1))):
        axes.set_yscale("symlog", linthresh=usual)
        axes.autoscale_view(scalex=False)  # else the margins are those of the linear scale
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6))


def _combinations(counts: Sequence[Mapping[str, Any]], names: tuple[str, str]) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys((cell[names[0]], cell[names[1]]) for cell in counts))


def _words(values: tuple[Any, ...], names: tuple[str, str]) -> str:
    """In lines so short that columns stand beside each other in one column of a paper."""

    def said(value: bool | None, name: str) -> str:
        if value is None:
            return f"{name}\nunknown"
        return {
            "score": "high score" if value else "no high score",
            "recovered": "recovered" if value else "not recovered",
            "dense": "dense" if value else "sparse",
            "leverage": "high\nleverage" if value else "low\nleverage",
        }[name]

    return ",\n".join(said(value, name) for value, name in zip(values, names, strict=True))
