"""Strips of pictures at the width of a paper: words apart, every picture there, a sample above its nearest image."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.pictures.agreement_figures import plot_images
from analysis.pictures.paper_size import resize
from analysis.pictures.strip_size import TALLEST, is_strips

ACROSS = 8


def pair(kind: int, count: int = ACROSS) -> list:
    """A strip of samples 100 kind + k above their nearest images 100 kind + 50 + k, with captions."""
    samples = np.stack([np.full((1, 4, 4), 100 * kind + k, np.uint8) for k in range(count)])
    below = [f"ratio 0.9{k % 10}\n×{k}" for k in range(count)]
    return [("copy:\nsample", samples, [""] * count), ("nearest in\ntraining", samples + 50, below)]


def placed(figure: Figure) -> list[list[int]]:
    """The pictures' values, row by row from the top, each from the left."""
    rows: dict[int, list] = {}
    for axes in figure.axes:
        rows.setdefault(round(-axes.bbox.y0), []).append((axes.bbox.x0, int(axes.images[0].get_array()[0, 0])))
    return [[value for _, value in sorted(row)] for _, row in sorted(rows.items())]


def test_a_sample_stays_above_its_nearest_image_and_none_is_lost():
    figure = plot_images([*pair(0), *pair(1)])
    resize(figure, 3.35)
    figure.draw_without_rendering()
    rows = placed(figure)
    for kind in (0, 1):
        of_kind = rows[kind * len(rows) // 2 :][: len(rows) // 2]
        assert [value for row in of_kind[::2] for value in row] == [100 * kind + k for k in range(ACROSS)]
        assert [[value - 50 for value in row] for row in of_kind[1::2]] == of_kind[::2]


@pytest.mark.parametrize(("width", "count"), [(3.35, 1), (3.35, 8), (6.9, 8)])
def test_words_lie_in_the_picture_and_apart(width, count):
    figure = plot_images([*pair(0, count), *pair(1, 8)])
    resize(figure, width)
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label) if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    assert figure.get_figwidth() == width and figure.get_figheight() <= TALLEST
    for k, box in enumerate(boxes):
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1 and box.y0 >= -1 and box.y1 <= figure.bbox.height + 1
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[k + 1 :])
        assert not any(box.padded(-1).overlaps(axes.bbox) for axes in figure.axes)


def test_strips_that_go_on_have_their_label_again_and_a_wide_page_keeps_them_whole():
    narrow, wide = plot_images(pair(0)), plot_images(pair(0))
    resize(narrow, 3.35)
    resize(wide, 6.9)
    assert [axes.get_ylabel() for axes in wide.axes].count("copy:\nsample") == 1
    assert [axes.get_ylabel() for axes in narrow.axes].count("copy:\nsample") == len(placed(narrow)) / 2 > 1
    assert len(placed(wide)) == 2


def test_a_map_with_ticks_is_no_strip():
    figure = Figure()
    figure.subplots().imshow(np.eye(3))
    assert not is_strips(figure) and is_strips(plot_images(pair(0)))
