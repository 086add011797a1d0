"""The non-dominated set (every column minimised), how sure each row is on it, the volume it dominates, its knee.

A row is on the front iff no other is <= in all columns and < in one; equal rows stay together (measures.md 3.4).
`python -m analysis.pareto TABLE --minimize COL --minimize COL` writes it as JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.command import answer_json
from analysis.condition import holds, repeated_rows
from analysis.table import TableError, column, numbers, read_table

Array = np.ndarray


def front(points: Array) -> Array:
    """Which rows of [n c] are not dominated (booleans [n]); raises ValueError on NaN: a missing value has no place."""
    points = np.asarray(points, float)
    if np.isnan(points).any():
        row = int(np.flatnonzero(np.isnan(points).any(axis=1))[0])
        raise ValueError(f"row {row} lacks a value: its place cannot be told; leave the row out")
    unique, place = np.unique(
        points, axis=0, return_inverse=True
    )  # sorted: only an earlier row can dominate a later one
    on_front = np.zeros(len(unique), bool)
    if points.shape[1] == 2:
        lowest = np.minimum.accumulate(unique[:, 1])
        on_front = np.append(True, unique[1:, 1] < lowest[:-1]) if len(unique) else on_front
    else:
        kept: list[int] = []
        for row, point in enumerate(unique):
            on_front[row] = not kept or not np.any(np.all(unique[kept] <= point, axis=1))
            if on_front[row]:
                kept.append(row)
    return on_front[place.ravel()]


def hypervolume(points: Array, reference: Array) -> float:
    """Volume between the front and `reference` [c], exactly; rows beyond the reference add nothing."""
    points, reference = np.asarray(points, float), np.asarray(reference, float)
    inside = points[np.all(points < reference, axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(reference[0] - inside.min())
    inside = np.unique(inside[front(inside)], axis=0)
    ends = np.append(inside[1:, 0], reference[0])
    # Slices along the first column: in each, what the rows so far dominate in the others.
    return float(
        sum(
            (end - row[0]) * hypervolume(inside[: k + 1, 1:], reference[1:])
            for k, (row, end) in enumerate(zip(inside, ends, strict=True))
            if end > row[0]
        )
    )


def knee(points: Array) -> int | None:
    """The front row farthest below the line (plane) through the extremes, columns scaled to [0, 1]; else None."""
    points = np.asarray(points, float)
    rows = np.flatnonzero(front(points))
    low, high = points[rows].min(0), points[rows].max(0)
    if np.any(high <= low):  # one point, or a column that does not vary: there is no line to be below
        return None
    below = 1 - np.sum((points[rows] - low) / (high - low), axis=1)
    best = int(np.argmax(below))
    return int(rows[best]) if below[best] > 0 else None


@dataclass(frozen=True)
class Boundary:
    front: Array  # row numbers
    membership: Array | None  # [n] share of draws holding the row in which it is on the front; None without draws
    volume: float
    volume_lo: float | None
    volume_hi: float | None
    reference: Array
    knee: int | None
    knee_membership: float | None  # share of draws in which this row is the knee


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
    points = np.asarray(points, float)
    if not len(points):
        raise ValueError("no rows: the front of nothing cannot be told")
    on_front = front(points)
    if reference is None:
        spread = np.ptp(points, axis=0)
        reference = points.max(0) + 0.1 * np.where(spread > 0, spread, 1.0)
    volume, at = hypervolume(points, reference), knee(points)
    rows = np.flatnonzero(on_front)
    if se is None and cluster is None:
        return Boundary(rows, None, volume, None, None, reference, at, None)
    rng, n = np.random.default_rng(seed), len(points)
    labels = np.unique(np.asarray(cluster).astype(str), return_inverse=True)[1] if cluster is not None else None
    seen, kept, knees, volumes = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(draws)
    for draw in range(draws):
        drawn = points if se is None else points + se * rng.standard_normal(points.shape)
        there = np.arange(n)
        if labels is not None:
            groups = labels.max() + 1
            there = np.flatnonzero(np.bincount(rng.integers(groups, size=groups), minlength=groups)[labels])
        seen[there] += 1
        kept[there[front(drawn[there])]] += 1
        volumes[draw] = hypervolume(drawn[there], reference)
        turning = knee(drawn[there])
        if turning is not None:
            knees[there[turning]] += 1
    lo, hi = np.quantile(volumes, [(1 - level) / 2, (1 + level) / 2])
    membership = np.where(seen > 0, kept / np.maximum(seen, 1), np.nan)
    knee_membership = float(knees[at] / max(seen[at], 1)) if at is not None else None
    return Boundary(rows, membership, volume, float(lo), float(hi), reference, at, knee_membership)


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(
        prog="python -m analysis.pareto", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    made.add_argument("table", help="csv or parquet")
    made.add_argument("--minimize", action="append", required=True, metavar="COL", help="a column to minimise (repeat)")
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument(
        "--se", action="append", default=[], metavar="COL=COL", help="standard error of a column (repeat)"
    )
    made.add_argument("--cluster", metavar="COL", help="rows that share their luck, usually run_id: resampled together")
    made.add_argument(
        "--reference", action="append", default=[], metavar="COL=VALUE", help="corner of the volume (repeat)"
    )
    made.add_argument("--draws", type=int, default=1000, help="bootstrap draws (default 1000)")
    made.add_argument("--level", type=float, default=0.95)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", metavar="F.json", help="where to write (default: standard output)")
    options = made.parse_args(argv)
    return answer_json("analysis.pareto", options.out, lambda: _answer(options))


def _answer(options: argparse.Namespace) -> dict:
    if len(set(options.minimize)) < 2:
        raise ValueError(f"--minimize {' '.join(options.minimize)}: a boundary needs at least two different columns")
    if options.draws < 1 or not 0 < options.level < 1:
        raise ValueError(
            f"--draws {options.draws} --level {options.level}: draws are 1 or more, a level between 0 and 1"
        )
    frame = read_table(options.table)
    chosen = np.ones(len(frame), bool)
    for condition in options.where:
        chosen &= holds(frame, condition)
    points = np.stack([numbers(frame, name, options.table) for name in options.minimize], axis=1)
    errors = _named(options.se, options.minimize, "--se")
    se = np.zeros_like(points)
    for name, source in errors.items():
        se[:, options.minimize.index(name)] = numbers(frame, source, options.table)
    whole = chosen & ~np.isnan(points).any(axis=1) & ~np.isnan(se).any(axis=1)
    if not whole.any():
        raise TableError(f"{options.table}: no complete row left: the front of nothing cannot be told")
    if (se[whole] < 0).any():
        raise TableError(f"{options.table}: a standard error in --se is negative: correct or filter the row")
    corners = _named(options.reference, options.minimize, "--reference")
    if corners and set(corners) != set(options.minimize):
        raise ValueError(f"--reference: give one value for each of {', '.join(options.minimize)}, or none")
    reference = np.array([_number(corners[name]) for name in options.minimize]) if corners else None
    found = boundary(
        points[whole],
        se=se[whole] if errors else None,
        cluster=column(frame, options.cluster, options.table)[whole] if options.cluster else None,
        reference=reference,
        draws=options.draws,
        level=options.level,
        seed=options.seed,
    )
    return _as_json(found, whole, options.minimize, _said(frame, chosen, whole, points, options))


def _said(frame, chosen: Array, whole: Array, points: Array, options: argparse.Namespace) -> str:
    parts = []
    lost = int(np.sum(chosen & ~whole))
    if lost:
        parts.append(f"{lost} of {int(chosen.sum())} rows lack a value and were left out")
    parts.append(repeated_rows(frame[whole]))
    flat = [name for k, name in enumerate(options.minimize) if np.ptp(points[whole, k]) == 0]
    if flat:
        parts.append(f"{', '.join(flat)} is constant and decides nothing")
    if not options.se and not options.cluster:
        parts.append("no --se and no --cluster: membership and intervals cannot be told, only the rows as printed")
    return "; ".join(part for part in parts if part)


def _as_json(found: Boundary, used: Array, names: Sequence[str], message: str) -> dict:
    """Row numbers are those of the table as read, 0 below the header; `used` [n] says which rows took part."""
    rows = np.flatnonzero(used)
    membership: list[float | None] = [None] * len(used)
    if found.membership is not None:
        for row, share in zip(rows, found.membership, strict=True):
            membership[row] = None if np.isnan(share) else float(share)
    return {
        "n": len(rows),
        "front": [int(rows[row]) for row in found.front],
        "membership": membership,
        "message": message,
        "hypervolume": {
            "value": found.volume,
            "lo": found.volume_lo,
            "hi": found.volume_hi,
            "reference": {name: float(value) for name, value in zip(names, found.reference, strict=True)},
        },
        "knee": None if found.knee is None else int(rows[found.knee]),
        "knee_membership": found.knee_membership,
    }


def _named(texts: Sequence[str], known: Sequence[str], option: str) -> Mapping[str, str]:
    pairs = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not value or name not in known:
            raise ValueError(f"{option} {text!r}: write NAME=… with one of {', '.join(known)}")
        pairs[name] = value
    return pairs


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--reference …={text!r} is no number") from None


if __name__ == "__main__":
    raise SystemExit(main())
