"""The figures that look over a whole study: maps, boundaries, onsets, agreement, galleries, scores, descents, changes.

Of the drawn study where it measures what they show; scores and spurious samples of the folded one; descents and
interventions of studies planted for their tests.
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
    score_figures,
    spurious_figures,
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
from tests.analysis.pictures.drawn_folds import folded_tables
from tests.analysis.pictures.drawn_study import BUILDERS, CLOCK, SIZES
from tests.analysis.pictures.test_boundary_figures import rows as guest
from tests.analysis.plain_study import tables as plain_tables
from tests.analysis.questions.test_interventions import ASK
from tests.analysis.questions.test_interventions import study as changed_study

Builder = Callable[..., Figures]
Maker = Callable[[Tables, Sequence[StudyFit]], Figures]
OVERVIEWS = {  # figure -> what makes it
    "map_recovery": "map", "map_memorized": "map",
    "boundary_holdout_minimum": "boundary", "boundary_holdout_last": "boundary", "boundary_kid_last": "boundary",
    "boundary_holdout_common": "unlike ends", "boundary_placed_holdout": "placed", "boundary_placed_kid": "placed",
    "training_onsets": "training", "agreement_cells": "agreement", "agreement_beside_null": "agreement",
    "images_memorized": "images", "images_copies_and_new": "images", "images_spurious": "spurious",
    "scores_by_copies": "scores", "scores_quadrants": "scores", "scores_by_density": "scores",
    "scores_images": "scores",
    "descent_along_params": "descent", "descent_along_n_unique": "descent", "descent_along_images_seen": "descent",
    "interventions_ranked": "interventions", "intervention_moves": "interventions",
}  # fmt: skip
FIGURES = (*BUILDERS, *OVERVIEWS)  # all that the report can draw: test_baselines


def drawn_overviews(study: Tables, fits: Sequence[StudyFit], name: str) -> dict[str, ReportFigure]:
    """The figures of OVERVIEWS that are made together with `name`, fresh."""
    made = MAKERS[OVERVIEWS[name]](study, fits)
    assert not isinstance(made, str), made
    return {figure.name: figure for figure in made if OVERVIEWS.get(figure.name) == OVERVIEWS[name]}


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


def _unlike_ends(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    """The runs of one seed end an evaluation earlier."""
    evals = study.evals[(study.evals["seed"] == 0) | (study.evals["images_seen"] < CLOCK[-1])]
    return _of_study(boundary_figures.boundaries)(replace(study, evals=evals), fits)


def _descents(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    """Along size two curves of four seeds, one with a peak at 16,000 parameters, whose frozen noise predicts one at
    16,384; one of four seeds along data and one along time.
    """
    frozen = {"noise_draws": 4, "image_size": 8, "channels": 1, "train_loss": 0.25}
    planted = [row | frozen for seed in range(4) for k, curve in enumerate((PEAKED, FALLING))
               for row in runs(curve, seed, blocks=k)]  # fmt: skip
    for seed in range(4):
        for k, loss in enumerate(PEAKED + 0.01 * np.cos(7 * seed + np.arange(len(PEAKED)))):
            own = {"params": 4000, "seed": seed, "holdout_loss": loss, "train_loss": 0.4 * 0.9**k}
            planted += [own | {"run_id": f"data{k}{seed}", "images_seen": 2000, "n_unique": 64 * 2**k},
                        own | {"run_id": f"time{seed}", "images_seen": 1000 * 2**k, "n_unique": 96}]  # fmt: skip
    return descent_figures.descents(descent_curves(plain_tables(planted).evals, 0.95, 0), 0.95)


def _interventions(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    answer = interventions(plain_tables(changed_study()), **ASK).as_json()
    return intervention_figures.interventions([answer], 0.95)


def _placed(study: Tables, fits: Sequence[StudyFit]) -> Figures:
    """One model inside the boundary and one behind it, with standard errors of .05 and 100 samples each."""
    own = {"se": 0.05, "n": 100, "kid_se": 0.02, "feature_space": "pixels"}
    rows = [*guest({"inside": (0.6, 0.15)}, kid=0.1, **own), *guest({"behind": (0.9, 0.3)}, kid=0.15, **own)]
    models = plain_tables([row | {"dataset": "digits"} for row in rows])
    found = placed_models(_measured(study), models, 0.95)
    return placed_figures.placed_figures(found, study_scale(study, "params"), 0.95)


def _of_folds(build: Builder) -> Maker:
    return lambda study, fits: build(folded_tables(), study_scale(study, "params"), {}, 0.95)


MAKERS: Mapping[str, Maker] = {
    "map": _maps, "boundary": _of_study(boundary_figures.boundaries), "unlike ends": _unlike_ends, "placed": _placed,
    "training": _of_study(training_figures.training), "agreement": _of_study(instrument_agreement_figures.agreement),
    "images": _of_study(image_figures.images), "spurious": _of_folds(spurious_figures.spurious),
    "scores": _of_folds(score_figures.scores), "descent": _descents, "interventions": _interventions,
}  # fmt: skip
