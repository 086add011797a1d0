"""A rate over two ordered variables: a tile a cell with its number, and the fitted boundaries as lines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke

from analysis.pictures.phase_lines import PhaseLine
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


def plot_rate_map(
    cells: "DataFrame",
    lines: Sequence[PhaseLine],
    *,
    xlabel: str,
    ylabel: str,
    ylabels: Mapping[float, str] | None = None,
    room: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Figure:
    """cells: columns x, y, rate, n_runs, one row a cell; ylabels: y -> what its tick says; room: the axes' ends."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    xs, ys = (np.unique(cells[name].to_numpy(float)) for name in ("x", "y"))
    rates = cells.pivot(index="y", columns="x", values="rate").reindex(index=ys, columns=xs).to_numpy(float)
    shades = colormaps["cividis"].with_extremes(bad="white")
    edges_x, edges_y = tile_edges(xs), tile_edges(ys)
    tiles = axes.pcolormesh(
        edges_x, edges_y, np.ma.masked_invalid(rates), norm=SHADES, cmap=shades, edgecolor="white", linewidth=0.8
    )
    axes.set(xscale="log", yscale="log", xlabel=f"{xlabel} (log scale)", ylabel=f"{ylabel} (log scale)")
    limits = room or (room_for(xs), room_for(ys))
    axes.set(xlim=limits[0], ylim=limits[1])
    _numbers(axes, cells, (xs, ys), (edges_x, edges_y), limits)
    _ticks(axes, "x", xs, {x: count_label(x) for x in xs})
    _ticks(axes, "y", ys, ylabels or {y: count_label(y) for y in ys})
    axes.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(tiles, ax=axes, shrink=0.9, aspect=30, pad=0.02)
    bar.set_ticks([0, 0.01, 0.1, 0.25, 0.5, 1], labels=["0", "1 %", "10 %", "25 %", "50 %", "100 %"])
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
    handles = [handle for line in lines for handle in _line(axes, line)]
    if any(piece.extrapolated for line in lines for piece in line.pieces):
        handles.append(Line2D([], [], color=GREY, linewidth=1.6, linestyle=(0, (3, 1.6)), label="beyond the cells"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def rate_words(rate: float) -> str:
    """Percent in as few digits as a tile needs: .1234 -> 12, .034 -> 3.4, .0041 -> .41."""
    size = 100 * rate
    return f"{size:.0f}" if size >= 9.95 or size == 0 else f"{size:.1f}" if size >= 0.95 else f"{size:.1g}"


def _numbers(
    axes: Axes, cells: "DataFrame", at: Sequence[Array], edges: Sequence[Array], limits: Sequence[tuple[float, float]]
) -> None:
    """The rate in every tile that has room for it, and the number of runs where it is not the same everywhere."""
    unequal = cells["n_runs"].nunique() > 1
    share = [np.diff(np.log(e)) / np.ptp(np.log(limit)) for e, limit in zip(edges, limits, strict=True)]
    width, height = (72 * inches * own for inches, own in zip(INCHES, share, strict=True))  # points
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


def _ticks(axes: Axes, which: str, values: Array, labels: Mapping[float, str]) -> None:
    axis, share = (axes.xaxis, 0.11) if which == "x" else (axes.yaxis, 0.05)  # a label is wider than it is high
    shown = ticks_apart(values, share)
    axis.set_ticks(shown, [labels[value] for value in shown], fontsize=8)
    axis.set_ticks([], minor=True)


def _line(axes: Axes, line: PhaseLine) -> list[Line2D]:
    color, label = LINES[line.rate]
    edged = [withStroke(linewidth=3.4, foreground="white"), Normal()]
    for piece in line.pieces:
        style = (0, (3, 1.6)) if piece.extrapolated else "-"
        axes.plot(*piece.points.T, color=color, linewidth=1.8, linestyle=style, path_effects=edged, zorder=3)
    thin = [withStroke(linewidth=1.8, foreground="white"), Normal()]
    for end in line.ends:
        axes.plot(*end.T, color=color, linewidth=0.8, linestyle=":", path_effects=thin, zorder=3)
    return [Line2D([], [], color=color, linewidth=1.8, label=label)] if line.pieces else []
