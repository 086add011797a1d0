"""Which evaluation speaks for a run: the one of lowest hold-out loss, or the one after a fixed number of images."""

from typing import TYPE_CHECKING

import numpy as np

from analysis.columns import TableError, column, numbers

if TYPE_CHECKING:
    from pandas import DataFrame


def at_holdout_minimum(evals: "DataFrame") -> "DataFrame":
    """Each run's evaluation of lowest holdout_loss after the first image, and `holdout_min_inside`.

    holdout_min_inside: a later evaluation is worse. Where it is false the loss still fell when the run ended, and the
    row is the end of the run, not its minimum. Runs without a hold-out loss have no such row. The index is kept. The
    lowest of several noisy losses is a little too low. Raises TableError where no run has one.
    """
    seen, loss = numbers(evals, "images_seen", "evals"), numbers(evals, "holdout_loss", "evals")
    measured = evals[(seen > 0) & ~np.isnan(loss)]
    if measured.empty:
        raise TableError("evals: no run has a holdout_loss after its first image: there is no minimum to read at")
    runs = measured.groupby(column(measured, "run_id", "evals"))
    found = measured.loc[runs["holdout_loss"].idxmin()].sort_index()
    last = runs["images_seen"].max().reindex(found["run_id"]).to_numpy()
    return found.assign(holdout_min_inside=found["images_seen"].to_numpy() < last)


def at_images_seen(evals: "DataFrame", images_seen: float) -> "DataFrame":
    """Each run's evaluation asked for at `images_seen`: training rounds it up to a whole batch (column batch_size).

    Runs that were not evaluated there have no such row; raises TableError where that is every run. The index is kept.
    """
    seen = numbers(evals, "images_seen", "evals")
    batch = numbers(evals, "batch_size", "evals") if "batch_size" in evals.columns else np.ones(len(evals))
    within = (seen >= images_seen) & (seen < images_seen + np.where(batch > 0, batch, 1))
    column(evals, "run_id", "evals")
    found = evals[within].sort_values("images_seen").drop_duplicates("run_id").sort_index()
    if found.empty:
        points = np.unique(seen[~np.isnan(seen)])
        near = points[np.argsort(np.abs(points - images_seen), kind="stable")[:3]]
        listed = ", ".join(f"{p:.15g}" for p in sorted(near))
        raise TableError(f"evals: no run was evaluated at images_seen={images_seen:.15g}; the nearest are {listed}")
    return found
