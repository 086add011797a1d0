"""Every figure of a study, as the report shows them and `analysis.figures` writes them."""

from collections.abc import Sequence

from analysis.pictures.figures import report_figures
from analysis.pictures.instrument_figures import instrument_figures
from analysis.plots import ReportFigure
from analysis.summary import StudyFit
from analysis.table import Tables


def study_figures(tables: Tables, fits: Sequence[StudyFit], level: float) -> tuple[list[ReportFigure], list[str]]:
    """The figures that the tables allow, and in words why others are not there."""
    curves, absent = report_figures(tables, fits, level)
    instruments, unmeasured = instrument_figures(tables, level)
    return curves + instruments, absent + unmeasured
