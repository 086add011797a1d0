"""Saved figures: bytes that repeat, embedded fonts, and marks that stand where the picture has the marker."""

import io
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from analysis.pictures.paper import FORMATS
from analysis.pictures.paper_size import resize
from analysis.pictures.saving import mark_positions, render, save, save_data
from analysis.plots import LOSSES, Mark, ReportFigure


def pixels(figure: ReportFigure) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(render(figure, ["png"])["png"])).convert("RGB")).astype(int)


def at(picture: np.ndarray, place) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture[int(place.top * height), int(place.left * width)]


def simple(marks=(), **axes_options) -> ReportFigure:
    """Three markers of one colour each, far from each other."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    for x, y, color in ((1, 0.1, "#ff0000"), (10, 0.5, "#00ff00"), (100, 0.9, "#0000ff")):
        axes.plot(x, y, "o", color=color, markersize=8)
    axes.set(**axes_options)
    marks = [Mark(axes, x, y, "", ()) for x, y in marks]
    return ReportFigure("simple", "curves", figure, "caption", "alt", marks=marks)


@pytest.mark.parametrize("scale", ["linear", "log", "symlog"])
def test_the_pixel_at_a_mark_is_the_marker_s(scale):
    figure = simple([(1, 0.1), (10, 0.5), (100, 0.9)], xscale=scale, xlabel="a label\\nof two lines")
    picture, found = pixels(figure), mark_positions(figure)
    assert [at(picture, place).tolist() for place in found] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_positions_are_the_same_before_and_after_saving():
    before, after = simple([(10, 0.5)]), simple([(10, 0.5)])
    render(after, FORMATS)
    assert mark_positions(before)[0][:2] == pytest.approx(mark_positions(after)[0][:2])


def test_marks_that_are_not_in_the_picture_are_left_out():
    marks = [(10, 0.5), (1e9, 0.5), (10, -3), (float("nan"), 0.5), (10, float("inf")), (0, 0.5)]
    found = mark_positions(simple(marks, xscale="log"))  # 0 has no place on a log axis
    assert [(place.mark.x, place.mark.y) for place in found] == [(10, 0.5)]


@pytest.mark.parametrize("width", [None, 3.35])
def test_marks_of_losses_stand_on_markers_of_their_colour(figure_of, width):
    """Panels, a shared log axis with 0, other places after a change of size."""
    figure = figure_of("losses")
    if width:
        resize(figure.figure, width)
    picture, colors = pixels(figure), {name.replace("_", " "): c for name, (c, *_) in LOSSES.items()}
    found, size = mark_positions(figure), np.array(picture.shape[1::-1])
    where = np.array([place[:2] for place in found]) * size
    alone = [np.sort(np.hypot(*(where - one).T))[1] > 14 for one in where]
    assert len(found) == len(figure.marks) and sum(alone) > 10
    for place in (place for place, free in zip(found, alone, strict=True) if free):
        (color,) = [to_rgb(c) for name, c in colors.items() if f": {name} " in place.mark.said]
        assert np.abs(at(picture, place) - 255 * np.array(color)).max() < 60, place.mark.said


def test_marks_of_photographs_lie_on_their_pictures(figure_of):
    """The grey of the pixel at the middle of the sample: 8 by 8 pixels, so 4, 4 (row, column) begin there."""
    figure = figure_of("gallery")
    picture = pixels(figure)
    for place in mark_positions(figure):
        near = place.mark.axes.images[0].get_array()[3:5, 3:5]
        assert near.min() - 3 <= at(picture, place)[0] <= near.max() + 3


def test_the_same_figure_gives_the_same_bytes(figure_of):
    first, second = (render(figure_of("memorized_over_training"), FORMATS) for _ in range(2))
    assert first == second


def test_files_tell_no_date_and_no_version(plain_figures):
    data = render(plain_figures["memorized_over_training"], FORMATS)
    assert b"CreationDate" not in data["pdf"] and b"Matplotlib" not in data["pdf"] + data["png"]
    assert b"<dc:date>" not in data["svg"]


def test_fonts_are_embedded_as_truetype(plain_figures):
    data = render(plain_figures["memorized_over_training"], ["pdf", "svg"])
    assert b"/FontFile2" in data["pdf"] and b"/Type3" not in data["pdf"]
    assert b"<text" not in data["svg"] and re.search(rb'<path id="DejaVuSans-[0-9a-f]+"', data["svg"])


def test_a_dollar_of_the_data_is_a_dollar():
    figure = simple(title="$\\\\frac{$ and $x^2$", xlabel="$")
    assert render(figure, FORMATS).keys() == set(FORMATS)
    assert figure.figure.axes[0].get_title() == "$\\\\frac{$ and $x^2$"


def test_files_have_the_figure_s_name(figure_of, tmp_path):
    figure = figure_of("gallery")
    save(figure, tmp_path, ["png"], 50)
    assert save_data(figure, tmp_path) == tmp_path / "gallery.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery.csv", "gallery.png"]
    assert save_data(simple(), tmp_path) is None
