"""Study 3: the score with and without an image over random halves, and what it goes with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.counterfactual import pooled, study
from analysis.lira import FORMS, lira
from analysis.studies.over_runs import share_of_runs
from analysis.studies.quoted import count, interval, number, share, table
from analysis.studies.recovered_first import recovered_with
from analysis.studies.study import Study, drawn
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

LEVEL, SEED = 0.95, 0
GOES_WITH = {
    "nearest_train_distance": "distance to the nearest other training image",
    "distance_10": "distance to the 10th nearest",
    "leverage": "leverage",
}
RECOVERED_WITH = {"Mbar": "score", **GOES_WITH}
TOP = 0.10  # of the scores: those called highly memorized


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name, by cell and pooled."""
    images = last_evaluations(tables.images)
    scored, answer = study(images, _gallery(tables), level=LEVEL, seed=SEED)
    sizes = tables.evals.groupby("cell_id")[["width", "params"]].first()
    cells: dict[str, dict[str, Any]] = {
        f"width {sizes.width[one['cell_id']]:.0f}": one for one in sorted(
            answer["cells"], key=lambda one: sizes.params[one["cell_id"]])
    }  # fmt: skip
    cells["both"] = answer["pooled"]
    found = {"n_runs": count(answer["n_runs"]), "n_images": count(answer["pooled"]["n_images"])}
    found["scores"] = table(["", *cells], list(_lines(cells)))
    found |= {f"{key}_{name.replace(' ', '_')}": text for name, one in cells.items() for key, text in _of(one).items()}
    found |= _recovered_first(scored, images, {name: one["cell_id"] for name, one in cells.items() if name != "both"})
    return found | _attack(tables.images) | _recovered(last_evaluations(tables.strata))


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """The report's figures of scores, where in the noise the images are known, and what the score goes with."""
    from analysis.pictures.instrument_figures import noise
    from analysis.pictures.scales import study_scale
    from analysis.pictures.score_figures import scores

    of_report = [*drawn(scores(tables, study_scale(tables, "params"), {}, LEVEL)), *drawn(noise(tables, LEVEL))]
    return [*of_report, *_against(tables)]


def _against(tables: Tables) -> list["ReportFigure"]:
    """The images' scores, both sizes pooled, against their nearest distance and against their neighbours' scores."""
    from analysis.pictures.counterfactual_figures import plot_against, plot_kinds
    from analysis.plots import ReportFigure

    table, answer = study(last_evaluations(tables.images), _gallery(tables), level=LEVEL, seed=SEED)
    shown, both = pooled(table), answer["pooled"]
    rho = both["correlations"]["nearest_train_distance"]["over_strata"]["value"]
    said = f"mean over sizes, bars two standard errors. n = {len(shown)} images, {answer['n_runs']} runs."
    near = plot_against(shown, "nearest_train_distance", "distance to the nearest other training image (rms pixel)")
    return [
        ReportFigure("score_by_distance", "scores", near, f"Score against the distance to the nearest; {said}",
                     f"The score rises with the distance; rank correlation within copies {rho:.2f}.", data=shown),
        ReportFigure("score_and_neighbors", "scores", plot_kinds(shown),
                     f"Score of an image against what its nearest held-out images gain with it; {said}",
                     f"The neighbours gain {share(both['neighbor_share']['median'])} of a score (median).", data=shown),
    ]  # fmt: skip


def _gallery(tables: Tables) -> Mapping[str, np.ndarray]:
    return {"image_ids": np.array(list(tables.pixels)), "image_pixels": np.stack(list(tables.pixels.values()))}


def _of(one: Mapping[str, Any]) -> dict[str, str]:
    """What one cell, or both pooled, gives by name."""
    above, null, trust = one["above_2_se"], one["null"], one["reliability"]
    inliers = {kind: next(rate for rate in rates if rate["top"] == TOP) for kind, rates in one["base_rates"].items()}
    near = one["neighbor_share"]
    found = {
        "above": share(above["share"], above["lo"], above["hi"]),
        "expected": share(above["expected"]),
        "null_mean": interval(*(null["mean"][end] for end in ("mean", "lo", "hi"))),
        "null_above": share(*(null["above_2_se"][end] for end in ("share", "lo", "hi"))),
        "reliability": interval(*(trust[end] for end in ("value", "lo", "hi"))),
        "inliers": share(*(inliers["disjoint_halves"][end] for end in ("share", "lo", "hi"))),
        "inliers_same_runs": share(*(inliers["same_runs"][end] for end in ("share", "lo", "hi"))),
        "neighbors": f"{share(near['median'])} ({share(near['lower_quartile'])} to {share(near['upper_quartile'])})",
        "kinds": ", ".join(f"{of} {kind}" for kind, of in one["kinds"].items()),
    }
    for name in GOES_WITH:
        rho = one["correlations"][name]["over_strata"]
        found[name] = interval(rho["value"], rho["lo"], rho["hi"])
    return found


def _lines(cells: Mapping[str, Mapping[str, Any]]) -> Sequence[Sequence[str]]:
    """The rows of the page's table, a column for each cell."""
    asked = {
        "images above 2 SE": "above", "… expected by luck": "expected", "null: mean (nats)": "null_mean",
        "… above 2 SE": "null_above", "reliability (halves of the runs)": "reliability",
        **{f"Spearman within copies, {words}": name for name, words in GOES_WITH.items()},
        "inliers among the top 10 %, density of other runs": "inliers", "… of the same runs": "inliers_same_runs",
        "the neighbours' share of a score, median (quartiles)": "neighbors", "kinds, by 2 SE": "kinds",
    }  # fmt: skip
    told = {name: _of(one) for name, one in cells.items()}
    rows = [[words, *(told[name][key] for name in cells)] for words, key in asked.items()]
    copies = [row["copies"] for row in next(iter(cells.values()))["by_copies"]]
    means = [" ".join(number(row["mean"], 3) for row in one["by_copies"]) for one in cells.values()]
    return [*rows, [f"mean score at {', '.join(map(str, copies))} copies (nats)", *means]]


def _recovered_first(scored: "DataFrame", images: "DataFrame", cell_ids: Mapping[str, str]) -> dict[str, str]:
    """What the recovered chains of an image go with: a row for each of RECOVERED_WITH, by cell and pooled."""
    told = {
        name: recovered_with(scored[scored["cell_id"] == cell], images[images["cell_id"] == cell], list(RECOVERED_WITH))
        for name, cell in cell_ids.items()
    }
    told["both"] = recovered_with(pooled(scored), images, list(RECOVERED_WITH))
    found = {f"recovered_with_{name}_{column.replace(' ', '_')}": interval(rho.value, rho.lo, rho.hi)
             for column, each in told.items() for name, rho in each.items()}  # fmt: skip
    rows = [[words, *(interval(*each[name][:3]) for each in told.values())] for name, words in RECOVERED_WITH.items()]
    return found | {"recovered_first": table(["an image's recovered chains with its …", *told], rows)}


def _attack(images: "DataFrame") -> dict[str, str]:
    """Membership by a threshold and by LiRA: the range of AUC over runs."""
    runs = lira(last_evaluations(images))
    aucs = {form: runs[f"{form}_auc"].dropna() for form in FORMS}
    return {f"auc_{form}": f"{values.min():.3f} to {values.max():.3f}" for form, values in aucs.items()}


def _recovered(strata: "DataFrame") -> dict[str, str]:
    """Chains that come back by size and copies, and of the ideal denoiser: what the score is compared with."""
    found = {}
    for (width, copies), rows in strata.groupby(["width", "copies"]):
        shares = share(*share_of_runs(rows["n_basin_recovered"], rows["n_basin"]))
        found[f"recovered_{width:.0f}_{copies:.0f}"] = shares
    for copies, rows in strata.groupby("copies"):
        found[f"recovered_ideal_{copies:.0f}"] = share(*share_of_runs(rows["n_ideal_basin_recovered"], rows["n_basin"]))
    return found


STUDY = Study("counterfactual", numbers, figures)
