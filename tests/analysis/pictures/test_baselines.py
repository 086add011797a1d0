"""Every figure against its picture in baselines/, at one column of a paper.

After a change that is meant to be seen:
    python -m pytest tests/analysis/pictures/test_baselines.py --renew-baselines
then look at what git says has changed.
"""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from analysis.pictures.paper_size import resize
from analysis.plots import ReportFigure
from tests.analysis.pictures.baselines import FOLDER, MOST, difference, picture
from tests.analysis.pictures.drawn_study import BUILDERS

RENEW = "python -m pytest tests/analysis/pictures/test_baselines.py --renew-baselines"


@pytest.fixture
def small(figure_of) -> Callable[[str], ReportFigure]:
    def made(name: str) -> ReportFigure:
        figure = figure_of(name)
        resize(figure.figure, 3.35)
        return figure

    return made


def stored(name: str) -> Image.Image:
    path = FOLDER / f"{name}.png"
    assert path.exists(), f"no baseline {path.name}: look at the figure, then make it with {RENEW}"
    return Image.open(path)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_figure_looks_as_before(name, small, request, tmp_path):
    found = picture(small(name))
    if request.config.getoption("--renew-baselines", default=False):
        FOLDER.mkdir(exist_ok=True)
        found.save(FOLDER / f"{name}.png", optimize=True)
        pytest.skip(f"wrote {name}.png: compared with nothing; look at it before it is committed")
    found.save(tmp_path / f"{name}.png")
    away = difference(stored(name), found)
    assert away <= MOST, f"{name}: {away:.2%} of the pixels differ; see {tmp_path / name}.png; if meant: {RENEW}"


def test_baselines_are_few_and_small():
    files = sorted(FOLDER.glob("*.png"))
    assert [path.stem for path in files] == sorted(BUILDERS)
    assert max(path.stat().st_size for path in files) <= 25_000


def test_a_missing_baseline_is_named_with_its_remedy():
    with pytest.raises(AssertionError, match=r"no baseline unknown\.png.*--renew-baselines"):
        stored("unknown")


def higher(figure: Figure) -> None:
    """Every drawn value 3 % larger."""
    for axes in figure.axes:
        for line in axes.lines:
            line.set_ydata(1.03 * np.asarray(line.get_ydata(), float))


def exchanged(figure: Figure) -> None:
    """The colours of the first and the last line of each panel."""
    for axes in figure.axes:
        first, last = axes.lines[0].get_color(), axes.lines[-1].get_color()
        axes.lines[0].set_color(last)
        axes.lines[-1].set_color(first)


def without_intervals(figure: Figure) -> None:
    for axes in figure.axes:
        for drawn in list(axes.collections):
            drawn.remove()
        for line in list(axes.lines):
            if line.get_marker() in ("_", "|"):  # the caps of bars
                line.remove()


def linear(figure: Figure) -> None:
    for axes in figure.axes:
        axes.set_xscale("linear")


def recoloured(figure: Figure) -> None:
    for axes in figure.axes:
        for line in axes.lines:
            line.set_color("#56B4E9")


CHANGES = [
    (higher, "memorized_over_training"), (higher, "losses"), (exchanged, "memorized_over_training"),
    (recoloured, "efficiency_by_copies"), (without_intervals, "memorized_by_params"), (linear, "memorized_by_params"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("change", "name"), CHANGES, ids=lambda v: getattr(v, "__name__", v))
def test_a_change_of_the_figure_is_told(change, name, small):
    figure = small(name)
    change(figure.figure)
    assert difference(stored(name), picture(figure)) > 2 * MOST


@pytest.mark.slow
def test_other_hinting_of_fonts_is_no_change(small):
    with rc_context({"text.hinting": "force_autohint"}):
        for name in ("losses", "memorized_over_training"):
            assert difference(stored(name), picture(small(name))) <= MOST
