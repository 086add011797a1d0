"""The K-fold counterfactual score: an image's log-density with it in training minus without it (measures.md 2.8).

A score alone cannot tell memorized from learned: the nearest hold-out images, which no run trained on, say whether what
the image gave reached its neighbours too.
`python -m analysis.counterfactual TABLES --out DIR` writes the scores, counterfactual.json and figures.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from analysis.command import command_line
from analysis.condition import holds
from analysis.per_image import quadrants
from analysis.per_image.folds import VALUE, Cell, cells, halves, never_trained, shared_training_sets
from analysis.table import load

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
ERRORS = {"Mbar": "se", "M": "M_se", "neighbor": "neighbor_se", "excess": "excess_se"}  # a score: its standard error
NEIGHBORS = 5  # hold-out images an image is compared with
SPLITS = 11  # random halves of the runs; their median is the reliability
KEYS = ["cell_id", "image_id"]


class Difference(NamedTuple):
    """Mean over the runs with the image minus mean over those without: each [n], NaN where a side has too few runs."""

    mean_in: Array
    mean_out: Array
    m_in: Array
    m_out: Array
    value: Array
    se: Array


def difference(value: Array, inside: Array) -> Difference:
    """value [R n], inside [R n] -> mean_in - mean_out; SE^2 = s_in^2/m_in + s_out^2/m_out, over runs."""
    known = ~np.isnan(value)
    m, mean, squared = [], [], []
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 = NaN: too few runs on this side
        for side in (inside & known, ~inside & known):
            m.append(side.sum(0))
            mean.append(np.where(side, value, 0).sum(0) / m[-1])
            squared.append(np.where(side, (value - mean[-1]) ** 2, 0).sum(0) / (m[-1] - 1.0) / m[-1])
    se = np.where(np.minimum(*m) > 1, np.sqrt(np.abs(squared[0] + squared[1])), np.nan)
    return Difference(mean[0], mean[1], m[0], m[1], mean[0] - mean[1], se)


def lme_difference(value: Array, inside: Array) -> tuple[Array, Array]:
    """M [n] = LME_in - LME_out (van den Burg & Williams 2021) and its delete-one-run jackknife SE [n].

    Biased where the sides have different numbers of runs, and in high dimension the maximum over runs: rank by Mbar.
    """
    known, nothing = ~np.isnan(value), np.full((1, value.shape[1]), -np.inf)
    lme, squared = [], []
    with np.errstate(invalid="ignore", divide="ignore"):
        for side in (inside & known, ~inside & known):
            m, v = side.sum(0), np.where(side, value, -np.inf)
            lme.append(np.where(m > 0, logsumexp(v, axis=0) - np.log(m), np.nan))
            # Without run j: the sums before and after it. To subtract exp(v_j) loses all when j is the largest.
            before = np.concatenate([nothing, np.logaddexp.accumulate(v, axis=0)[:-1]])
            after = np.concatenate([np.logaddexp.accumulate(v[::-1], axis=0)[::-1][1:], nothing])
            without = np.where(side, np.logaddexp(before, after) - np.log(m - 1.0), 0)
            spread = np.where(side, (without - without.sum(0) / m) ** 2, 0).sum(0)
            squared.append(np.where(m > 1, spread * (m - 1) / m, np.nan))
    return lme[0] - lme[1], np.sqrt(squared[0] + squared[1])


def scores(images: "DataFrame", value: str = VALUE) -> "DataFrame":
    """A row for each pool image of each cell: Mbar, se, M, M_se, m_in, m_out, mean_in, mean_out, copies.

    Never in or never left out (m_in or m_out 0): no score; on one side in one run only: no standard error (NaN each).
    """
    found = cells(images, value)
    M, M_se = zip(*(lme_difference(cell.value, cell.inside) for cell in found), strict=True)
    return mean_scores(found).assign(M=np.concatenate(M), M_se=np.concatenate(M_se))


def mean_scores(found: Sequence[Cell]) -> "DataFrame":
    """`scores` without M."""
    made = []
    for cell in found:
        d = difference(cell.value, cell.inside)
        made.append(
            {"image_id": cell.images, "copies": cell.copies, "Mbar": d.value, "se": d.se, "m_in": d.m_in}
            | {"m_out": d.m_out, "mean_in": d.mean_in, "mean_out": d.mean_out}
        )
    return _stacked(found, made)


def permuted(images: "DataFrame", rng: np.random.Generator, value: str = VALUE) -> "DataFrame":
    """The null: scores of hold-out images under memberships permuted over runs: mean 0, spread = standard error."""
    return mean_scores(never_trained(cells(images, value), rng))


def neighbor_scores(images: "DataFrame", neighbors: Mapping[str, Sequence[str]], value: str = VALUE) -> "DataFrame":
    """What an image in training does to hold-out images near it: cell_id, image_id, neighbor, excess, each with _se.

    neighbors: image_id -> its nearest hold-out images; an image without an entry stays empty. The neighbours are
    averaged within each run first: hold-out images of one run share its luck, so only runs are independent.
    excess = own score minus theirs, the SE paired by run. Raises ValueError on a neighbour that is no hold-out image.
    """
    found, made = cells(images, value), []
    for cell in found:
        place = {image: k for k, image in enumerate(cell.holdout)}
        near = np.full(cell.value.shape, np.nan)
        for i, image in enumerate(cell.images):
            listed = neighbors.get(image, ())
            strange = [name for name in listed if name not in place]
            if strange:
                raise ValueError(
                    f"cell {cell.cell_id}: {strange[0]}, a neighbour of {image}, is no hold-out image of this cell; "
                    f"only images that no run trained on tell learned from memorized: take neighbours from its hold-out"
                )
            if len(listed):
                near[:, i] = cell.holdout_value[:, [place[name] for name in listed]].mean(1)
        theirs, excess = difference(near, cell.inside), difference(cell.value - near, cell.inside)
        made.append(
            {"image_id": cell.images, "neighbor": theirs.value, "neighbor_se": theirs.se}
            | {"excess": excess.value, "excess_se": excess.se}
        )
    return _stacked(found, made)


def _stacked(found: Sequence[Cell], made: Sequence[Mapping[str, Array]]) -> "DataFrame":
    import pandas

    frames = [pandas.DataFrame({"cell_id": c.cell_id, **columns}) for c, columns in zip(found, made, strict=True)]
    return pandas.concat(frames, ignore_index=True)


def nearest_holdout(
    image_ids: Sequence[str], pixels: Array, holdout: Collection[str], k: int = NEIGHBORS
) -> dict[str, list[str]]:
    """The k nearest hold-out images of all others, nearest first: image_ids [K], pixels [K C H W] uint8."""
    ids = np.asarray(image_ids, str)
    held = np.isin(ids, list(holdout))
    if held.sum() < k:
        raise ValueError(f"{held.sum()} hold-out images have pixels, {k} neighbours are wanted: add pixels or lower k")
    flat = np.asarray(pixels).reshape(len(ids), -1).astype(float)
    targets = flat[held]
    norm = (targets**2).sum(1)
    found: dict[str, list[str]] = {}
    for rows in np.array_split(np.flatnonzero(~held), max(1, (~held).sum() // 1024)):
        # The expanded square, without the |x|^2 that all targets share: sums of uint8 products are exact in float64.
        nearest = np.argsort(norm - 2 * flat[rows] @ targets.T, axis=1, kind="stable")[:, :k]
        found.update((str(ids[row]), ids[held][near].tolist()) for row, near in zip(rows, nearest, strict=True))
    return found


def pooled(scored: "DataFrame") -> "DataFrame":
    """Cells pooled: for each (image_id, copies) the inverse-variance mean of every score, its SE, and n_cells.

    An image with other copies in another cell is another row: more copies, more memorized. A score without a standard
    error has no weight; mean_in, mean_out take the weights of Mbar, covariates are plain means. An SE of 0 raises.
    """
    plain = [name for name in quadrants.COVARIATES if name in scored.columns]
    keys = [scored["image_id"], scored["copies"]]
    made = scored[plain].groupby(keys).mean()
    made[["m_in", "m_out"]] = scored[["m_in", "m_out"]].groupby(keys).sum()
    made["n_cells"] = scored["se"].notna().groupby(keys).sum()
    for name, error in ERRORS.items():
        if name not in scored.columns:
            continue
        if (scored[error] == 0).any():
            row = scored[scored[error] == 0].iloc[0]
            raise ValueError(
                f"cell {row['cell_id']}, image {row['image_id']}: {error} is 0, an infinite weight: its runs agree to "
                f"the bit; keep one of the runs that are the same"
            )
        weight = scored[error] ** -2
        total = weight.groupby(keys).sum(min_count=1)
        for mean in (name, "mean_in", "mean_out") if name == "Mbar" else (name,):
            made[mean] = (weight * scored[mean]).groupby(keys).sum(min_count=1) / total
        made[error] = total**-0.5
    return made.reset_index()


def study(
    images: "DataFrame", gallery: Mapping[str, Array], *, level: float, seed: int
) -> tuple["DataFrame", dict[str, Any]]:
    """Everything at once: the scores with covariates and kinds, and the summary that counterfactual.json holds."""
    rng, found = np.random.default_rng(seed), cells(images)
    notes = [shared_training_sets(images)]
    table = scores(images).merge(quadrants.covariates(images), on=KEYS, how="left", validate="one_to_one")
    if gallery:
        near, said = _near(images, found, gallery)
        table = table.merge(near, on=KEYS, how="left", validate="one_to_one")
        notes += said
    else:
        notes.append("no pixels of images beside the tables: neighbour scores and kinds are left out")
    null = None
    if all(np.isfinite(cell.holdout_value).any() for cell in found):
        null = permuted(images, rng)
    else:
        notes.append("no log_density_bound of hold-out images: the null is left out")
    pairs = [tuple(map(mean_scores, halves(found, rng))) for _ in range(SPLITS)]
    per_cell = [
        {"cell_id": cell.cell_id, "n_runs": len(cell.value)}
        | quadrants.summary(
            _of(table, cell), [tuple(_of(half, cell) for half in pair) for pair in pairs],
            None if null is None else _of(null, cell), level,
        )
        for cell in found
    ]  # fmt: skip
    whole = None
    if len(found) > 1:
        together = [tuple(map(pooled, pair)) for pair in pairs]
        whole = quadrants.summary(pooled(table), together, None if null is None else pooled(null), level)
    runs = images.drop_duplicates("run_id")
    answer = {
        "value": VALUE, "level": level, "seed": seed, "n_cells": len(found),
        "n_runs": int(runs["fold_of"].notna().sum()), "n_runs_without_fold": int(runs["fold_of"].isna().sum()),
        "cells": per_cell, "pooled": whole, "message": "; ".join(note for note in notes if note),
    }  # fmt: skip
    if "neighbor" in table.columns:
        table["kind"] = quadrants.kinds(table)
    return table, answer


def _of(frame: "DataFrame", cell: Cell) -> "DataFrame":
    return frame[frame["cell_id"] == cell.cell_id]


def _near(images: "DataFrame", found: Sequence[Cell], gallery: Mapping[str, Array]) -> tuple["DataFrame", list[str]]:
    """Neighbour scores cell by cell: what is hold-out in one draw is trained on in another; and what cannot be said."""
    import pandas

    ids, pixels = gallery["image_ids"], gallery["image_pixels"]
    made, notes = [], []
    for cell in found:
        measured = np.intersect1d(cell.holdout[np.isfinite(cell.holdout_value).all(axis=0)], ids)
        own, neighbors = np.isin(ids, np.concatenate([cell.images, measured])), {}
        if len(measured) < NEIGHBORS:
            notes.append(
                f"cell {cell.cell_id}: {len(measured)} measured hold-out images in gallery.npz, neighbour scores take "
                f"{NEIGHBORS} and are left out"
            )
        else:
            neighbors = nearest_holdout(ids[own].tolist(), pixels[own], measured)
        made.append(neighbor_scores(_of(images, cell), neighbors))
    return pandas.concat(made, ignore_index=True), notes


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where an option or the tables cannot be used, or hold no runs with folds to compare, in one line."""
    purpose, example = (__doc__ or "").splitlines()[0], "runs --out counterfactual"
    made = command_line("analysis.counterfactual", "TABLES --out DIR [options]", purpose, example)
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect")
    made.add_argument("--out", required=True, metavar="DIR", help="for the tables, counterfactual.json and figures")
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    options = made.parse_args(argv)
    try:
        print(_written(options))
    except (ValueError, OSError) as error:
        print(f"analysis.counterfactual: {error}", file=sys.stderr)
        return 2
    return 0


def _written(options: argparse.Namespace) -> str:
    """Write everything under --out; returns the lines to print."""
    if not 0 < options.level < 1:
        raise ValueError(f"--level {options.level} must lie between 0 and 1")
    tables, out = load(options.tables), Path(options.out)
    images = tables.images
    for condition in options.where:
        images = images[holds(images, condition)]
    gallery = {}
    if tables.pixels:
        gallery = {"image_ids": np.array(list(tables.pixels)), "image_pixels": np.stack(list(tables.pixels.values()))}
    table, answer = study(images, gallery, level=options.level, seed=options.seed)
    out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(out / "counterfactual.parquet", index=False)
    (out / "counterfactual.json").write_text(json.dumps(answer, indent=2, allow_nan=False) + "\n")

    # matplotlib: a second that a wrong table need not wait for
    from analysis.pictures.counterfactual_figures import figures

    shown = pooled(table) if len(answer["cells"]) > 1 else table
    for name, figure in figures(shown, answer["pooled"] or answer["cells"][0], gallery).items():
        figure.savefig(out / f"{name}.png", dpi=160, metadata={"Software": None})
    lines = quadrants.sentences(answer["pooled"] or answer["cells"][0])
    where = f"{answer['n_runs']} runs in {answer['n_cells']} cells -> {out / 'counterfactual.json'}"
    return "\n".join([where, *lines, *([answer["message"]] if answer["message"] else [])])


if __name__ == "__main__":
    raise SystemExit(main())
