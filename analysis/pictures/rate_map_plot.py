"""A rate over two ordered variables: a tile a cell with its number, and the fitted boundaries as lines; panels beside
each other where a third one differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke

from analysis.pictures.phase_lines import Box, PhaseLine
from analysis.plots import BLACK, GREY, PURPLE, ticks_apart
from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
SIZE = (5.0, 4.1)
SHADES = PowerNorm(0.5, 0, 1)  # one for the report; the root, so that 1 % and 3 % differ
# With a white edge, so that they stand out from the tiles of about their rate.
LINES = {0.5: (BLACK, "rate 1/2"), 0.01: (PURPLE, "rate 1 %")}
INCHES = (3.45, 2.75)  # of the axes, about: whether a number fits into its tile
PANEL = 2.75  # inches, the width of one of several panels
FONTS = (7.5, 6.5, 5.5)


def tile_edges(values: Array) -> Array:
    """The ends [k + 1] of tiles about ascending values [k], halfway between them in logarithms."""
    logs = np.log(values)
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp([2 * logs[0] - middle[0], *middle, 2 * logs[-1] - middle[-1]])


def room_for(values: Array, extra: float = 0.0) -> tuple[float, float]:
    """The ends of the tiles, and beyond them `extra` of their span in logarithms."""
    edges = tile_edges(np.unique(values))
    more = (edges[-1] / edges[0]) ** extra
    return float(edges[0] / more), float(edges[-1] * more)


@dataclass(frozen=True)
class RateMap:
    """One panel: columns x, y, rate, n_runs of its cells, a row each; its boundaries, and how far the axes reach."""

    cells: "DataFrame"
    lines: Sequence[PhaseLine]
    room: Box
    title: str = ""


def plot_rate_maps(
    panels: Sequence[RateMap], *, xlabel: str, ylabel: str, ylabels: Mapping[float, str] | None = None
) -> Figure:
    """The panels side by side, with the same axes and one scale of colours; ylabels: y -> what its tick says."""
    several = len(panels) > 1
    figure = Figure(figsize=(PANEL * len(panels) + 1.3, SIZE[1]) if several else SIZE, layout="constrained")
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    ends = np.array([panel.room for panel in panels])  # [panel, x and y, lower and upper]
    limits = [(float(ends[:, k, 0].min()), float(ends[:, k, 1].max())) for k in range(2)]
    inches = (PANEL - 0.15, INCHES[1]) if several else INCHES
    values = [np.unique(np.concatenate([panel.cells[name].to_numpy(float) for panel in panels])) for name in ("x", "y")]
    for axes, panel in zip(row, panels, strict=True):
        axes.set(xscale="log", yscale="log", xlim=limits[0], ylim=limits[1])
        tiles = _tiles(axes, panel.cells, limits, inches)
        axes.set_title(panel.title, fontsize=9)
        axes.set_xlabel(f"{xlabel} (log scale)")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        for line in panel.lines:
            _line(axes, line)
    _ticks(row[0], "x", values[0], {x: count_label(x) for x in values[0]}, 0.11 * INCHES[0] / inches[0])
    _ticks(row[0], "y", values[1], ylabels or {y: count_label(y) for y in values[1]}, 0.05)
    row[0].set_ylabel(f"{ylabel} (log scale)")
    bar = figure.colorbar(tiles, ax=list(row), shrink=0.9, aspect=30, pad=0.02)
    bar.set_ticks([0, 0.01, 0.1, 0.25, 0.5, 1], labels=["0", "1 %", "10 %", "25 %", "50 %", "100 %"])
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
    _legend(figure, [line for panel in panels for line in panel.lines])
    return figure


def _tiles(
    axes: Axes, cells: "DataFrame", limits: Sequence[tuple[float, float]], inches: tuple[float, float]
) -> QuadMesh:
    """The cells of one panel, each with its number."""
    xs, ys = (np.unique(cells[name].to_numpy(float)) for name in ("x", "y"))
    rates = cells.pivot(index="y", columns="x", values="rate").reindex(index=ys, columns=xs).to_numpy(float)
    shades = colormaps["cividis"].with_extremes(bad="white")
    edges_x, edges_y = tile_edges(xs), tile_edges(ys)
    tiles = axes.pcolormesh(
        edges_x, edges_y, np.ma.masked_invalid(rates), norm=SHADES, cmap=shades, edgecolor="white", linewidth=0.8
    )
    _numbers(axes, cells, (xs, ys), (edges_x, edges_y), limits, inches)
    return tiles


def _legend(figure: Figure, lines: Sequence[PhaseLine]) -> None:
    """An entry a rate whose boundary is drawn somewhere, and what a dashed one says."""
    drawn = {line.rate for line in lines if line.pieces}
    handles = [
        Line2D([], [], color=color, linewidth=1.8, label=label)
        for rate, (color, label) in LINES.items()
        if rate in drawn
    ]
    if any(piece.extrapolated for line in lines for piece in line.pieces):
        handles.append(Line2D([], [], color=GREY, linewidth=1.6, linestyle=(0, (3, 1.6)), label="beyond the cells"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)


def rate_words(rate: float) -> str:
    """Percent in as few digits as a tile needs: .1234 -> 12, .034 -> 3.4, .0041 -> .41."""
    size = 100 * rate
    return f"{size:.0f}" if size >= 9.95 or size == 0 else f"{size:.1f}" if size >= 0.95 else f"{size:.1g}"


def _numbers(
    axes: Axes, cells: "DataFrame", at: Sequence[Array], edges: Sequence[Array], limits: Sequence[tuple[float, float]],
    inches: tuple[float, float],
) -> None:  # fmt: skip
    """The rate in every tile that has room for it, and the number of runs where it is not the same everywhere."""
    unequal = cells["n_runs"].nunique() > 1
    share = [np.diff(np.log(e)) / np.ptp(np.log(limit)) for e, limit in zip(edges, limits, strict=True)]
    width, height = (72 * size * own for size, own in zip(inches, share, strict=True))  # points
    for row in cells.itertuples():
        said = rate_words(row.rate)
        place = np.searchsorted(at[0], row.x), np.searchsorted(at[1], row.y)
        texts = [f"{said}\nn {row.n_runs:.0f}", said] if unequal else [said]
        for text, font in ((text, font) for text in texts for font in FONTS):
            longest = max(map(len, text.split("\n")))
            if 0.6 * font * longest < width[place[0]] and 1.3 * font * (text.count("\n") + 1) < height[place[1]]:
                shade = colormaps["cividis"](SHADES(row.rate))
                light = np.dot(shade[:3], [0.2126, 0.7152, 0.0722]) > 0.42
                over_lines = [withStroke(linewidth=2.2, foreground=shade), Normal()]
                axes.text(row.x, row.y, text, ha="center", va="center", fontsize=font, linespacing=1.1, zorder=4,
                          color=BLACK if light else "white", path_effects=over_lines)  # fmt: skip
                break


def _ticks(axes: Axes, which: str, values: Array, labels: Mapping[float, str], share: float) -> None:
    """share: of the axis, the room of a label, which is wider than it is high."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    shown = ticks_apart(values, share)
    axis.set_ticks(shown, [labels[value] for value in shown], fontsize=8)
    axis.set_ticks([], minor=True)


def _line(axes: Axes, line: PhaseLine) -> None:
    color, _ = LINES[line.rate]
    edged = [withStroke(linewidth=3.4, foreground="white"), Normal()]
    for piece in line.pieces:
        style = (0, (3, 1.6)) if piece.extrapolated else "-"
        axes.plot(*piece.points.T, color=color, linewidth=1.8, linestyle=style, path_effects=edged, zorder=3)
    thin = [withStroke(linewidth=1.8, foreground="white"), Normal()]
    for end in line.ends:
        axes.plot(*end.T, color=color, linewidth=0.8, linestyle=":", path_effects=thin, zorder=3)
