"""Plots of single instruments: noise levels, attack budget, prompts.

Data in, matplotlib Figure out (style of analysis/plots.py).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import GREEN, GREY, VERMILION, Ordered
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
TITLES = {"params": "parameters", "n_unique": "unique images", "copies": "copies"}
STRIPES = np.array([(201, 209, 218), (238, 241, 245)], np.uint8)  # of an unknown pixel: no grey of a grey image
RECOVERED, MISSED = "✓", "✗"  # as narrow as a photograph in one column of a paper
ENLARGED = 12  # a pixel's side in the striped picture: wide enough for a stripe

PANELS = (  # kind, column, its error, label, the level that means something, its words
    ("loss", "gap", "gap_se", "hold-out minus seen loss", 0.0, "0: nothing memorized"),
    ("loss", "ideal_distance", None, "distance to the ideal denoiser", 1.0, "1: a linear denoiser; 0: a copier"),
    ("sampler", "trajectory_distance", None, "path distance of the sampler", 1.0, "1: on noised training images"),
)


def plot_noise_levels(levels: "DataFrame", line: Ordered, z: float) -> Figure:
    """Three panels over sigma, a line for each value of `line`: the mean of its runs; faint lines are single runs.

    levels: a row a run, kind and sigma; columns run_id, kind, sigma, line.name, gap, gap_se, ideal_distance,
    trajectory_distance. Bands: z standard errors of the gap (over images).
    """
    panels = noise_panels(levels)
    figure = Figure(figsize=(3.1 * len(panels) + 0.9, 3.1), layout="constrained")
    drawn: dict[str, Line2D] = {}
    for axes, (kind, name, error, label, level, said) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _style(axes)
        known = levels[(levels["kind"] == kind) & levels[name].notna()]
        for value, part in known.groupby(line.name):
            color, marker = line.color(value), line.marker(value)
            if part["run_id"].nunique() > 1:
                for _, run in part.sort_values("sigma").groupby("run_id"):
                    axes.plot(run["sigma"], run[name], color=color, linewidth=0.6, alpha=0.4, zorder=1)
            mean = noise_means(part, name, error, z)
            (drawn[line.label(value)],) = axes.plot(
                mean["sigma"], mean["value"], color=color, marker=marker, markersize=3.5, linewidth=1.2
            )
            if error:
                axes.fill_between(mean["sigma"], mean["lo"], mean["hi"], color=color, alpha=0.18, linewidth=0)
        axes.axhline(level, color=GREY, linewidth=1, linestyle=":", zorder=1)
        axes.set(xscale="log", xlabel="noise level σ (log scale)")
        far = known[name].max() > 20 and known[name].min() > 0
        axes.set_yscale("log" if far else "linear")
        axes.set_ylabel(label + (" (log scale)" if far else ""), fontsize=8.5)
        axes.set_title(f"dotted {said}", fontsize=8, color="#333333")
    _beside(figure, drawn, TITLES.get(line.name, line.name))
    return figure


def noise_panels(levels: "DataFrame") -> list[tuple[Any, ...]]:
    """The entries of PANELS that were measured."""
    return [panel for panel in PANELS if levels.loc[levels["kind"] == panel[0], panel[1]].notna().any()]


def noise_means(part: "DataFrame", name: str, error: str | None, z: float) -> "DataFrame":
    """Columns sigma, value, lo, hi: the mean of the runs of one line at each level; no interval without `error`."""
    found = part.groupby("sigma", as_index=False)[name].mean().rename(columns={name: "value"})
    if error is None:
        return found.assign(lo=np.nan, hi=np.nan)
    # Independent errors of the runs of one line; the mean's is their root sum of squares over their number.
    half = z * part.groupby("sigma")[error].agg(lambda se: np.sqrt((se**2).sum()) / len(se)).to_numpy()
    return found.assign(lo=found["value"] - half, hi=found["value"] + half)


def budget_ends(curves: "DataFrame", line: Ordered) -> "DataFrame":
    """Chao1 of each run beside the end of its curve: columns of its last row, and x, at, at_lo, at_hi (at most 1)."""
    ends = curves.sort_values([line.name, "run_id", "b"]).groupby([line.name, "run_id"], sort=False).tail(1)
    place = 1.15 * 1.6 ** (np.arange(len(ends)) / max(len(ends) - 1, 1))
    shares = {
        f"at{end}": np.minimum(ends[f"chao1{end}"] / ends["n_unique"], 1.0).where(~ends["chao1_flagged"] | (end == ""))
        for end in ("", "_lo", "_hi")
    }
    return ends.assign(x=float(curves["b"].max()) * place, **shares)


def plot_budget(curves: "DataFrame", line: Ordered) -> Figure:
    """Share of the training images found against samples drawn, a solid line a run; dashed: the perfect copier.

    curves: rows of richness.budget_curves with line.name. At the right Chao1 with its interval, both at most 1; open
    where no image more is expected (no interval).
    """
    figure = Figure(figsize=(6.2, 4.0), layout="constrained")
    axes = figure.subplots()
    _style(axes)
    drawn, top = {}, float((curves["copier"] / curves["n_unique"]).max())
    for (value, _), run in curves.groupby([line.name, "run_id"]):
        run, color, n = run.sort_values("b"), line.color(value), run["n_unique"].iloc[0]
        axes.plot(run["b"], run["found"] / n, color=color, linewidth=1.3)
        axes.fill_between(run["b"], run["lo"] / n, run["hi"] / n, color=color, alpha=0.15, linewidth=0)
        of_plan = color if line.name == "n_unique" else GREY  # lines of one training set share its copier
        axes.plot(run["b"], run["copier"] / n, color=of_plan, linewidth=1, linestyle="--", zorder=1)
    for end in budget_ends(curves, line).itertuples():
        value, color = getattr(end, line.name), line.color(getattr(end, line.name))
        top = max(top, end.at if end.chao1_flagged else end.at_hi)
        axes.errorbar(
            end.x, end.at, yerr=None if end.chao1_flagged else [[end.at - end.at_lo], [end.at_hi - end.at]],
            fmt=line.marker(value), color=color, markersize=4.5, fillstyle="none" if end.chao1_flagged else "full",
            capsize=2, elinewidth=0.9, zorder=3,
        )  # fmt: skip
        drawn[line.label(value)] = Line2D([], [], color=color, marker=line.marker(value), markersize=4.5, linewidth=1.3)
    axes.set(
        xscale="log", xlabel="samples drawn (log scale)", ylabel="training images found (share of unique)",
        ylim=(-0.03 * top, 1.05 * top),
    )  # fmt: skip
    drawn["perfect copier"] = Line2D([], [], color=GREY, linewidth=1, linestyle="--")
    drawn["Chao1, at the right"] = Line2D([], [], color=GREY, linestyle="none", marker="o", markersize=4.5)
    _beside(figure, drawn, TITLES.get(line.name, line.name))
    return figure


def plot_prompts(strips: Sequence[Mapping[str, Array]], titles: Sequence[str]) -> Figure:
    """Prompts of a run and context in each strip: what was given, what the model made of it, the original.

    strips: known [P H W] bool, images and completions [P C H W] uint8, recovered [P] bool, copies [P].
    """
    columns = max(len(strip["recovered"]) for strip in strips)
    figure = Figure(figsize=(max(0.78 * columns, 4.7) + 0.8, 2.75 * len(strips) + 0.1), layout="constrained")
    for part, strip, title in zip(
        figure.subfigures(len(strips), 1, squeeze=False).ravel(), strips, titles, strict=True
    ):
        part.suptitle(title, fontsize=9, x=0.01, ha="left")
        panels = part.subplots(3, columns, squeeze=False)
        for axes in panels.ravel():
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for k, recovered in enumerate(strip["recovered"]):
            pictures = (striped(strip["images"][k], strip["known"][k]), strip["completions"][k], strip["images"][k])
            for axes, picture in zip(panels[:, k], pictures, strict=True):
                axes.imshow(
                    np.moveaxis(picture, 0, -1).squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest"
                )
            color = GREEN if recovered else VERMILION
            panels[1, k].spines[:].set(visible=True, color=color, linewidth=2.2)
            panels[2, k].set_xlabel(
                f"×{int(strip['copies'][k])}\n{RECOVERED if recovered else MISSED}", fontsize=7.5, color=color
            )
        for axes, name in zip(panels[:, 0], ("given", "completed", "original"), strict=True):
            axes.set_ylabel(name, fontsize=8)
    return figure


def striped(image: Array, known: Array) -> Array:
    """The given pixels of `image` [C H W] uint8, enlarged; unknown ones (known [H W] false) striped -> [3 h w]."""
    large = np.broadcast_to(image, (3, *image.shape[1:])).repeat(ENLARGED, 1).repeat(ENLARGED, 2)
    rows, columns = np.indices(large.shape[1:])
    stripes = np.moveaxis(STRIPES[(rows + columns) // (ENLARGED // 3) % 2], -1, 0)
    return np.where(known.repeat(ENLARGED, 0).repeat(ENLARGED, 1), large, stripes)


def plot_prompted(rates: "DataFrame", ends: "DataFrame", line: Ordered, *, ylabel: str) -> Figure:
    """Prompted recovery against copies, a panel a context, a line for each value of `line`.

    rates: context, copies, line.name, rate, lo, hi; ends: context, copies, ceiling, null (rates, NaN unknown), and
    line.name where each line has its own.
    """
    contexts = contexts_in_order(rates)
    columns = min(3, len(contexts))
    rows = -(-len(contexts) // columns)
    figure = Figure(figsize=(2.7 * columns + 1.1, 2.5 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    drawn = {}
    for axes, context in zip(panels, contexts, strict=False):  # the last panels may stay empty
        _style(axes)
        part = rates[rates["context"] == context]
        for k, (value, own) in enumerate(part.sort_values("copies").groupby(line.name)):
            aside = prompted_aside(k, part[line.name].nunique())
            arms = [np.maximum(own["rate"] - own["lo"], 0), np.maximum(own["hi"] - own["rate"], 0)]
            drawn[line.label(value)] = axes.errorbar(
                own["copies"] * aside, own["rate"], yerr=arms, fmt=line.marker(value), linestyle="-", linewidth=1,
                capsize=2, elinewidth=0.9, markersize=4.5, color=line.color(value), label=line.label(value),
            )  # fmt: skip
        limit = ends[ends["context"] == context].sort_values("copies")
        for value, own in limit.groupby(line.name) if line.name in limit else [(None, limit)]:
            color = GREY if value is None else line.color(value)
            axes.plot(own["copies"], own["ceiling"], "--", color=color, linewidth=1.2, marker="_")
            axes.plot(own["copies"], own["null"], ":", color=color, linewidth=1.4, marker=".", markersize=4)
        axes.set_title(f"given: {context_words(context)}", fontsize=9)
        axes.set(xscale="log", ylim=(-0.04, 1.04))
        ticks = sorted(rates["copies"].unique())
        axes.set_xticks(ticks, [count_label(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
    for axes in panels[len(contexts) :]:
        axes.set_visible(False)
    figure.supxlabel("copies of the image (log scale)", fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    drawn["ideal denoiser"] = Line2D([], [], color=GREY, linewidth=1.2, linestyle="--", marker="_")
    drawn["null: held-out"] = Line2D([], [], color=GREY, linewidth=1.4, linestyle=":", marker=".", markersize=4)
    _beside(figure, drawn, TITLES.get(line.name, line.name))
    return figure


def prompted_aside(place: int, lines: int) -> float:
    """A factor near 1 for the line at `place` of so many, so that intervals at one x stand beside each other."""
    return 1.12 ** (place - (lines - 1) / 2)


def contexts_in_order(rates: "DataFrame") -> list[str]:
    """Shares of the rows from small to large, then border and patch."""
    return sorted(rates["context"].unique(), key=_share)


def context_words(context: str) -> str:
    """1/2 -> the first 1/2 of the rows; border, patch as they are."""
    return f"first {context} of the rows" if "/" in context else context


def _share(context: str) -> tuple[float, str]:
    """Shares of the rows in their order, then what is none: border, patch, the words of another study."""
    over, _, under = context.partition("/")
    whole = over.isdecimal() and under.isdecimal() and int(under) > 0
    return (int(over) / int(under) if whole else np.inf), context


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _beside(figure: Figure, drawn: Mapping[str, Any], title: str) -> None:
    figure.legend(
        list(drawn.values()), list(drawn), title=title, fontsize=8, title_fontsize=8, frameon=False,
        loc="outside right center",
    )  # fmt: skip
