"""The drawn study, once for all tests of pictures, and the option that renews their baselines."""

import pickle
from collections.abc import Callable

import pytest

from analysis.plots import ReportFigure
from analysis.summary import StudyFit, study_fits
from analysis.table import Tables
from tests.analysis.pictures.drawn_overviews import FIGURES, OVERVIEWS, drawn_overviews
from tests.analysis.pictures.drawn_study import drawn_figures, drawn_tables


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-baselines", action="store_true", help="write the pictures that figures are compared with")


@pytest.fixture(scope="session")
def study() -> Tables:
    return drawn_tables()


@pytest.fixture(scope="session")
def fits(study: Tables) -> list[StudyFit]:
    return study_fits(study, draws=1, level=0.95, seed=0)[0]


@pytest.fixture(scope="session")
def plain_figures(study: Tables, fits: list[StudyFit]) -> dict[str, ReportFigure]:
    """For tests that only look."""
    return drawn_figures(study, fits)


@pytest.fixture(scope="session")
def figure_of(study: Tables, fits: list[StudyFit]) -> Callable[[str], ReportFigure]:
    """Fresh every time, as a test may resize or change it: made once, copied from then on."""
    made: dict[str, bytes] = {}

    def copy(name: str) -> ReportFigure:
        if name not in made:
            found = (drawn_overviews if name in OVERVIEWS else drawn_figures)(study, fits, name)
            made.update({own: pickle.dumps(figure) for own, figure in found.items()})
        return pickle.loads(made[name])

    return copy


@pytest.fixture(scope="session")
def every_figure(figure_of: Callable[[str], ReportFigure]) -> dict[str, ReportFigure]:
    """All that the report can draw, for tests that only look."""
    return {name: figure_of(name) for name in FIGURES}
