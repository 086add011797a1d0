"""How sure a boundary is: each row's probability to be on it, the volume with its interval, the knee (measures.md 3.4).

Noise puts rows on the raw front, and drawing adds it a second time: membership is the probability of a row to be on the
front given what was measured, under flat priors; the drawn volumes are too large and are moved back (`_interval`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from analysis.boundary.cell_means import Cells
from analysis.boundary.front import default_reference, front, hypervolume, knee
from analysis.boundary.redraw import Points, Rows, blocks

Array = np.ndarray


@dataclass(frozen=True)
class Boundary:
    """The front, the volume it dominates up to `reference`, and its knee; None where nothing could be drawn."""

    front: Array  # numbers of the points that no other dominates, as they stand
    membership: Array | None  # [n] share of draws holding the point in which it is on the front; None without draws
    volume: float
    volume_lo: float | None
    volume_hi: float | None
    volume_bias: float | None  # by how much noise alone raises the volume, at least; None without noise
    reference: Array
    knee: int | None
    knee_membership: float | None  # share of draws in which this point is the knee
    knees: Array | None  # [n] the same of every point; what is missing to 1 are draws without a knee


def boundary(
    points: Array,
    *,
    se: Array | None = None,
    cluster: Array | None = None,
    reference: Array | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Boundary:
    """The front of points [n c] and its uncertainty: whole clusters [n] resampled, errors `se` [n c] added (0 = none).

    Without `se` and `cluster` there is nothing to draw and membership is None. A row's membership counts the draws its
    cluster is in. Reference: the worst value + 10 % of the range, unless given.
    """
    rows = Rows(np.asarray(points, float), se, cluster=cluster)
    return boundary_of(rows, reference=reference, draws=draws, level=level, seed=seed)


def boundary_of(
    points: Points, *, reference: Array | None = None, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Boundary:
    """The same of `Rows` (counts too) or `Cells`; reference [c]. Deterministic in `seed`.

    Raises ValueError on NaN and on no rows.
    """
    value, n = points.value, len(points.value)
    if not n:
        raise ValueError("no rows: the front of nothing cannot be told")
    on_front = front(value)
    reference = default_reference(value) if reference is None else np.asarray(reference, float)
    volume, at, rows = hypervolume(value[on_front], reference), knee(value), np.flatnonzero(on_front)
    if not points.redrawn:
        return Boundary(rows, None, volume, None, None, None, reference, at, None, None)
    seen, kept, knees = np.zeros(n), np.zeros(n), np.zeros(n)
    noisy, clean = [], []
    for values, there in blocks(points, draws, np.random.default_rng(seed)):
        seen += there.sum(0)
        for drawn, held in zip(values, there, strict=True):
            present = np.flatnonzero(held)
            edge = present[front(drawn[present])]
            kept[edge] += 1
            noisy.append(hypervolume(drawn[edge], reference))
            # Of the same rows without their errors: what resampling takes from the volume is no bias of the noise.
            clean.append(volume if held.all() else hypervolume(value[present], reference))
            turning = knee(drawn[edge])
            if turning is not None:
                knees[edge[turning]] += 1
    freedom = points.freedom if isinstance(points, Cells) else 0
    lo, hi, bias = _interval(volume, np.array(noisy), np.array(clean), level, freedom)
    membership = np.where(seen > 0, kept / np.maximum(seen, 1), np.nan)
    sure = None if at is None else float(knees[at] / draws)
    return Boundary(
        rows, membership, volume, lo, hi, bias if points.noisy else None, reference, at, sure, knees / draws
    )


def _interval(volume: float, noisy: Array, clean: Array, level: float, freedom: int) -> tuple[float, float, float]:
    """The volume's ends, and the bias of the noise, from drawn volumes [draws] with and without errors.

    Errors s raise the expected volume: by k s^2 where points lie far apart, by k s where they crowd. Errors drawn on
    top of measured values add b = k s^2 in the first case, k (sqrt 2 - 1) s in the second: the measured volume is too
    large by b to b/(sqrt 2 - 1) = 2.41 b. The upper end takes off b, the lower the mean of both, 1.71 b; each arm is
    the longer one. Simulated, 90 % intervals cover 87 to 94 % (percentiles of the draws: 0 to 91 %).
    """
    bias = float(np.mean(noisy - clean))
    tail = (1 - level) / 2
    arm = float(np.max(np.abs(np.quantile(noisy, [tail, 1 - tail]) - noisy.mean())))
    if freedom:  # the scatter of few runs is itself uncertain
        arm *= float(stdtrit(freedom, 1 - tail) / ndtri(1 - tail))
    most = bias * (1 + 1 / (np.sqrt(2) - 1)) / 2
    return max(volume - max(bias, most) - arm, 0.0), volume - min(bias, most) + arm, bias
