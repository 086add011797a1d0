"""Figures at the widths of a paper: nothing leaves the picture, nothing is too small, nothing touches."""

from itertools import pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.pictures.paper import SMALLEST_TEXT
from analysis.pictures.paper_size import resize
from tests.analysis.pictures.drawn_overviews import FIGURES


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def shown(figure: Figure) -> list[tuple[Text, Bbox]]:
    """The texts that are drawn, with their place: tick labels beyond the axis are not."""
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not label.get_visible() or not _within(axes, axis, tick)
    }
    return [(text, text.get_window_extent()) for text in texts(figure) if id(text) not in hidden]


def _within(axes: Axes, axis, tick) -> bool:
    low, high = sorted(axis.get_view_interval())
    return low <= tick.get_loc() <= high


@pytest.fixture(scope="module", params=[3.35, 6.9])
def resized(request, figure_of) -> tuple[float, dict[str, Figure]]:
    made = {name: figure_of(name).figure for name in FIGURES}
    for figure in made.values():
        resize(figure, request.param)
        figure.draw_without_rendering()
    return request.param, made


@pytest.mark.slow
def test_text_is_readable_inside_the_picture_and_apart(resized):
    width, figures = resized
    for name, figure in figures.items():
        assert figure.get_figwidth() == width and figure.get_figheight() <= 9.3, name
        drawn = shown(figure)
        for text, box in drawn:
            assert text.get_fontsize() >= SMALLEST_TEXT, (name, text)
            assert box.x0 >= -1 and box.y0 >= -1, (name, text, box)
            assert box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1, (name, text, box)
        for k, (text, box) in enumerate(drawn):
            for other, place in drawn[k + 1 :]:
                apart = not box.padded(-1).overlaps(place.padded(-1))
                assert apart, (name, text.get_text(), other.get_text())


@pytest.mark.slow
def test_a_legend_lies_upon_no_panel(resized):
    for name, figure in resized[1].items():
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
        for legend in legends:
            box = legend.get_window_extent()
            assert not any(box.overlaps(axes.bbox) for axes in figure.axes), name


def test_a_legend_keeps_its_entries_and_their_markers(figure_of):
    axes = figure_of("recovery_by_params").figure.axes[0]
    before = [text.get_text() for text in axes.get_legend().get_texts()]
    resize(axes.figure, 3.35)
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == before
    assert legend.get_title().get_text() == "copies"
    markers = [line.get_marker() for line in legend.findobj(Line2D)]
    assert {"o", "s", "D", "^", "v", "P"} <= set(markers)


def test_panels_find_new_places_and_keep_their_data(figure_of):
    figure = figure_of("noise_levels").figure
    before = [[line.get_xydata().tolist() for line in axes.lines] for axes in figure.axes]
    resize(figure, 3.35)
    figure.draw_without_rendering()
    assert len({round(axes.bbox.x0) for axes in figure.axes}) == 1 and len(figure.axes) == 3  # below each other
    assert [[line.get_xydata().tolist() for line in axes.lines] for axes in figure.axes] == before
    again = figure_of("losses").figure
    resize(again, 6.9)
    again.draw_without_rendering()
    assert len({round(axes.bbox.x0) for axes in again.axes}) == 2


def test_a_shared_axis_has_its_numbers_where_nothing_stands_below():
    """Three panels in two columns: the second column ends above an empty place."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes in panels:
        axes.plot([1, 2], [3, 4])
    resize(figure, 3.35)
    figure.draw_without_rendering()
    numbered = [any(label.get_visible() for label in axes.get_xticklabels()) for axes in panels]
    assert numbered == [False, True, True]
    assert [any(label.get_visible() for label in axes.get_yticklabels()) for axes in panels] == [True, False, True]


def test_a_matrix_of_panels_keeps_its_rows_and_columns():
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row")
    resize(figure, 3.35)
    figure.draw_without_rendering()
    assert [len({round(axes.bbox.x0) for axes in row}) for row in panels] == [3, 3]
    assert len({round(axes.bbox.y0) for axes in panels[:, 0]}) == 2


def test_two_legends_do_not_lie_upon_each_other():
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    (line,) = axes.plot([1, 2], [3, 4], label="a line")
    figure.legend([line], ["first"], loc="outside right upper")
    figure.legend([line], ["second"], loc="outside right lower")
    resize(figure, 3.35)
    figure.draw_without_rendering()
    first, second = (legend.get_window_extent() for legend in figure.legends)
    assert not first.overlaps(second) and not first.overlaps(axes.bbox) and not second.overlaps(axes.bbox)


def test_a_legend_wider_than_the_page_is_broken_and_one_from_the_side_goes_to_the_other_end():
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    (line,) = axes.plot([1, 2], [3, 4], label="a line")
    figure.legend([line] * 4, [f"a sign of some length {k}" for k in range(4)], loc="outside lower center", ncols=4)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    resize(figure, 3.35)
    figure.draw_without_rendering()
    signs, lines = sorted((legend.get_window_extent() for legend in figure.legends), key=lambda box: box.y0)
    assert signs.x0 >= 0 and signs.x1 <= figure.bbox.width
    assert signs.y1 < axes.bbox.y0 and lines.y0 > axes.bbox.y1


def test_each_line_of_a_title_is_broken_by_itself():
    title = "40.5 k parameters of all\n512 unique images"
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes in figure.subplots(2, 3, sharey="row", height_ratios=[2, 1])[0]:
        axes.set_title(title)
    resize(figure, 3.35)
    for axes in figure.axes[:3]:
        assert axes.get_title().split() == title.split()
        assert axes.title.get_window_extent().width <= axes.bbox.width
        assert not any("all 512" in line for line in axes.get_title().split("\n"))


def test_numbers_of_a_narrow_axis_are_fewer_and_keep_apart():
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes in figure.subplots(2, 5, sharey="row", height_ratios=[2, 1])[0]:
        axes.plot([-0.101, 0.203], [0, 1])
    resize(figure, 3.35)
    figure.draw_without_rendering()
    for axes in figure.axes[:5]:
        low, high = axes.get_xlim()
        boxes = [t.get_window_extent() for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high]
        assert boxes and all(box.x1 < after.x0 for box, after in pairwise(boxes))


@pytest.mark.parametrize("width", [0, 2, 21, float("nan")])
def test_a_width_no_page_has_is_refused(width):
    with pytest.raises(ValueError, match=r"2\.5 to 20 inches wide"):
        resize(Figure(), width)
