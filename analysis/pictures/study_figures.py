"""Every figure of a study, as the report shows them and `analysis.figures` writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.descent_curves import DescentCurve
from analysis.pictures import (
    boundary_figures,
    curve_figures,
    descent_figures,
    image_figures,
    instrument_agreement_figures,
    instrument_figures,
    intervention_figures,
    loss_and_gallery_figures,
    map_figures,
    placed_figures,
    score_figures,
    spurious_figures,
    training_figures,
)
from analysis.pictures.scales import study_scale
from analysis.placed_models import PlacedModels
from analysis.plots import ReportFigure
from analysis.summary import StudyFit
from analysis.table import Tables

BUILDERS = (
    curve_figures.recovery,
    curve_figures.efficiency,
    curve_figures.memorized,
    curve_figures.duplication,
    map_figures.maps,
    boundary_figures.boundaries,
    training_figures.training,
    loss_and_gallery_figures.growth,
    loss_and_gallery_figures.losses,
    instrument_agreement_figures.agreement,
    loss_and_gallery_figures.gallery,
    image_figures.images,
    spurious_figures.spurious,
    score_figures.scores,
)


def study_figures(
    tables: Tables,
    fits: Sequence[StudyFit],
    level: float,
    *,
    descents: Sequence[DescentCurve],
    answers: Sequence[Mapping[str, Any]],
    placed: PlacedModels | None = None,
) -> tuple[list[ReportFigure], list[str]]:
    """The figures that the tables allow, and in words why others are not there.

    descents, answers, placed: the curves judged for double descent, the answers of the questions as JSON, and models
    from elsewhere on the boundary: they take long, and the page shows them too.
    """
    params = study_scale(tables, "params")
    by_name = {found.name: found for found in fits}
    made, missing = [], []
    asked = [
        *(build(tables, params, by_name, level) for build in BUILDERS),
        descent_figures.descents(descents, level),
        [] if placed is None else placed_figures.placed_figures(placed, params, level),
        intervention_figures.interventions(answers, level),
        *(build(tables, level) for build in instrument_figures.BUILDERS),
    ]
    for found in asked:
        if isinstance(found, str):
            missing.append(found)
        else:
            made += found
    return made, missing
