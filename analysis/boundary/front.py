"""The non-dominated set of points, the volume it dominates, its knee: exact, every column minimised (measures.md 3.4).

A row is on the front iff no other is <= in all columns and < in one; equal rows stay together. Between columns only the
order counts, so a logarithm changes no front; it does change the volume and the knee.
"""

import numpy as np

Array = np.ndarray
BLOCK = 96  # rows compared together
LATER = np.triu(np.ones((BLOCK, BLOCK), bool), 1)


def front(points: Array) -> Array:
    """Which rows of [n c] are not dominated (booleans [n]); raises ValueError on NaN: a missing value has no place.

    One or two columns: a sort (Kung et al. 1975). More: the sorted rows by blocks against the front so far.

    >>> front([[0.1, 0.9], [0.4, 0.4], [0.5, 0.5], [0.9, 0.1]]).tolist()
    [True, True, False, True]
    """
    points = np.asarray(points, float)
    lost = np.isnan(points).any(axis=1)
    if lost.any():
        row = int(np.flatnonzero(lost)[0])
        raise ValueError(f"row {row} lacks a value: its place cannot be told; leave the row out")
    if not len(points):
        return np.zeros(0, bool)
    order = np.lexsort(points.T[::-1])  # by the first column, ties by the next: only an earlier row can dominate
    sorted_points = points[order]
    first = np.append(True, np.any(sorted_points[1:] != sorted_points[:-1], axis=1))  # of the rows equal to each other
    unique = sorted_points[first]
    if unique.shape[1] <= 2:
        lowest = np.minimum.accumulate(unique[:, -1])
        alive = np.append(True, unique[1:, -1] < lowest[:-1])
    else:
        alive = _alive(unique)
    found = np.empty(len(points), bool)
    found[order] = alive[np.cumsum(first) - 1]
    return found


def _alive(unique: Array) -> Array:
    """The front of rows [n c] in lexicographic order, no two equal: no earlier row is <= in columns 1, 2, …"""
    alive = np.zeros(len(unique), bool)
    kept = np.empty((0, unique.shape[1] - 1))
    for start in range(0, len(unique), BLOCK):
        rest = unique[start : start + BLOCK, 1:]
        place = start + np.flatnonzero(~_below(kept, rest).any(axis=0))
        rest = unique[place, 1:]
        place = place[~(_below(rest, rest) & LATER[: len(rest), : len(rest)]).any(axis=0)]
        alive[place] = True
        kept = np.concatenate([kept, unique[place, 1:]])
    return alive


def _below(a: Array, b: Array) -> Array:
    """[n m]: row i of a [n c] is <= row j of b [m c] in every column."""
    found = np.ones((len(a), len(b)), bool)
    for of_a, of_b in zip(a.T, b.T, strict=True):
        found &= of_a[:, None] <= of_b
    return found


def default_reference(points: Array) -> Array:
    """The corner [c] of the volume where none is given: the worst value + 10 % of the range (1 where constant)."""
    spread = np.ptp(points, axis=0)
    return points.max(0) + 0.1 * np.where(spread > 0, spread, 1.0)


def hypervolume(points: Array, reference: Array) -> float:
    """Volume between the front of [n c] and `reference` [c], exactly; rows beyond the reference add nothing."""
    points, reference = np.asarray(points, float), np.asarray(reference, float)
    inside = points[np.all(points < reference, axis=1)]
    if not len(inside):
        return 0.0
    edge = inside[front(inside)]
    return _volume(edge[np.argsort(edge[:, 0], kind="stable")], reference)


def _volume(rows: Array, reference: Array) -> float:
    """The volume of front rows [n c], sorted by the first column, by slices along it."""
    if len(reference) == 1:
        return float(reference[0] - rows[:, 0].min())
    ends = np.append(rows[1:, 0], reference[0])
    width = ends - rows[:, 0]
    if len(reference) == 2:  # the slice at x_k reaches down to the lowest y so far
        return float(np.sum(width * (reference[1] - np.minimum.accumulate(rows[:, 1]))))
    if len(reference) == 3:
        return float(np.sum(width * _areas(rows[:, 1:], reference[1:])))
    # In each slice, what the rows so far dominate in the other columns.
    return float(sum(w * hypervolume(rows[: k + 1, 1:], reference[1:]) for k, w in enumerate(width) if w > 0))


def _areas(rows: Array, reference: Array) -> Array:
    """Area [n] that the first 1, 2, … n of rows [n 2] dominate: n stairs together, BLOCK at a time."""
    order = np.argsort(rows[:, 0], kind="stable")
    width = np.append(rows[order[1:], 0], reference[0]) - rows[order, 0]
    areas = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        count = np.arange(start, min(start + BLOCK, len(rows)))
        height = np.where(order <= count[:, None], reference[1] - rows[order, 1], 0.0)
        areas[count] = np.maximum.accumulate(height, axis=1) @ width
    return areas


def knee(points: Array) -> int | None:
    """The front row farthest below the line (plane) through the extremes, columns scaled to [0, 1]; else None.

    Columns that do not vary on the front decide nothing; of equally far rows it is the first.
    """
    points = np.asarray(points, float)
    rows = np.flatnonzero(front(points))
    edge = points[rows]
    low, high = edge.min(0), edge.max(0)
    varies = high > low
    if varies.sum() < 2:  # one point: there is no line to be below
        return None
    below = 1 - np.sum((edge - low)[:, varies] / (high - low)[varies], axis=1)
    best = int(np.argmax(below))
    return int(rows[best]) if below[best] > 1e-12 else None  # rounding alone lifts rows of a straight line
