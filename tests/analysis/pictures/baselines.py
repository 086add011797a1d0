"""Comparing a figure with a stored picture: a line may not move, a colour not change, an interval not be lost.

The pictures are without words, whose hinting and width differ between machines and move the panels with them; words and
layout have their own tests (test_paper_size.py, and those of each figure).
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from PIL import Image

from analysis.pictures.saving import render
from analysis.plots import ReportFigure

FOLDER = Path(__file__).parent / "baselines"
DPI, COLORS = 100, 64
BAR = (0.92, 0.2, 0.02, 0.6)  # of a colour bar
CLOSE = 48  # of 255, in any channel: antialiasing and the few colours of a small file
MOST = 2e-4  # of the pixels


def picture(figure: ReportFigure) -> Image.Image:
    """The figure without words, in few colours so that its file is small."""
    for words in (*figure.figure.findobj(Text), *figure.figure.findobj(Legend)):
        arrow = isinstance(words, Annotation) and words.arrow_patch is not None  # drawn with its words
        words.set(**{"text": ""} if arrow else {"visible": False}, in_layout=False)
    for axes in figure.figure.axes:  # also of the ticks that come with another size
        axes.tick_params(which="both", labelbottom=False, labelleft=False, labelright=False)
    if not figure.figure.subfigs:  # the places that the words left to the panels
        figure.figure.set_layout_engine("none")
        for axes in figure.figure.axes:
            own = axes.get_subplotspec()  # a colour bar has none
            axes.set_position(BAR if own is None else own.get_position(figure.figure))
    drawn = Image.open(io.BytesIO(render(figure, ["png"], DPI)["png"])).convert("RGB")
    return drawn.quantize(COLORS, dither=Image.Dither.NONE)


def difference(expected: Image.Image, found: Image.Image) -> float:
    """Share of pixels of one picture that have no like pixel within one pixel in the other; 1 for unlike sizes."""
    if expected.size != found.size:
        return 1.0
    a, b = (np.array(image.convert("RGB")).astype(int) for image in (expected, found))
    return float(max(_unmatched(a, b).mean(), _unmatched(b, a).mean()))


def _unmatched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which pixels of `a` [H W 3] differ from all nine of `b` around their place -> [H W]."""
    padded = np.pad(b, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = a.shape[:2]
    around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.min([np.abs(a - one).max(2) for one in around], axis=0) > CLOSE
