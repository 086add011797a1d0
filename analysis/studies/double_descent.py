"""Study 2: frozen noise draws put a peak of the hold-out loss at n_unique x m x d weights; fresh noise does not.

Windows as results/double_descent/README.md registered them before the runs: multiples of the predicted threshold.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.double_descent import predicted_threshold, verdicts
from analysis.studies.double_descent_figures import across, curves, images
from analysis.studies.over_runs import LEVEL, SEED, mean_of_runs, share_of_runs
from analysis.studies.quoted import count, interval, number, share, table
from analysis.studies.study import Study
from analysis.summary import holdout_minima, last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

WEIGHTS = "params_no_time"
VALLEY, WINDOW = (0.0, 0.25), (0.5, 2.0)  # in predicted thresholds
FITTED = 0.05  # of the smallest size's training loss: below it the frozen draws are fitted
STILL = 0.01  # a training loss that changes less over a doubling of the images seen has converged
MOST_AT_SIZES = 3  # numbers of images that the settings over sizes have: more are a curve of their own
SAID = {"present": "peak", "absent": "no peak", "cannot_tell": "cannot tell"}


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name."""
    evals = tables.evals
    last = last_evaluations(evals)
    found = {"n_runs": count(last["run_id"].nunique())}
    told: dict[str, dict[str, str]] = {}
    for name, rows in settings(last).items():
        told[name] = _model_wise(rows, evals[evals["run_id"].isin(rows["run_id"])])
        found |= {f"{_key(name)}_{what}": text for what, text in told[name].items()}
    lines = [[words, *(one.get(what, "") for one in told.values())] for what, words in LINES.items()]
    found["model_wise"] = table(["", *told], lines)
    found |= _data_wise(last) | _epoch_wise(evals)
    return found | _converged(evals, last)


LINES = {
    "predicted": "predicted peak, weights",
    "confirmed": "the registered test",
    "peak": "peak, weights (interval)",
    "quotient": "… as a multiple of the predicted",
    "fitted": "training loss below 5 % from, weights",
    "valley_loss": "hold-out loss: smallest size",
    "peak_loss": "… highest mean of a size",
    "last_loss": "… largest size",
    "recovery": "falls again below its first minimum",
    "searched": "by a search, without a window",
    "at_minima": "read at each run's hold-out minimum",
    "copies": "copies among samples: at the peak, at the largest size",
    "kid": "KID: smallest size, at the peak, largest size",
}


def settings(rows: "DataFrame") -> Mapping[str, "DataFrame"]:
    """Words -> the rows of one number of images and draws over sizes, frozen ones by predicted threshold first."""
    groups = rows.groupby(["n_unique", "noise_draws"], dropna=False)
    whole = {key: part for key, part in groups if part[WEIGHTS].nunique() > 1}
    order = sorted(whole, key=lambda key: (np.isnan(key[1]), key[0] * key[1], key[0]))
    return {_words(*key): whole[key] for key in order}


def _words(n_unique: float, draws: float) -> str:
    return f"{n_unique:.0f} images, {'fresh noise' if np.isnan(draws) else f'{draws:.0f} draws'}"


def _key(words: str) -> str:
    """`64 images, 4 draws` -> `64_4`; of fresh noise `128_fresh`."""
    return words.replace(" images, ", "_").split(" ")[0]


def threshold(rows: "DataFrame") -> float | None:
    """n_unique x m x d of one setting; None for fresh noise."""
    first = rows.iloc[0]
    return predicted_threshold(
        first["n_unique"], first["noise_draws"], int(first["channels"] * first["image_size"] ** 2)
    )


def judged(rows: "DataFrame", predicted: float | None, **how: Any) -> Mapping[str, Any]:
    """The verdict on the hold-out loss over sizes."""
    (verdict,) = verdicts(rows, x=WEIGHTS, y="holdout_loss", predicted=predicted, level=LEVEL, seed=SEED, **how)
    return verdict


def confirmed(rows: "DataFrame") -> Mapping[str, Any] | None:
    """The verdict of the registered test; None where nothing is predicted."""
    p = threshold(rows)
    if p is None:
        return None
    valley, window = ((lo * p, hi * p) for lo, hi in (VALLEY, WINDOW))
    return judged(rows, p, valley=valley, window=window)


def _model_wise(rows: "DataFrame", evals: "DataFrame") -> dict[str, str]:
    """What one setting's column of the table says; rows: the last evaluations, evals: all of the same runs."""
    predicted, sure = threshold(rows), confirmed(rows)
    sizes = dict(list(rows.groupby(WEIGHTS)))
    first, last = (sizes[end] for end in (min(sizes), max(sizes)))
    top = sizes[max(sizes, key=lambda size: sizes[size]["holdout_loss"].mean())]
    found = {
        "searched": said(judged(rows, predicted)),
        "at_minima": said(judged(holdout_minima(evals), predicted)),
        "valley_loss": _mean(first, "holdout_loss"),
        "peak_loss": _mean(top, "holdout_loss"),
        "last_loss": _mean(last, "holdout_loss"),
        "copies": ", ".join(share(*share_of_runs(one["n_memorized"], one["n_generated"])) for one in (top, last)),
        "last_copies": share(*share_of_runs(last["n_memorized"], last["n_generated"])),
        "kid": ", ".join(_mean(one, "kid", 2) for one in (first, top, last)),
        "fitted": _fitted(sizes),
    }
    if sure is None or predicted is None:
        return found
    ends = sure["peak_x"], sure["peak_lo"], sure["peak_hi"]
    found |= {"predicted": count(predicted), "confirmed": said(sure)}
    if None not in ends:
        found["peak"] = f"{count(ends[0])} ({count(ends[1])} to {count(ends[2])})"
        found["quotient"] = interval(*(end / predicted for end in ends))
    found["recovery"] = {True: "yes", False: "no", None: "cannot tell"}[sure["second_descent"]]
    return found


def said(verdict: Mapping[str, Any]) -> str:
    """`peak, p = 0.0021`."""
    p = verdict["p_value"]
    return SAID[verdict["verdict"]] + ("" if p is None else f", p = {number(p)}" if p >= 1e-4 else ", p < 0.0001")


def _mean(rows: "DataFrame", column: str, digits: int = 3) -> str:
    one = mean_of_runs(rows[column])
    return interval(one.value, one.lo, one.hi, digits)


def _fitted(sizes: Mapping[float, "DataFrame"]) -> str:
    """The smallest size whose mean training loss is below FITTED of the smallest size's."""
    losses = {size: part["train_loss"].mean() for size, part in sorted(sizes.items())}
    below = [size for size, loss in losses.items() if loss < FITTED * losses[min(losses)]]
    return count(below[0]) if below else "never"


def over_images(last: "DataFrame") -> tuple["DataFrame", float, Mapping[str, Any]]:
    """The size and draws with most numbers of images: their rows, images at the predicted peak, and the verdict."""
    groups = last[last["noise_draws"].notna()].groupby([WEIGHTS, "noise_draws"])
    (weights, draws), rows = max(groups, key=lambda one: one[1]["n_unique"].nunique())
    first = rows.iloc[0]
    predicted = weights / (draws * first["channels"] * first["image_size"] ** 2)
    (verdict,) = verdicts(rows, x="n_unique", y="holdout_loss", predicted=predicted, level=LEVEL, seed=SEED)
    return rows, predicted, verdict


def _data_wise(last: "DataFrame") -> dict[str, str]:
    """The curve over numbers of images at one size."""
    rows, predicted, verdict = over_images(last)
    means = [[count(n), _mean(part, "train_loss"), _mean(part, "holdout_loss"),
              share(*share_of_runs(part["n_memorized"], part["n_generated"]))]
             for n, part in rows.groupby("n_unique")]  # fmt: skip
    return {
        "data_weights": count(rows[WEIGHTS].iloc[0]), "data_predicted": number(predicted),
        "data_verdict": said(verdict), "data_runs": count(len(rows)),
        "data_wise": table(["images", "training loss", "hold-out loss", "copies among samples"], means),
        "data_peak": "none" if verdict["peak_x"] is None else interval(
            *(verdict[end] for end in ("peak_x", "peak_lo", "peak_hi"))),
    }  # fmt: skip


def _epoch_wise(evals: "DataFrame") -> dict[str, str]:
    """A row a size, a column a setting: the verdict along the images seen."""
    by_setting = settings(evals)
    sizes = sorted(evals[WEIGHTS].unique())
    rows = []
    for size in sizes:
        told = []
        for part in by_setting.values():
            mine = part[(part[WEIGHTS] == size) & (part["images_seen"] > 0)]
            if mine.empty:
                told.append("")
                continue
            (verdict,) = verdicts(mine, x="images_seen", y="holdout_loss", replicate="run_id", level=LEVEL, seed=SEED)
            told.append(said(verdict))
        rows.append([count(size), *told])
    return {"epoch_wise": table(["weights", *by_setting], rows)}


def _converged(evals: "DataFrame", last: "DataFrame") -> dict[str, str]:
    """How many runs' training loss changed by less than STILL over the last doubling of the images seen."""
    half = evals[evals["images_seen"] * 2 == evals.groupby("run_id")["images_seen"].transform("max")]
    losses = ["train_loss", "holdout_loss"]
    change = (last.set_index("run_id")[losses] / half.set_index("run_id")[losses] - 1).abs()
    return {
        "converged": f"{count((change['train_loss'] < STILL).sum())} of {count(change['train_loss'].notna().sum())}",
        "change_train": share(change["train_loss"].median()),
        "change_holdout": share(change["holdout_loss"].median()),
    }


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """The curves of both losses with their peaks, what else happens across the peak, and both losses over images."""
    last = last_evaluations(tables.evals)
    by_setting = settings(last)
    found = {name: (confirmed(rows) or judged(rows, None), threshold(rows)) for name, rows in by_setting.items()}
    minima = {name: holdout_minima(tables.evals[tables.evals["run_id"].isin(rows["run_id"])])
              for name, rows in by_setting.items()}  # fmt: skip
    made = [curves(by_setting, found), across(by_setting, minima, {name: p for name, (_, p) in found.items()})]
    rows, predicted, verdict = over_images(last)
    return [*made, images(rows, predicted, verdict)] if rows["n_unique"].nunique() > MOST_AT_SIZES else made


STUDY = Study("double_descent", numbers, figures)
