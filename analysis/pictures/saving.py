"""Figures to files: the same figure gives the same bytes, fonts are embedded, and a text of the data stays a text."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.plots import Mark, ReportFigure
from scaling import schema

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCREEN_DPI = 160
UNDATED = {  # a file tells neither when nor by which version it was made
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# Type 42 (TrueType) is what journals ask for and can be searched; glyphs of an SVG are outlines, so it needs no font.
FONTS: dict[str, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "text.usetex": False}


class Place(NamedTuple):
    """A mark in the saved picture: fractions of its width and height, from the left and from the top."""

    left: float
    top: float
    mark: Mark


def render(figure: ReportFigure, formats: Sequence[str], dpi: int = SCREEN_DPI) -> dict[str, bytes]:
    """Format -> bytes of the file. The layout is made once and kept for all."""
    from matplotlib import rc_context

    show_as_written(figure.figure)
    _lay_out(figure.figure)
    data = {}
    settings: Any = FONTS | {"svg.hashsalt": figure.name}  # the salt: element ids that are the same every time
    with rc_context(settings):
        for kind in formats:
            stream = io.BytesIO()
            figure.figure.savefig(stream, format=kind, dpi=dpi, metadata=UNDATED[kind])
            data[kind] = stream.getvalue()
    return data


def save(figure: ReportFigure, folder: Path, formats: Sequence[str], dpi: int = SCREEN_DPI) -> dict[str, bytes]:
    """Write FOLDER/NAME.FORMAT for each format; returns the bytes of each."""
    data = render(figure, formats, dpi)
    for kind, content in data.items():
        (folder / f"{figure.name}.{kind}").write_bytes(content)
    return data


def save_data(figure: ReportFigure, folder: Path) -> Path | None:
    """Write the drawn points as FOLDER/NAME.csv; None where the figure brings no rows."""
    if figure.data is None:
        return None
    path = folder / f"{figure.name}.csv"
    figure.data.to_csv(path, index=False, lineterminator="\n")
    return path


def mark_positions(figure: ReportFigure) -> list[Place]:
    """Where each mark stands in the picture; marks outside their axes, or without a finite place, are left out."""
    _lay_out(figure.figure)
    box, found = figure.figure.bbox, []
    for mark in figure.marks:
        x, y = map(float, mark.axes.transData.transform((mark.x, mark.y)))
        frame = mark.axes.bbox.padded(0.5)  # half a pixel: a point on the frame is drawn
        if frame.contains(x, y):  # NaN and infinity are in no frame
            found.append(Place(x / box.width, 1 - y / box.height, mark))
    return found


def _lay_out(figure: "Figure") -> None:
    """Give the axes their places, for good: each format would measure text a little differently."""
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    if isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine):
        return  # they have them
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def show_as_written(figure: "Figure") -> None:
    """A `$` in a name from the data is a dollar, no formula; only the numbers of an axis are set as such."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    numbers: set[int] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):  # these hold texts
            labels = [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True), axis.offsetText]
            numbers |= set(map(id, labels))
    for said in figure.findobj(Text):
        if id(said) not in numbers:
            said.set_parse_math(False)
            said.set_text("\n".join(map(schema.printable, said.get_text().split("\n"))))  # an SVG holds no escape codes
