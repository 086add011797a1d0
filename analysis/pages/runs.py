"""The runs of a page: a row each with its anchor, and what the panel behind every point of a figure shows of them."""

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.pages import page, words
from analysis.summary import last_evaluations
from analysis.table import Tables
from scaling.schema import GALLERY

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import Mark

MOST_RUNS = 1_000  # with a row and a panel; of more, so many evenly spaced
MOST_PAIRS = 16  # samples beside their nearest training image, in a run's panel
MOST_PIXELS = 2_000_000  # bytes of samples in the page, of so many evenly spaced runs
FACTS = (  # heading, column of evals
    ("cell", "cell_id"), ("seed", "seed"), ("data set", "dataset"), ("family", "family"), ("width", "width"),
    ("parameters", "params"), ("unique images", "n_unique"), ("training images with copies", "n_train"),
    ("design", "design"), ("largest copies", "copies"), ("duplication rate", "duplication_rate"),
    ("frozen noise draws", "noise_draws"), ("conditioning", "conditioning"), ("images seen", "images_seen"),
    ("seconds of training and measuring", "wall_seconds"), ("code", "code_version"), ("commit", "commit"),
    ("data", "data_sha256"),
)  # fmt: skip
EVALUATIONS = (  # heading, column, trials
    ("images seen", "images_seen", None), ("memorized", "n_memorized", "n_generated"),
    ("null", "n_null_memorized", "n_generated"), ("recovered", "n_basin_recovered", "n_basin"),
    ("null", "n_null_basin_recovered", "n_null_basin"), ("train loss", "train_loss", None),
    ("seen loss", "seen_loss", None), ("hold-out loss", "holdout_loss", None), ("KID", "kid", None),
    ("ideal distance", "ideal_distance", None), ("membership AUC", "membership_auc", None),
)  # fmt: skip


def kept_runs(evals: "DataFrame", most: int = MOST_RUNS) -> list[str]:
    """The runs that get a row and a panel: all, or `most` of them evenly spaced in order of size."""
    last = last_evaluations(evals).sort_values(["params", "n_unique", "copies", "run_id"])
    at = np.unique(np.linspace(0, len(last) - 1, min(len(last), most)).round().astype(int))
    return last["run_id"].iloc[at].tolist()


def linked(said: object, runs: Iterable[str], kept: Collection[str]) -> page.Html:
    """`said`, leading to the first of `runs` that has its part on the page; plain text where none has."""
    there = next((run for run in runs if run in kept), None)
    return page.text(said) if there is None else page.run_link(there, said)


def leading_to_kept(mark: "Mark", kept: Collection[str], prefix: str) -> "Mark":
    """The mark as the page shows it: it leads to runs that have their part there, and says where some have not.

    prefix: of the page's identifiers, which `mark.link` gets.
    """
    there = tuple(run for run in mark.runs if run in kept)
    lost = len(mark.runs) - len(there)
    if not lost:
        said = ""
    elif len(mark.runs) == 1:
        said = "; its part of the page was left out"
    else:
        have = "have" if len(there) > 1 else "has"
        said = f"; {len(there) or 'none'} of its {len(mark.runs)} runs {have} a part on the page"
    return replace(mark, runs=there, said=mark.said + said, link=mark.link and prefix + mark.link)


def runs_table(evals: "DataFrame", kept: Sequence[str]) -> page.Html:
    """The kept runs at their last evaluation, a row each in order of size, and how many are not shown."""
    last = last_evaluations(evals)
    rows = last[last["run_id"].isin(kept)].sort_values(["params", "n_unique", "copies", "run_id"])
    headers = ["run", "cell", "seed", "parameters", "unique images", "largest copies", "duplication rate",
               *(name if name != "null" else f"null of {EVALUATIONS[at - 1][0]}" for at, (name, *_) in
                 enumerate(EVALUATIONS))]  # fmt: skip
    body = []
    for row in rows.to_dict("records"):
        design = [words.whole(row[name]) for name in ("seed", "params", "n_unique", "copies")]
        measured = ["–" if value is None else value for value in _evaluation(row)]
        first = [page.run_link(row["run_id"]), row["cell_id"] or "–"]
        body.append([*first, *design, words.number(row["duplication_rate"]), *measured])
    all_runs = last["run_id"].nunique()
    thinned = (
        f" To keep the page small, only {words.whole(len(rows))} of the {words.whole(all_runs)} runs, evenly spaced in "
        f"order of size, have a row here; the tables beside the runs hold all of them."
        if all_runs > len(rows) else ""
    )  # fmt: skip
    note = page.paragraph(
        f"Each run at its last evaluation; its name opens all of them, its configuration, the command that repeats it "
        f"and its samples.{thinned}", "note",
    )  # fmt: skip
    anchors = [page.anchor(run) for run in rows["run_id"]]
    return page.joined([page.table("runs", headers, body, anchors=anchors), note])


def panels(tables: Tables, kept: Sequence[str]) -> dict[str, object]:
    """What report.js shows: columns, the first configuration, and for each kept run what differs, rows and samples.

    differs: [path, value] of what a run's configuration has otherwise than the first, [path] of what it has not; None
    where its records hold no configuration.
    """
    evals = tables.evals[tables.evals["run_id"].isin(kept)].sort_values(["run_id", "images_seen"])
    configs = {run: text for run, text in zip(evals["run_id"], evals["config"], strict=True) if text is not None}
    shared = json.loads(next(iter(configs.values()))) if configs else {}
    pictured = _pictured(tables, kept)
    found = {}
    for run, rows in groupby(evals.to_dict("records"), itemgetter("run_id")):
        records = list(rows)
        images = _samples(tables.gallery.get(str(run), {})) if run in pictured else None
        found[page.anchor(str(run))] = {
            "name": str(run),
            "facts": [[name, _fact(records[-1][column])] for name, column in FACTS],
            "differs": list(differences(shared, json.loads(configs[run]))) if run in configs else None,
            "evaluations": [_evaluation(row) for row in records],
            "images": images and images[0],
            "images_said": images and images[1],
        }  # fmt: skip
    return {"columns": [name for name, *_ in EVALUATIONS], "configuration": shared, "runs": found}


def differences(base: Mapping[str, Any], other: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[list[Any]]:
    """[path, value] to set in `base`, and [path] to take away, that make it `other`; null is not absent, 1 not true."""
    for key in {**base, **other}:
        path = [*at, key]
        if key not in other:
            yield [path]
        elif key in base and isinstance(base[key], dict) and isinstance(other[key], dict):
            yield from differences(base[key], other[key], tuple(path))
        elif key not in base or json.dumps(base[key], sort_keys=True) != json.dumps(other[key], sort_keys=True):
            yield [path, other[key]]


def _pictured(tables: Tables, kept: Sequence[str]) -> set[str]:
    """The runs whose samples are in the page: all, or so many evenly spaced as MOST_PIXELS allow."""
    names = (GALLERY[0], GALLERY[1])
    sizes = {
        run: sum(tables.gallery[run][name][:MOST_PAIRS].nbytes for name in names)
        for run in kept if all(name in tables.gallery.get(run, {}) for name in names)
    }  # fmt: skip
    if not sizes:
        return set()
    most = max(1, MOST_PIXELS // max(1, max(sizes.values())))
    return set(kept_runs(tables.evals[tables.evals["run_id"].isin(list(sizes))], most))


def _evaluation(row: Mapping[str, Any]) -> list[str | None]:
    """Numbers as they are read: counts with their trials, losses to four digits; None was not measured."""
    said: list[str | None] = []
    for _, column, trials in EVALUATIONS:
        value = row[column]
        if np.isnan(value):
            said.append(None)
        elif trials is not None:
            share = f" · {words.percent(value / row[trials])}" if row[trials] > 0 else ""
            said.append(f"{words.whole(value)}/{words.whole(row[trials])}{share}")
        else:
            said.append(words.whole(value) if column == "images_seen" else words.number(value, 4))
    return said


def _fact(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return words.whole(value) if isinstance(value, float) and value.is_integer() else (
        words.number(value, 4) if isinstance(value, float) else str(value)
    )  # fmt: skip


def _samples(arrays: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    """One small PNG, samples above the nearest training images, and what stands in it; None where none were kept."""
    if not all(name in arrays for name in GALLERY) or not len(arrays[GALLERY[0]]):
        return None
    from PIL import Image

    samples, nearest, ratio, copies = (arrays[name][:MOST_PAIRS] for name in GALLERY)
    pixels = np.stack([_strip(samples), _strip(nearest)]).reshape(-1, _strip(samples).shape[1], samples.shape[1])
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, "PNG", optimize=True)
    said = "; ".join(
        f"{value:.2f} ×{count}{' memorized' if value < 1 / 3 else ''}"
        for value, count in zip(ratio, copies, strict=True)
    )
    return str(page.image_source(stream.getvalue(), "png")), f"Gap ratio and copies, from the left: {said}."


def _strip(images: np.ndarray) -> np.ndarray:
    """[G C H W] -> [H + 1, G (W + 1), C]: beside each other, a white line between."""
    framed = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=255)
    return framed.transpose(2, 0, 3, 1).reshape(framed.shape[2], -1, framed.shape[1])
