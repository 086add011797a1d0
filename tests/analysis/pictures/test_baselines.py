"""Every figure against its picture in baselines/, at one column of a paper.

After a change that is meant to be seen:
    python -m pytest tests/analysis/pictures/test_baselines.py --renew-baselines
then look at what git says has changed.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from PIL import Image

from analysis import pictures
from analysis.pictures import boundary_figures, descent_figures, placed_figures
from analysis.pictures.paper_size import resize
from analysis.plots import ReportFigure
from tests.analysis.pictures.baselines import FOLDER, MOST, difference, picture
from tests.analysis.pictures.drawn_overviews import FIGURES, OVERVIEWS

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


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_looks_as_before(name, small, request, tmp_path):
    found = picture(small(name))
    if request.config.getoption("--renew-baselines", default=False):
        FOLDER.mkdir(exist_ok=True)
        found.save(FOLDER / f"{name}.png", optimize=True)
        pytest.skip(f"wrote {name}.png: compared with nothing; look at it before it is committed")
    found.save(tmp_path / f"{name}.png")
    away = difference(stored(name), found)
    assert away <= MOST, f"{name}: {away:.2%} of the pixels differ; see {tmp_path / name}.png; if meant: {RENEW}"


# What stands where a name in the sources is not written out.
FILLED = {
    "recovery_by_{}": ("params", "copies"), "descent_along_{}": descent_figures.XLABEL,
    "boundary_figures.py": boundary_figures.NAMES, "placed_figures.py": placed_figures.NAMES.values(),
}  # fmt: skip


def written_names() -> Iterator[str]:
    """The names that the sources give to figures: ReportFigure("name", …), or what hands its `name` on to it."""
    trees = {path.name: ast.parse(path.read_text()) for path in Path(pictures.__path__[0]).glob("*.py")}
    naming = {(source, f.name) for source, tree in trees.items() for f in functions(tree) if takes_name(f)}
    public = {"ReportFigure", *(name for _, name in naming if not name.startswith("_"))}
    for source, tree in trees.items():
        for function in functions(tree):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                called = getattr(call.func, "id", "")
                if called in public or (source, called) in naming:
                    yield from names_of(call.args[0], source, takes_name(function))


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def takes_name(function: ast.FunctionDef) -> bool:
    return bool(function.args.args) and function.args.args[0].arg == "name"


def names_of(given: ast.expr, source: str, handed_on: bool) -> Iterator[str]:
    if isinstance(given, ast.Constant):
        yield given.value
    elif isinstance(given, ast.JoinedStr):
        whole = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in given.values)
        yield from map(whole.format, FILLED[whole])
    elif not handed_on:
        yield from FILLED[source]


def test_every_figure_that_the_sources_name_has_its_picture():
    """Also one that no study of the tests draws: it must get one that does."""
    assert set(written_names()) == set(FIGURES)


def test_baselines_are_few_and_small():
    files = sorted(FOLDER.glob("*.png"))
    assert [path.stem for path in files] == sorted(FIGURES)
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
        for tiles in (*axes.images, *(c for c in axes.collections if isinstance(c, QuadMesh))):
            tiles.set_cmap("viridis")
        for points in (c for c in axes.collections if isinstance(c, PathCollection)):
            points.set_color("#56B4E9")


def without_bars(figure: Figure) -> None:
    """Intervals drawn as lines of two ends, as dotted ends of a boundary, or as bars of errors."""
    for axes in figure.axes:
        for line in list(axes.lines):
            points, style = len(line.get_xdata()), line.get_linestyle()
            bar = points == 2 and style == "-" and line.get_transform() == axes.transData
            if line.get_marker() == "None" and line.get_linewidth() < 1.5 and (bar or (points > 2 and style == ":")):
                line.remove()
        for bars in [c for c in axes.collections if isinstance(c, LineCollection)]:
            bars.remove()


def backwards(figure: Figure) -> None:
    """The order along x: of values, or of pictures."""
    pictures = [axes.images[0] for axes in figure.axes if axes.images and "colorbar" not in axes.get_label()]
    if len(pictures) > 1:
        arrays = [picture.get_array() for picture in pictures]
        for picture, array in zip(pictures, reversed(arrays), strict=True):
            picture.set_data(array)
    else:
        figure.axes[0].invert_xaxis()


def turned(figure: Figure) -> None:
    """What belongs to x at y and the other way about."""
    for axes in figure.axes:
        for line in axes.lines:
            x, y = line.get_data()
            line.set_data(y, x)
        for points in (c for c in axes.collections if isinstance(c, PathCollection)):
            points.set_offsets(np.asarray(points.get_offsets())[:, ::-1])


PHOTOGRAPHS = ("images_memorized", "images_copies_and_new", "images_spurious", "scores_images")
TILED = ("map_recovery", "map_memorized", "agreement_cells", "scores_quadrants", *PHOTOGRAPHS)
NO_BARS = {*TILED, "training_onsets", "scores_by_density"} - {"map_recovery"}
CHANGES = [
    (higher, "memorized_over_training"), (higher, "losses"), (exchanged, "memorized_over_training"),
    (recoloured, "efficiency_by_copies"), (without_intervals, "memorized_by_params"), (linear, "memorized_by_params"),
    *((backwards, name) for name in OVERVIEWS),
    *((recoloured, name) for name in OVERVIEWS if name not in PHOTOGRAPHS),
    *((turned, name) for name in OVERVIEWS if name not in TILED),
    *((without_bars, name) for name in OVERVIEWS if name not in NO_BARS),
    (without_intervals, "training_onsets"), (without_bars, "training_onsets"),
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
