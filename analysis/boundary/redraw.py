"""What the rows of a boundary might have been: measurement errors, counts, and whole runs resampled.

Means over the runs of a cell are in cell_means.py; both kinds of points have `value` [n c], `noisy`, `redrawn`, `draw`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Array = np.ndarray
BLOCK = 1_000_000  # numbers drawn together
JEFFREYS = 0.5  # prior hits and misses of a rate: zero of n still has a positive draw


class Points(Protocol):
    """What boundary.py and place.py need to know of points [n c]."""

    @property
    def value(self) -> Array: ...

    @property
    def noisy(self) -> bool:
        """Whether the values themselves are uncertain."""

    @property
    def redrawn(self) -> bool:
        """Whether anything is uncertain at all: the values, or which rows a study would hold."""

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Values [size n c], and which points each draw holds [size n]."""


def blocks(points: Points, draws: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """`draws` draws of the points, some together: values [b n c], there [b n]."""
    size = max(1, BLOCK // max(points.value.size, 1))
    for start in range(0, draws, size):
        yield points.draw(min(size, draws - start), rng)


@dataclass(frozen=True)
class Rows:
    """Rows [n c] and their errors: `se` [n c] (0 = exact); `hits`, `trials` [n c] where a column is a rate, else NaN.

    `cluster` [n]: rows that share their luck. A draw takes as many clusters as there are, with replacement; what it
    does not take is absent from it.
    """

    value: Array
    se: Array | None = None
    hits: Array | None = None
    trials: Array | None = None
    cluster: Array | None = None

    @property
    def redrawn(self) -> bool:
        """Whether a draw differs from the rows: values have errors, or clusters are resampled."""
        return self.cluster is not None or self.noisy

    @property
    def noisy(self) -> bool:
        """Whether values have errors, of measurement or of counts."""
        return self.se is not None or self.hits is not None

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Values [size n c] and which rows each draw holds [size n]: all, or those of the clusters that it took."""
        shape = (size, *self.value.shape)
        drawn = np.broadcast_to(self.value, shape)
        if self.se is not None:
            drawn = drawn + self.se * rng.standard_normal(shape)
        if self.hits is not None and self.trials is not None:
            drawn = np.where(np.isnan(self.hits), drawn, rates_drawn(self.hits, self.trials, size, rng))
        if self.cluster is None:
            return drawn, np.ones(shape[:2], bool)
        labels = np.unique(np.asarray(self.cluster).astype(str), return_inverse=True)[1]
        groups = int(labels.max()) + 1
        times = rng.multinomial(groups, np.full(groups, 1 / groups), size=size)
        return drawn, (times > 0)[:, labels]


def rates_drawn(hits: Array, trials: Array, size: int, rng: np.random.Generator) -> Array:
    """Rates [size …] from Beta(hits + 1/2, trials - hits + 1/2), the posterior under Jeffreys' prior; 1/2 where NaN."""
    known = ~np.isnan(hits)
    a = np.where(known, hits, 0) + JEFFREYS
    b = np.where(known, trials - hits, 0) + JEFFREYS
    return rng.beta(a, b, size=(size, *hits.shape))
