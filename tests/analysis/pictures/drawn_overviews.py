"""The figures that look over a whole study: maps, boundaries, onsets, agreement, galleries, descents, interventions.

Of the drawn study where it measures what they show; descents and interventions of studies planted for their tests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from analysis.descent_curves import descent_curves
from analysis.pictures import (
    boundary_figures,
    descent_figures,
    image_figures,
    instrument_agreement_figures,
    intervention_figures,
    map_figures,
    placed_figures,
    training_figures,
)
from analysis.pictures.curve_figures import Figures
from analysis.pictures.scales import study_scale
from analysis.placed_models import placed_models
from analysis.plots import ReportFigure
from analysis.questions.interventions import interventions
from analysis.summary import StudyFit, study_fits
from analysis.table import Tables
from tests.analysis.pages.test_descent_sections import FALLING, PEAKED, runs
from tests.analysis.pictures.drawn_study import SIZES
from tests.analysis.pictures.test_boundary_figures import rows as guest
from tests.analysis.plain_study import tables as plain_tables
from tests.analysis.questions.test_interventions import ASK
from tests.analysis.questions.test_interventions import study as changed_study

Builder = Callable[..., Figures]
Maker = Callable[[Tables, Sequence[StudyFit]], Figures]
OVERVIEWS = {  # figure -> what makes it
    "map_recovery": "map", "map_memorized": "map",
    "boundary_holdout_minimum": "boundary", "boundary_kid_last": "boundary", "boundary_placed_holdout": "placed",
    "training_onsets": "training", "agreement_cells": "agreement", "agreement_beside_null": "agreement",
    "images_memorized": "images", "images_copies_and_new": "images",
    "descent_along_params": "descent",
    "interventions_ranked": "interventions", "intervention_moves": "interventions",
}  # fmt: skip


def drawn_overviews(study: Tables, fits: Sequence[StudyFit], name: str) -> dict[str, ReportFigure]:
    """The figures of OVERVIEWS that are made together with `name`, fresh."""
    made = MAKERS[OVERVIEWS[name]](study, fits)
    assert not isinstance(made, str), made
    return {figure.name: figure for figure in made if figure.name in OVERVIEWS}


def _of_study(build: Builder) -> Maker:
    def made(study: Tables, fits: Sequence[StudyFit]) -> Figures:
        by_name = {one.name: one for one in fits}
        return build(_measured(study), study_scale(study, "params"), by_name, 0.95)

    return made


def _measured(study: Tables) -> Tables:
    """With more instruments, a KID that falls with size, and for each training image a pattern of 8 by 8 pixels."""
    evals, images, y, x = study.evals, study.images, *np.indices((8, 8))
    size, place = np.log(evals["params"].astype(float) / SIZES[0]), images["image_id"].map(lambda name: int(name, 16))
    pixels = {f"{k:016x}": np.uint8(127 + 120 * np.sin(0.05 * k * x) * np.cos(0.03 * k * y))[None] for k in range(192)}
    return replace(
        study, pixels=pixels,
        evals=evals.assign(
            kid=evals["kid"] * np.exp(-size / 4), n_ideal_basin_recovered=(0.9 * evals["n_basin"]).round(),
            n_prompts=64, n_prompt_recovered=(8 + 4 * size + evals["seed"]).round(),
            n_null_prompts=64, n_null_prompt_recovered=1, membership_auc=0.9 - 0.01 * (size - 2) ** 2,
        ),
        images=images.assign(best_ratio=0.1 + (7 * place % 192) / 200, leverage=(5 * place % 192) / 192),
    )  # fmt: skip


def _maps(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    """With laws fitted to 20 resamplings of the runs: their boundaries have ends."""
    return _of_study(map_figures.maps)(study, study_fits(study, draws=20, level=0.95, seed=0)[0])


def _descents(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    """Two curves of four seeds, one with a peak at 16,000 parameters, whose frozen noise predicts one at 16,384."""
    frozen = {"noise_draws": 4, "image_size": 8, "channels": 1, "train_loss": 0.25}
    planted = [row | frozen for seed in range(4) for k, curve in enumerate((PEAKED, FALLING))
               for row in runs(curve, seed, blocks=k)]  # fmt: skip
    return descent_figures.descents(descent_curves(plain_tables(planted).evals, 0.95, 0), 0.95)


def _interventions(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    answer = interventions(plain_tables(changed_study()), **ASK).as_json()
    return intervention_figures.interventions([answer], 0.95)


def _placed(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    """One model inside the boundary and one behind it, with standard errors of .05 and 100 samples each."""
    models = plain_tables(guest({"inside": (0.6, 0.15), "behind": (0.9, 0.3)}, se=0.05, n=100))
    on_digits = replace(models, evals=models.evals.assign(dataset="digits"))
    return placed_figures.placed_figures(placed_models(study, on_digits, 0.95), study_scale(study, "params"), 0.95)


MAKERS: Mapping[str, Maker] = {
    "map": _maps, "boundary": _of_study(boundary_figures.boundaries), "placed": _placed,
    "training": _of_study(training_figures.training), "agreement": _of_study(instrument_agreement_figures.agreement),
    "images": _of_study(image_figures.images), "descent": _descents, "interventions": _interventions,
}  # fmt: skip
