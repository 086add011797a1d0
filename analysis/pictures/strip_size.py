"""Strips of pictures (agreement_figures.plot_images) at a paper's width: fewer a row, so that words do not touch."""

from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

PICTURE, TALLEST = 0.78, 9.0  # inches: the largest side of a photograph, the text block of a page
LINE = 0.145  # inches, of a line of small text
APART, BESIDE = 0.08, 0.25  # inches: between two captions; of the figure's margins


def is_strips(figure: Figure) -> bool:
    """Whether all that stands in the figure is a grid of pictures without axes."""
    specs = [axes.get_subplotspec() for axes in figure.axes]
    bare = all(not len(axes.get_xticks()) and not len(axes.get_yticks()) for axes in figure.axes)
    grids = {id(spec.get_gridspec()) for spec in specs if spec is not None}
    return bare and None not in specs and len(grids) == 1 and any(axes.images for axes in figure.axes)


def resize_strips(figure: Figure, width: float) -> None:
    """Give the figure this width in inches, in place. A strip too long goes on below itself, with its label again.

    A strip without captions belongs to the one below it: a sample stays above its nearest training image.
    """
    figure.set_size_inches(width, figure.get_figheight())
    figure.draw_without_rendering()
    strips = _strips(figure)
    dpi = figure.dpi
    left = max(strip[0].yaxis.label.get_window_extent().width for strip in strips) / dpi
    caption = max(axes.xaxis.label.get_window_extent().width for strip in strips for axes in strip) / dpi
    room, across = width - left - BESIDE, max(map(len, strips))
    fitting = max(1, min(across, int(room / (caption + APART))))
    columns = ceil(across / ceil(across / fitting))
    rows = [row for group in _groups(strips) for row in _rows(group, columns)]
    grid = GridSpec(len(rows), columns, figure=figure)
    for k, row in enumerate(rows):
        for column, axes in enumerate(row):
            axes.set_subplotspec(grid[k, column])
    lines = sum(max(axes.get_xlabel().count("\n") + 1 if axes.get_xlabel() else 0 for axes in row) for row in rows)
    words = LINE * (lines + 0.6 * len(rows))
    side = min(room / columns, PICTURE, (TALLEST - words) / len(rows))
    figure.set_size_inches(width, len(rows) * side + words)


def _strips(figure: Figure) -> list[list[Axes]]:
    """The pictures of each row; places without one are removed."""
    spec = figure.axes[0].get_subplotspec()
    assert spec is not None  # of a grid: is_strips
    across = spec.get_gridspec().ncols
    strips = [figure.axes[k : k + across] for k in range(0, len(figure.axes), across)]
    for axes in [axes for axes in figure.axes if not axes.images]:
        axes.remove()
    return [[axes for axes in strip if axes.images] for strip in strips]


def _groups(strips: list[list[Axes]]) -> list[list[list[Axes]]]:
    """Strips that stand above each other, picture by picture: each group ends with the strip that has the captions."""
    groups: list[list[list[Axes]]] = [[]]
    for strip in strips:
        if groups[-1] and any(axes.get_xlabel() for axes in groups[-1][-1]):
            groups.append([])
        groups[-1].append(strip)
    return groups


def _rows(group: list[list[Axes]], columns: int) -> list[list[Axes]]:
    """The group's strips broken after `columns` pictures, each part with the strip's label."""
    rows = []
    for start in range(0, max(map(len, group)), columns):
        for strip in group:
            part = strip[start : start + columns]
            if part and start:
                label = strip[0].yaxis.label
                part[0].set_ylabel(
                    label.get_text(), fontsize=label.get_fontsize(), rotation=0, ha="right", va="center"
                )  # fmt: skip
            rows += [part] if part else []
    return rows
