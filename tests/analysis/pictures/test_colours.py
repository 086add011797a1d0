"""Colours: one value looks the same in every figure, lines stand out from white, colour-blind readers tell them apart.

Contrast: WCAG 2.2, 1.4.11. Simulation: Machado, Oliveira & Fernandes 2009, severity 1, on linear sRGB. Distance:
Euclidean in CIELAB (D65), where 2.3 is just noticeable side by side.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

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


def contrast_to_white(color) -> float:
    return 1.05 / (float(TO_XYZ[1] @ linear(color)) + 0.05)


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


def drawn_lines(figure) -> list:
    """Colours of lines, markers and bars that carry data or a reference: not the grid, nor faint single runs."""
    colors = []
    for axes in figure.axes:
        for line in axes.lines:
            if line.get_alpha() in (None, 1):
                colors.append(line.get_color())
        for bars in (c for c in axes.collections if isinstance(c, LineCollection)):
            colors += [tuple(color[:3]) for color in bars.get_color()]
    return colors


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


def test_every_line_stands_out_from_white(plain_figures):
    for name, figure in plain_figures.items():
        for color in drawn_lines(figure.figure):
            assert contrast_to_white(color) >= 3, (name, color)


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
