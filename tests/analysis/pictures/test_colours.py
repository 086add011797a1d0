"""Colours: one value looks the same in every figure, lines stand out from white, colour-blind readers tell them apart.

Contrast: WCAG 2.2, 1.4.11. Simulation: Machado, Oliveira & Fernandes 2009, severity 1, on linear sRGB. Distance:
Euclidean in CIELAB (D65), where 2.3 is just noticeable side by side.
"""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from analysis.pages import page
from analysis.pictures.intervention_plot import PANELS
from analysis.pictures.rate_map_plot import LINES, SHADES
from analysis.pictures.scales import study_scale
from analysis.plots import LOSSES, Ordered
from tests.analysis.pictures.drawn_study import drawn_figures

READERS = {
    "usual": np.eye(3),
    "deuteranope": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                             [-0.011820, 0.042940, 0.968881]]),
    "protanope": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                           [-0.003882, -0.048116, 1.051998]]),
}  # fmt: skip
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                   [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(color) -> np.ndarray:
    c = np.array(to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(one, other) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(color)) + 0.05 for color in (one, other))
    return high / low


def contrast_to_white(color) -> float:
    return contrast(color, "white")


def lab(color, reader: str = "usual") -> np.ndarray:
    xyz = TO_XYZ @ np.clip(READERS[reader] @ linear(color), 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_yardsticks_are_right():
    """#767676 is the lightest grey of contrast 4.54; L*a*b* of red is 53.24 80.09 67.20; greys stay grey for all."""
    assert contrast_to_white("#767676") == pytest.approx(4.54, abs=0.01)
    np.testing.assert_allclose(lab("#ff0000"), [53.24, 80.09, 67.20], atol=0.05)
    for reader in READERS:
        np.testing.assert_allclose(lab("#808080", reader), lab("#808080"), atol=0.05)


WITHOUT_LINES = {  # pictures, and numbers in tiles
    "gallery", "prompts", "images_memorized", "images_copies_and_new", "images_spurious", "scores_images",
    "scores_quadrants", "agreement_cells",
}  # fmt: skip


def entries(figure, title: str) -> dict[str, tuple]:
    """Legend label -> colour and marker of the entries under `title`."""
    found = {}
    for legend in figure.findobj(Legend):
        if legend.get_title().get_text() == title:
            for label, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
                line = handle if isinstance(handle, (Line2D, LineCollection)) else handle[0]
                found[label.get_text()] = to_rgb(
                    np.atleast_1d(line.get_color())[0] if isinstance(line, LineCollection) else line.get_color()
                )
    return found


def on_white(color, alpha: float | None = None) -> tuple:
    red_green_blue, a = np.array(to_rgb(color)), to_rgba(color, alpha)[3]
    return tuple(a * red_green_blue + (1 - a))


def drawn_marks(figure) -> list[list]:
    """Of lines, markers, bars and arrows that carry data or a reference the colours: of a marker, face and edge.

    Not the grid, nor faint single runs, nor bands, whose middle is a line.
    """
    marks = []
    for axes in figure.axes:
        for line in axes.lines:
            if (line.get_alpha() or 1) < 0.5 and line.get_marker() in (".", "None"):
                continue  # a single run, faint behind the mean
            edge = line.get_markeredgecolor() if line.get_marker() not in ("None", None) else line.get_color()
            marks.append([on_white(color, line.get_alpha()) for color in (line.get_color(), edge)])
        for drawn in axes.collections:
            if isinstance(drawn, LineCollection):
                marks += [[on_white(color)] for color in drawn.get_color()]
            elif isinstance(drawn, PathCollection):
                faces, edges = drawn.get_facecolor(), drawn.get_edgecolor()
                count = max(len(faces), len(edges))
                marks += [[on_white(some[k % len(some)]) for some in (faces, edges) if len(some)] for k in range(count)]
        marks += [[on_white(t.arrow_patch.get_edgecolor())] for t in axes.texts if getattr(t, "arrow_patch", None)]
    return marks


def test_a_value_has_one_colour_in_all_figures(study, fits):
    """The instruments were measured on the two largest sizes only: 40,489 parameters keep the colour of the study."""
    few = study.noise_levels.query("params > 20000"), study.prompts.query("params > 20000")
    found = drawn_figures(replace(study, noise_levels=few[0], prompts=few[1]), fits)
    params = {name: entries(figure.figure, "parameters") for name, figure in found.items()}
    drawn = {name: colors["40.5 k"] for name, colors in params.items() if "40.5 k" in colors}
    assert set(drawn) == {
        "recovery_by_copies", "efficiency_by_copies", "memorized_by_duplication", "memorized_over_training",
        "noise_levels", "attack_budget", "prompted_recovery",
    }  # fmt: skip
    assert set(drawn.values()) == {to_rgb(study_scale(study, "params").color(40489))}
    copies = [entries(found[name].figure, "copies")["32"] for name in ("recovery_by_params", "memorized_by_params")]
    assert copies == [to_rgb(study_scale(study, "copies").color(32))] * 2


@pytest.mark.slow
def test_every_mark_stands_out_from_white(every_figure):
    """The page sets figures upon white in its dark version too (test below): one contrast is enough."""
    for name, figure in every_figure.items():
        marks = drawn_marks(figure.figure)
        assert marks or name in WITHOUT_LINES, name
        for colors in marks:
            assert max(map(contrast_to_white, colors)) >= 3, (name, colors)


def test_figures_stand_upon_white_in_the_dark_too():
    style = (Path(page.__file__).parent / "report.css").read_text()
    assert re.findall(r"\.plot \{[^}]*background: ([^;]*);", style) == ["#fff"]


@pytest.mark.parametrize("reader", READERS)
def test_the_lines_of_a_map_and_the_panels_of_interventions_are_told_apart(reader):
    for colors in ([color for color, _ in LINES.values()], [color for _, color, _ in PANELS.values()]):
        seen = [lab(color, reader) for color in colors]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_a_boundary_stands_out_from_the_tiles_it_runs_over():
    """Those of about its rate: it differs from them, or the white of its edge does."""
    for rate, (color, _) in LINES.items():
        for shade in colormaps["cividis"](SHADES(np.clip(rate * 2.0 ** np.arange(-2, 3), 0, 1))):
            assert max(contrast(color, shade[:3]), contrast("white", shade[:3])) >= 3, (color, shade)


@pytest.mark.parametrize("reader", READERS)
def test_ordered_colours_rise_in_lightness_and_are_told_apart(reader):
    scale = Ordered(2.0 ** np.arange(8), "copies")
    seen = np.array([lab(scale.color(value), reader) for value in scale.values])
    assert np.all(np.diff(seen[:, 0]) > 4)
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 8
    assert min(contrast_to_white(scale.color(value)) for value in scale.values) >= 3


@pytest.mark.parametrize("reader", READERS)
def test_the_losses_are_told_apart(reader):
    seen = [lab(color, reader) for color, *_ in LOSSES.values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
