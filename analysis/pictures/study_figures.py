"""Every figure of a study, as the report shows them and `analysis.figures` writes them."""

from collections.abc import Mapping, Sequence

from analysis.descent_curves import DescentCurve
from analysis.pictures.figures import report_figures
from analysis.pictures.instrument_figures import instrument_figures
from analysis.plots import ReportFigure
from analysis.summary import StudyFit
from analysis.table import Tables


def study_figures(
    tables: Tables,
    fits: Sequence[StudyFit],
    level: float,
    *,
    descents: Sequence[DescentCurve],
    answers: Sequence[Mapping],
) -> tuple[list[ReportFigure], list[str]]:
    """The figures that the tables allow, and in words why others are not there; arguments as of report_figures."""
    curves, absent = report_figures(tables, fits, level, descents=descents, answers=answers)
    instruments, unmeasured = instrument_figures(tables, level)
    return curves + instruments, absent + unmeasured
