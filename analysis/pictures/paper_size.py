"""A report's figure at the width of a paper's column: the text stays readable, panels and legend find new places.

Works on the finished figure, so that a plot need not know where it will be printed.
"""

import itertools
import textwrap
from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, GridSpecBase
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, MaxNLocator

from analysis.pictures.paper import SMALLEST_TEXT, check_width
from analysis.pictures.strip_size import LINE, PICTURE, TALLEST, is_strips, resize_strips

NARROW = 4.5  # inches: below, a legend takes too much of the width and goes below the panels
PANEL, SHARED_PANEL = 2.0, 1.45  # inches, the narrowest panel with and without its own numbers at the left
TILED = 2.4  # inches, the narrowest of several panels with a number in each tile
ENDS = "outside lower center", "outside upper center"  # of a figure: places of a legend
BESIDE = 2.6  # inches, the narrowest of several panels beside which a legend stands


def resize(figure: Figure, width: float) -> None:
    """Give the figure this width in inches, in place; its height follows. Text is never below 7 points."""
    check_width(width)
    native, height = figure.get_size_inches()
    _scale_text(figure, float(np.clip(width / 5, 0.8, 1.0)))
    if figure.subfigs:
        _resize_photographs(figure, width)
        return
    if is_strips(figure):
        resize_strips(figure, width)
        return
    panels = _panels(figure)
    if panels is None:  # no plain grid: all in proportion, but no lower than its text allows
        _place_legends(figure, width, narrow=False)
        figure.set_size_inches(width, height * max(width / native, 0.8))
        _fit_text(figure)
        return
    columns = _regrid(figure, panels, width)
    narrow = width < NARROW or (columns > 1 and width / columns < BESIDE)
    below = _place_legends(figure, width, narrow)
    rows, slope = ceil(len(panels) / columns), 0.6 if columns == 1 else 0.85
    each = float(np.clip(slope * width / columns, 1.8, 2.6)) if len(panels) > 1 else min(0.72 * width, height)
    each = max(each, *map(_written_height, panels))
    figure.set_size_inches(width, rows * each + LINE * (below + (2 if len(panels) > 1 else 0)))
    _fit_text(figure)


def _scale_text(figure: Figure, scale: float) -> None:
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = axis.get_ticklabels()
        if labels:  # the labels of later ticks are made anew: their size is the axis's
            axis.set_tick_params(which="both", labelsize=max(SMALLEST_TEXT, scale * labels[0].get_fontsize()))  # type: ignore[operator]  # the size of a text made is in points
    for text in figure.findobj(Text):
        text.set_fontsize(max(SMALLEST_TEXT, scale * text.get_fontsize()))  # type: ignore[operator]  # as above


def _resize_photographs(figure: Figure, width: float) -> None:
    """Pictures shrink with the width, the words beside them do not; a strip that would leave the page shrinks more."""
    figure.set_size_inches(width, figure.get_figheight())
    for strip in figure.subfigs:
        for title in strip.texts:
            _wrap(title, title.get_text(), 0.96 * figure.bbox.width)
    titles = sum(1 + text.get_text().count("\n") for strip in figure.subfigs for text in strip.texts)
    below = max(1 + axes.get_xlabel().count("\n") for strip in figure.subfigs for axes in strip.axes)
    words = LINE * (titles + (below + 1) * len(figure.subfigs))
    rows = sum(ceil(len(strip.axes) / _columns(strip.axes)) for strip in figure.subfigs)
    across = (width - 0.35) / max(_columns(strip.axes) for strip in figure.subfigs)
    side = min(across, PICTURE, (TALLEST - words) / rows)
    figure.set_size_inches(width, rows * side + words)
    if side < PICTURE * 0.75:  # an upright word is longer than its picture is high
        for label in (axes.yaxis.label for strip in figure.subfigs for axes in strip.axes):
            label.set(rotation="horizontal", horizontalalignment="right", verticalalignment="center")


def _columns(panels: Sequence[Axes]) -> int:
    return _grid(panels).ncols


def _grid(panels: Sequence[Axes]) -> GridSpecBase:
    spec = panels[0].get_subplotspec()
    assert spec is not None  # the panels of a figure stand in a grid
    return spec.get_gridspec()


def _panels(figure: Figure) -> list[Axes] | None:
    """The visible panels in order, where they are single cells of one grid; a colour bar beside several is none.

    Rows of unequal height are a table, whose panels belong above each other: no plain grid.
    """
    shown = [axes for axes in figure.axes if axes.get_visible() and not _is_bar(axes)]
    if len(shown) == 1 and len(figure.axes) > 1 and any(map(_is_bar, figure.axes)):
        return None
    specs = [spec for axes in shown if (spec := axes.get_subplotspec()) is not None]
    if not shown or len(specs) < len(shown) or any(spec.num1 != spec.num2 for spec in specs):
        return None
    plain = len({id(spec.get_gridspec()) for spec in specs}) == 1 and len({spec.num1 for spec in specs}) == len(shown)
    plain = plain and len(set(specs[0].get_gridspec().get_height_ratios())) == 1  # type: ignore[arg-type]  # ratios are a list of numbers
    return shown if plain and not any(axes.images for axes in shown) else None


def _is_bar(axes: Axes) -> bool:
    return axes.get_label() == "<colorbar>"


def _regrid(figure: Figure, panels: Sequence[Axes], width: float) -> int:
    """Put the panels into as many columns as the width allows, at most those they have; returns how many."""
    shared = all(panels[0].get_shared_y_axes().joined(panels[0], axes) for axes in panels[1:])
    grid = _grid(panels)
    if grid.nrows > 1 and grid.ncols > 1 and not shared:  # rows and columns mean something: they stay
        return grid.ncols
    tiled = any(map(_is_bar, figure.axes))
    most = max(1, int(width / (TILED if tiled else SHARED_PANEL if shared else PANEL)))
    columns = min(_columns(panels), most, len(panels))
    columns = ceil(len(panels) / ceil(len(panels) / columns))  # even rows
    for axes in [axes for axes in figure.axes if not axes.get_visible()]:
        axes.remove()
    grid = GridSpec(ceil(len(panels) / columns), columns, figure=figure)
    for k, axes in enumerate(panels):
        axes.set_subplotspec(grid[k // columns, k % columns])
        if axes.get_shared_x_axes().get_siblings(axes) != [axes]:
            axes.tick_params(axis="x", which="both", labelbottom=k + columns >= len(panels))  # nothing stands below
        if axes.get_shared_y_axes().get_siblings(axes) != [axes]:
            axes.tick_params(axis="y", which="both", labelleft=k % columns == 0)
    return columns


def _written_height(panel: Axes) -> float:
    """Inches that the written labels at the left take above each other."""
    if not isinstance(panel.yaxis.get_major_formatter(), FixedFormatter):
        return 0.0
    return 1.15 * sum(label.get_window_extent().height for label in panel.get_yticklabels()) / panel.figure.dpi


def _place_legends(figure: Figure, width: float, narrow: bool) -> int:
    """If `narrow`, move the legends at the right of the panels below or above them, where none stands yet; break those
    wider than the figure. Returns the lines of text of the moved ones.
    """
    figure.set_size_inches(width, figure.get_figheight())
    figure.draw_without_rendering()
    right = max(axes.bbox.x1 for axes in figure.axes)
    boxes = {legend: legend.get_window_extent() for legend in figure.findobj(Legend)}
    moved = [legend for legend, box in boxes.items() if narrow and box.x0 >= right - 1]
    half = figure.bbox.height / 2
    stay = {legend: ENDS[int(boxes[legend].y0 > half)] for legend in figure.legends if legend not in moved}
    for legend, place in stay.items():
        if boxes[legend].width > figure.bbox.width:
            _set_legend(figure, legend, place)
    # Two legends: one at each end, and none upon the common label.
    free = sorted(ENDS, key=lambda end: (end in stay.values(), end == ENDS[0] and bool(figure.get_supxlabel())))
    return sum(_set_legend(figure, legend, end) for legend, end in zip(moved, itertools.cycle(free), strict=False))


def _set_legend(figure: Figure, legend: Legend, place: str) -> int:
    """Put the legend at an end of the figure, in as few rows as its width allows; returns its lines of text."""
    # A legend keeps of a marker with bars only the line: what was drawn is looked up by its label.
    pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
    drawn = {label: handle for some in pairs for handle, label in some}
    labels = [text.get_text() for text in legend.get_texts()]
    handles = [drawn.get(label, kept) for label, kept in zip(labels, legend.legend_handles, strict=True)]
    title, size = legend.get_title().get_text(), legend.get_texts()[0].get_fontsize()
    legend.remove()
    for rows in itertools.count(1):
        columns = ceil(len(labels) / rows)
        found = figure.legend(  # type: ignore[call-overload]  # a legend's handles are never None
            handles, labels, title=title, ncols=columns, loc=place, fontsize=size, title_fontsize=size,
            frameon=False, columnspacing=1.2, handlelength=1.6,
        )  # fmt: skip
        if found.get_window_extent().width <= figure.bbox.width or columns == 1:
            break
        found.remove()
    return rows + bool(title) + 1


def _fit_text(figure: Figure) -> None:
    """Break labels longer than their axis or the figure, and leave out tick labels that would touch."""
    written = {text: text.get_text() for text in figure.findobj(Text)}
    for _ in range(2):  # a label broken at the left makes the panel, and so the room below it, narrower
        figure.draw_without_rendering()
        for axes in figure.axes:
            for text, room in ((axes.xaxis.label, axes.bbox.width), (axes.yaxis.label, axes.bbox.height)):
                _wrap(text, written[text], room)
            for title in (axes.title, axes._left_title):  # type: ignore[attr-defined]  # it has no other name
                _wrap(title, written[title], axes.bbox.width)
    for text in figure.texts:  # labels that the panels share
        _wrap(text, written[text], (0.7 * figure.bbox.height if text.get_rotation() else 0.9 * figure.bbox.width))
    figure.draw_without_rendering()
    for axes in figure.axes:
        _thin_labels(axes.xaxis)
        _thin_numbers(axes.xaxis)


def _wrap(text: Text, written: str, room: float) -> None:
    """Break the lines of `written` so that the text fits into `room`, if it does not as it is."""
    box = text.get_window_extent()
    length = max(box.width, box.height) if written else 0
    if length > 0.95 * room:
        longest = max(map(len, text.get_text().split("\n")))
        characters = max(int(longest * room / length), 8)
        text.set_text("\n".join(part for line in written.split("\n") for part in _even(line, characters)))


def _even(line: str, characters: int) -> list[str]:
    """As many lines as `characters` in each ask for, of even length: textwrap leaves a word alone in the last one."""
    lines = len(textwrap.wrap(line, characters))
    even = next(
        k for k in range(8, characters + 1)
        if len(textwrap.wrap(line, k, break_long_words=False)) <= lines or k == characters
    )  # fmt: skip
    return textwrap.wrap(line, even, break_long_words=False)


def _thin_labels(axis: Axis) -> None:
    """Keep, from the left, the written labels that do not touch the one kept before."""
    if not isinstance(axis.get_major_formatter(), FixedFormatter):
        return
    labels, end, kept = axis.get_ticklabels(), -np.inf, []
    for label in labels:
        box = label.get_window_extent()
        kept.append(label.get_text() if box.x0 > end + 2 else "")
        end = box.x1 if kept[-1] else end
    axis.set_ticklabels(kept)


def _thin_numbers(axis: Axis) -> None:
    """Fewer and rounder numbers on a linear axis where they would touch."""
    for most in (3, 2, 1):
        if not isinstance(axis.get_major_locator(), MaxNLocator) or not _touching(axis):
            return
        axis.set_major_locator(MaxNLocator(most))


def _touching(axis: Axis) -> bool:
    low, high = sorted(axis.get_view_interval())
    shown = [label for label in axis.get_ticklabels() if low <= label.get_position()[0] <= high and label.get_text()]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
    return any(box.x1 + 2 > after.x0 for box, after in itertools.pairwise(boxes))
