"""Pictures of spurious recurring samples: what a model keeps emitting that is no training and no held-out image."""

from typing import TYPE_CHECKING

import numpy as np

from analysis.pictures.agreement_figures import plot_images
from analysis.pictures.curve_figures import Figures, Fits
from analysis.pictures.image_figures import A_RUN, chosen_of_runs, mark, pictures_of_runs
from analysis.pictures.points import said_runs
from analysis.plots import Ordered, ReportFigure
from analysis.summary import last_evaluations
from analysis.table import Tables
from analysis.words import several
from scaling.schema import SPURIOUS_GALLERY

if TYPE_CHECKING:
    from pandas import DataFrame


def spurious(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """The medoids of the largest spurious groups, each above its nearest training image."""
    last = last_evaluations(tables.evals)
    last = last[last["n_spurious"].notna()]
    if last.empty:
        return "No pictures of spurious samples: no run looked for recurring samples (evaluate.measures: cliques)."
    groups, flagged = int(last["n_spurious"].sum()), int(last["n_flagged"].sum())
    kept = pictures_of_runs(tables.gallery, SPURIOUS_GALLERY)
    if kept is None or not len(kept["size"]):
        if not groups:
            return f"No pictures of spurious samples: none of {flagged} groups of recurring samples is spurious."
        return (
            f"No pictures of spurious samples: the gallery has none of the {groups} spurious groups; runs evaluated by "
            f"this version keep some."
        )
    chosen = chosen_of_runs(np.argsort(-kept["size"], kind="stable").tolist(), kept)
    below = [f"{several(kept['size'][k], 'time')}\nratio {kept['ratio'][k]:.2f}" for k in chosen]
    strips = [("spurious:\nsample", kept["samples"][chosen], [""] * len(chosen)),
              ("nearest in\ntraining", kept["nearest"][chosen], below)]  # fmt: skip
    figure = plot_images(strips)
    marks = [
        mark(figure.axes[column], kept["samples"][k],
             f"recurred in {several(kept['size'][k], 'sample')} of run {kept['run'][k]}, gap ratio "
             f"{kept['ratio'][k]:.2f} to the nearest training image", (str(kept["run"][k]),))
        for column, k in enumerate(chosen)
    ]  # fmt: skip
    runs = len(set(kept["run"][chosen]))
    caption = (
        f"Images that a model generated again and again though they are no training and no held-out image: the middle "
        f"sample of each of the largest spurious groups (how many samples; gap ratio, 1/3 or more), above its nearest "
        f"training image. At most {A_RUN} of a run while others have some: no rate can be read from them. Of "
        f"{flagged} groups of recurring samples {groups} are spurious. n = {runs} of {said_runs(len(last))} that "
        f"looked for recurring samples."
    )
    first = chosen[0]
    alt = (
        f"{several(len(chosen), 'spurious recurring sample')}, each with its nearest training image; the first came "
        f"{several(kept['size'][first], 'time')}."
    )
    return [ReportFigure("images_spurious", "images", figure, caption, alt, wide=True, data=_rows(kept, chosen),
                         marks=marks)]  # fmt: skip


def _rows(kept: dict[str, np.ndarray], chosen: list[int]) -> "DataFrame":
    import pandas

    return pandas.DataFrame(
        {"kind": "spurious", "samples": kept["size"][chosen], "gap_ratio": kept["ratio"][chosen].astype(float),
         "runs": kept["run"][chosen]}
    )  # fmt: skip
