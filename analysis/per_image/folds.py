"""Runs that differ only in fold and seed, as arrays of runs by images; refused where they differ in more."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analysis.columns import column, numbers

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
VALUE = "log_density_bound"
POOL = ("train", "left_out")
NEEDED = ("run_id", "cell_id", "image_id", "role", "copies", "in_training", "draw", "fold_of", "images_seen")


class Cell(NamedTuple):
    """The runs R, pool images n and hold-out images m of one cell. NaN: not measured."""

    cell_id: str
    images: Array  # [n] image_id
    copies: Array  # [n]; of an image left out those it would have had
    inside: Array  # [R n] bool: in training
    value: Array  # [R n]
    holdout: Array  # [m] image_id
    holdout_value: Array  # [R m]


def cells(images: "DataFrame", value: str = VALUE) -> list[Cell]:
    """The images table as arrays, a cell each by cell_id, images by image_id; runs without a fold are left out."""
    found = []
    for cell, part in with_fold(images, value).groupby("cell_id"):
        pool, held = part[part["role"].isin(POOL)], part[part["role"] == "holdout"]
        runs = np.unique(part["run_id"].to_numpy(str))
        ids, values = _grid(pool, numbers(pool, value, "images"), runs)
        inside = _grid(pool, pool["in_training"].to_numpy(bool), runs)[1] == 1
        copies = _one_number_an_image(_grid(pool, numbers(pool, "copies", "images"), runs)[1], ids, cell)
        found.append(Cell(str(cell), ids, copies, inside, values, *_grid(held, numbers(held, value, "images"), runs)))
    return found


def _grid(rows: "DataFrame", values: Array, runs: Array) -> tuple[Array, Array]:
    """image_id [n] in order and values [R n], NaN where a run has no row of an image."""
    ids, image = np.unique(rows["image_id"].to_numpy(str), return_inverse=True)
    grid = np.full((len(runs), len(ids)), np.nan)
    grid[np.searchsorted(runs, rows["run_id"].to_numpy(str)), image] = values
    return ids, grid


def with_fold(images: "DataFrame", value: str = VALUE) -> "DataFrame":
    """The rows of runs that leave images out; raises ValueError where no score can be told from them."""
    for name in NEEDED:
        column(images, name, "images")
    kept = images[images["fold_of"].notna()]
    if kept.empty:
        raise ValueError(
            "images: no run leaves images out (fold_of is empty): train with data.fold.of=2, data.fold.index and "
            "data.fold.split, as sweeps/counterfactual.yaml does"
        )
    pool = kept[kept["role"].isin(POOL)]
    if value not in images.columns or np.isnan(numbers(pool, value, "images")).all():
        remedy = "evaluate.measures must hold density" if value == VALUE else f"the runs must measure {value}"
        raise ValueError(f"images: no pool image has a {value}: {remedy}; evaluate the runs again, then collect")
    for name in ("cell_id", "copies", "in_training"):
        if pool[name].isna().any():
            raise ValueError(
                f"images: {name} is empty in row {pool.index[pool[name].isna()][0]}: collect the runs again"
            )
    twice = kept.duplicated(["run_id", "image_id"])
    if twice.any():
        row = kept[twice].iloc[0]
        raise ValueError(f"images: run {row['run_id']} has image {row['image_id']} twice: keep one row of each")
    _comparable(kept)
    return kept


def _comparable(images: "DataFrame") -> None:
    for cell, runs in images.drop_duplicates("run_id").groupby("cell_id"):
        draws, parts = (sorted(runs[name].dropna().unique()) for name in ("draw", "fold_of"))
        if len(draws) > 1:
            raise ValueError(
                f"cell {cell} mixes draws {', '.join(f'{d:g}' for d in draws)}: every seed drew other images; "
                f"give data.draw, so that the seeds share their pool"
            )
        if len(parts) > 1:
            raise ValueError(
                f"cell {cell} mixes folds of {' and '.join(f'{k:g}' for k in parts)} parts, training sets of different "
                f"size: score each apart, with --where fold_of=={parts[0]:g}"
            )
        behind = runs[runs["images_seen"] < 0.9 * runs["images_seen"].max()]
        if len(behind):
            run, seen = behind["run_id"].iloc[0], behind["images_seen"].iloc[0]
            raise ValueError(
                f"cell {cell}: run {run} stands at images_seen={seen:g}, another at {runs['images_seen'].max():g}: "
                f"let it finish, or leave it out with --where run_id!={run}"
            )


def _one_number_an_image(copies: Array, ids: Array, cell: str) -> Array:
    """copies [R n] -> [n], the same in every run."""
    least, most = np.nanmin(copies, axis=0), np.nanmax(copies, axis=0)
    if (least != most).any():
        i = int(np.flatnonzero(least != most)[0])
        raise ValueError(
            f"cell {cell}: image {ids[i]} has {least[i]:g} and {most[i]:g} copies; an image left out carries the "
            f"copies it would have had: collect the runs again"
        )
    return least.astype(int)


def halves(found: list[Cell], rng: np.random.Generator) -> tuple[list[Cell], list[Cell]]:
    """The runs of each cell dealt at random to two tables: what their scores share is no luck of a run."""
    pairs = []
    for cell in found:
        order = rng.permutation(len(cell.value))
        sides = order[: len(order) // 2], order[len(order) // 2 :]
        pairs.append(
            [
                cell._replace(inside=cell.inside[s], value=cell.value[s], holdout_value=cell.holdout_value[s])
                for s in sides
            ]
        )
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def never_trained(found: list[Cell], rng: np.random.Generator) -> list[Cell]:
    """The null: hold-out images in the place of the pool, each with a random pool image's membership, runs shuffled.

    Raises ValueError where a cell measured no hold-out image.
    """
    null = []
    for cell in found:
        if np.isnan(cell.holdout_value).all():
            raise ValueError(f"cell {cell.cell_id}: no hold-out image is measured, and the null needs some")
        m = len(cell.holdout)
        lent = rng.permuted(cell.inside[:, rng.integers(len(cell.images), size=m)], axis=0)
        null.append(cell._replace(images=cell.holdout, copies=np.ones(m, int), inside=lent, value=cell.holdout_value))
    return null


def shared_training_sets(images: "DataFrame") -> str:
    """A sentence where several seeds trained on one training set, or an empty string."""
    runs = images[images["fold_of"].notna()].drop_duplicates("run_id")
    sets = len(runs.drop_duplicates(["cell_id", "fold_split", "fold_index"]))
    if sets == len(runs):
        return ""
    return (
        f"{len(runs)} runs have {sets} different training sets: seeds of one set share which other images were in, and "
        f"the standard errors count them as independent; give each seed its own data.fold.split"
    )
