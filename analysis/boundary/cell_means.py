"""Points that are means over the runs of a cell: the runs' scatter says how far a mean may be off."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from analysis.boundary.redraw import Rows

Array = np.ndarray


@dataclass(frozen=True)
class Cells:
    """Means [k c] of cells. A draw adds shift.T @ g, g [u] standard normal: one g a run, so columns move together.

    `errors`: the cells' pooled measurement errors, drawn instead of the scatter in the columns (`floor` [k c]) where
    the runs differ by less: equal counts in three runs do not make a mean exact.
    """

    value: Array
    labels: Array  # [k] as text
    n_runs: Array  # [k]
    rows: tuple[Array, ...]  # [k] the rows of each cell
    shift: csr_array  # [u, k c flattened]
    errors: Rows | None = None
    floor: Array | None = None
    noisy = redrawn = True

    @property
    def freedom(self) -> int:
        """Of the scatter: runs less cells."""
        return int(np.sum(self.n_runs - 1))

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Values [size k c] and which cells each draw holds [size k]: all. With `errors`, rates are cut at 0 and 1."""
        moved = (self.shift.T @ rng.standard_normal((self.shift.shape[0], size))).T
        drawn = self.value + moved.reshape(size, *self.value.shape)
        if self.errors is not None and self.floor is not None:
            drawn = np.where(self.floor, self.errors.draw(size, rng)[0], drawn)
            if self.errors.hits is not None:  # a rate has no room beyond 0 and 1
                drawn = np.where(np.isnan(self.errors.hits), drawn, np.clip(drawn, 0, 1))
        return drawn, np.ones(drawn.shape[:2], bool)


def cell_means(rows: Rows, cell: Array) -> Cells:
    """The means of `cell` [n] over its runs (rows.cluster [n]; None: every row is a run), and the runs' scatter.

    A draw is mean + sum_i g_i (x_i - mean)/sqrt(m (m - 1)): Gaussian multipliers, whose covariance is that of a mean
    of m runs exactly, where resampling 3 runs would give 2/3 of it. A run label found in several cells (a shared seed)
    moves them together. A cell of one run takes the pooled covariance of the others.
    Raises ValueError where no cell has two runs and no errors are given.
    """
    labels, of_row = np.unique(np.asarray(cell).astype(str), return_inverse=True)
    run = np.arange(len(of_row)) if rows.cluster is None else np.asarray(rows.cluster).astype(str)
    runs, of_run = np.unique(run, return_inverse=True)
    k, c = len(labels), rows.value.shape[1]
    pairs, pair = np.unique(np.stack([of_row, of_run]), axis=1, return_inverse=True)
    in_cell, of_pair = pairs[0], pairs[1]  # a run's rows in one cell count as one: their mean
    value = _mean(rows.value, pair.ravel())
    mean, n_runs = _mean(value, in_cell), np.bincount(in_cell, minlength=k)
    if np.all(n_runs == 1) and not rows.noisy:
        raise ValueError(
            f"{k} cells of one run each: nothing says how runs scatter; train more seeds, give --se or --rate, or "
            f"leave --cell out"
        )
    deviation = value - mean[in_cell]
    m = np.maximum(n_runs, 2)[in_cell]
    scaled = deviation / np.sqrt(m * (m - 1))[:, None]
    alone = np.flatnonzero(n_runs == 1)
    root = _root(deviation.T @ deviation / max(np.sum(n_runs - 1), 1))
    flat = np.arange(k * c).reshape(k, c)
    places = np.concatenate([np.repeat(of_pair, c), len(runs) + np.repeat(np.arange(len(alone) * c), c)])
    columns = np.concatenate([flat[in_cell].ravel(), np.repeat(flat[alone], c, axis=0).ravel()])
    entries = np.concatenate([scaled.ravel(), np.tile(root.ravel(), len(alone))])
    shift = csr_array((entries, (places, columns)), shape=(len(runs) + len(alone) * c, k * c))
    scatter = np.asarray(shift.multiply(shift).sum(axis=0)).reshape(k, c)
    members = tuple(np.flatnonzero(of_row == one) for one in range(k))
    return Cells(mean, labels, n_runs, members, shift, *_floor(rows, of_row, mean, scatter))


def _mean(values: Array, group: Array) -> Array:
    """Means [g c] of values [n c] over groups [n]."""
    sums = np.stack([np.bincount(group, column) for column in values.T], axis=1)
    return sums / np.bincount(group)[:, None]


def _root(covariance: Array) -> Array:
    """R [c c] with R.T R = covariance; a constant column gives zeros where Cholesky would stop."""
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def _floor(rows: Rows, of_row: Array, mean: Array, scatter: Array) -> tuple[Rows | None, Array | None]:
    """The errors of the means from those of their rows, and where they exceed the scatter [k c] of the runs."""
    if not rows.noisy:
        return None, None
    n = np.bincount(of_row)[:, None]
    se = np.zeros_like(mean) if rows.se is None else np.sqrt(_mean(rows.se**2, of_row) / n)
    variance, hits, trials = se**2, None, None
    if rows.hits is not None and rows.trials is not None:
        hits, trials = _mean(rows.hits, of_row) * n, _mean(rows.trials, of_row) * n
        f = (hits + 0.5) / (trials + 1)
        variance = np.where(np.isnan(hits), variance, f * (1 - f) / (trials + 2))
    return Rows(mean, se, hits, trials), variance > scatter
