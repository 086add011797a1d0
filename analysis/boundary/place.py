"""Where a model from elsewhere stands against a boundary: dominated or not, by what, by how much, and the way out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.boundary.front import front
from analysis.boundary.redraw import Points, Rows

Array = np.ndarray
MOST = 10  # rows listed
BLOCK = 1_000_000  # numbers compared together
# What less and more of a column of the design is called.
WORDS = {
    "copies": ("fewer copies", "more copies"),
    "n_unique": ("fewer unique images", "more unique images"),
    "n_train": ("less data", "more data"),
    "params": ("fewer parameters", "more parameters"),
    "images_seen": ("earlier stop", "longer training"),
}


@dataclass(frozen=True)
class Move:
    """The smallest change of one column, the others as they are, beyond which no row dominates; 0: none does now, or
    any step is enough. Never negative, so that its lower end proves nothing."""

    column: str
    by: float  # subtract at least this
    to: float  # the value then
    lo: float | None  # of `by`, over the draws; None without
    hi: float | None
    of_range: float | None  # `by` as a share of the column's range in the table; None where it is constant


@dataclass(frozen=True)
class Dominating:
    """One row that dominates, and what one would have to change in the design to stand there."""

    row: int
    on_front: bool
    share: float | None  # of draws in which it dominates; None without draws
    gains: Mapping[str, float]  # by how much it is lower, as the values stand; >= 0 where it dominates so
    changes: Mapping[str, float | None]  # its design over that of the placed model; None: one of them is missing
    words: str

    @property
    def n_changed(self) -> int:
        """Columns of the design that differ, the missing ones among them."""
        return sum(ratio != 1 for ratio in self.changes.values())

    @property
    def cost(self) -> tuple[bool, int, float, int]:
        """Cheapest first: fewest columns changed, then the smallest total |ln ratio|; a missing design last."""
        known = [ratio for ratio in self.changes.values() if ratio is not None]
        return len(known) < len(self.changes), self.n_changed, float(np.sum(np.abs(np.log(known)))), self.row


@dataclass(frozen=True)
class Placed:
    """One model against a boundary."""

    p_front: float  # probability to be on the boundary, once added to it; 0 or 1 without draws
    p_dominated: float
    by: tuple[tuple[int, float | None], ...]  # rows and shares of draws in which they dominate, most often first
    moves: tuple[Move, ...]  # one a column, the smallest of range first
    dominating: tuple[Dominating, ...]  # those that dominate as the values stand, cheapest first


def placed(
    points: Points,
    model: Rows,
    names: Sequence[str],
    *,
    design: Mapping[str, tuple[Array, Array]] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Placed]:
    """Each row of `model` [r c] against `points` [n c], columns `names`; deterministic in `seed`.

    `model` carries its own errors, drawn beside those of the points; its cluster is not resampled: it is one model.
    `design`: column -> (of the points [n], of the models [r]), positive or NaN; more images and so on as ratios.
    """
    _checked(points.value, model.value, names, design or {})
    value, now = points.value, model.value
    dominates = _dominates(value, now)
    if not (points.redrawn or model.noisy):
        share, any_row, moved = None, dominates.any(1).astype(float), None
    else:
        share, any_row, moved = _drawn(points, model, draws, seed)
    found, spread = [], np.ptp(value, axis=0)
    here, on_front = _moves(value, now), front(value)
    tail = (1 - level) / 2
    for row in range(len(now)):
        often = dominates[row].astype(float) if share is None else share[row]
        first = [int(k) for k in np.argsort(-often, kind="stable")[:MOST] if often[k] > 0]
        lo, hi = (None, None) if moved is None else np.quantile(moved[:, row], [tail, 1 - tail], axis=0)
        moves = [
            Move(name, float(here[row, c]), float(now[row, c] - here[row, c]), None if lo is None else float(lo[c]),
                 None if hi is None else float(hi[c]), float(here[row, c] / spread[c]) if spread[c] > 0 else None)
            for c, name in enumerate(names)
        ]  # fmt: skip
        ways = [
            _way(int(k), bool(on_front[k]), None if share is None else float(share[row, k]), value[k], now[row], names,
                 {name: (own[k], asked[row]) for name, (own, asked) in (design or {}).items()})
            for k in np.flatnonzero(dominates[row])
        ]  # fmt: skip
        found.append(
            Placed(
                p_front=1 - float(any_row[row]),
                p_dominated=float(any_row[row]),
                by=tuple((k, None if share is None else float(share[row, k])) for k in first),
                moves=tuple(sorted(moves, key=lambda move: np.inf if move.of_range is None else move.of_range)),
                dominating=tuple(sorted(ways, key=lambda way: way.cost)[:MOST]),
            )
        )
    return found


def _checked(value: Array, now: Array, names: Sequence[str], design: Mapping[str, tuple[Array, Array]]) -> None:
    if not len(value):
        raise ValueError("no rows: there is no boundary to be placed against")
    if now.shape[1] != value.shape[1] or len(names) != value.shape[1]:
        raise ValueError(f"a boundary of {value.shape[1]} columns, a model of {now.shape[1]}: give the same columns")
    lost = np.flatnonzero(np.isnan(now).any(axis=1))
    if lost.size:
        raise ValueError(f"row {lost[0]} of the models lacks a value: its place cannot be told; leave the row out")
    for name, sides in design.items():
        for side in sides:
            if np.any(np.asarray(side, float) <= 0):
                raise ValueError(
                    f"design column {name} holds {np.nanmin(side):g}: a change is said as a ratio, which takes "
                    f"positive values; filter such rows or leave the column out"
                )


def _dominates(value: Array, now: Array) -> Array:
    """[… r n]: row n of value [… n c] dominates row r of now [… r c]."""
    a, b = value[..., None, :, :], now[..., :, None, :]
    return np.all(a <= b, axis=-1) & np.any(a < b, axis=-1)


def _moves(value: Array, now: Array, there: Array | None = None) -> Array:
    """[… r c]: how far column c must fall until no row of value [… n c] dominates now [… r c]; 0 where none does.

    The rows that are <= everywhere bound it: the model must reach the lowest of them in column c, and pass it by any
    amount unless it is equal to it elsewhere.
    """
    below = np.all(value[..., None, :, :] <= now[..., :, None, :], axis=-1)
    if there is not None:
        below &= there[..., None, :]
    lowest = np.where(below[..., None], value[..., None, :, :], np.inf).min(axis=-2)
    return now - np.minimum(lowest, now)


def _drawn(points: Points, model: Rows, draws: int, seed: int) -> tuple[Array, Array, Array]:
    """Share of draws in which row n dominates model r [r n], in which any does [r], and the moves [draws r c]."""
    rng = np.random.default_rng(seed)
    n, (r, c) = len(points.value), model.value.shape
    own = Rows(model.value, model.se, model.hits, model.trials)
    count, any_row, moved = np.zeros((r, n)), np.zeros(r), []
    step = max(1, BLOCK // (n * r * c))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        values, there = points.draw(size, rng)
        now, _ = own.draw(size, rng)
        dominated = _dominates(values, now) & there[:, None, :]
        count += dominated.sum(axis=0)
        any_row += dominated.any(axis=-1).sum(axis=0)
        moved.append(_moves(values, now, there))
    return count / draws, any_row / draws, np.concatenate(moved)


def _way(
    row: int,
    on_front: bool,
    share: float | None,
    there: Array,
    now: Array,
    names: Sequence[str],
    design: Mapping[str, tuple[Any, ...]],
) -> Dominating:
    changes: dict[str, float | None] = {}
    for name, (own, asked) in design.items():
        ratio = float(own / asked)
        changes[name] = None if np.isnan(ratio) else ratio
    said = [_said(name, ratio) for name, ratio in changes.items() if ratio != 1]
    same = "the same design" if changes else ""
    gains = {name: float(now[c] - there[c]) for c, name in enumerate(names)}
    return Dominating(row, on_front, share, gains, changes, ", ".join(said) or same)


def _said(name: str, ratio: float | None) -> str:
    """fewer copies (copies x1/4)"""
    if ratio is None:
        return f"{name} not known"
    less, more = WORDS.get(name, (f"less {name}", f"more {name}"))
    times = f"x{ratio:.3g}" if ratio > 1 else f"x1/{1 / ratio:.3g}"
    return f"{less if ratio < 1 else more} ({name} {times})"
