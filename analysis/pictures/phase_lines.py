"""Where a fitted law has a given rate: lines over two variables in logarithms, cut where they leave the cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from contourpy import contour_generator
from scipy.special import logit

Array = np.ndarray
Box = tuple[tuple[float, float], tuple[float, float]]  # lower and upper end of x, and of y
GRID = 121  # points a side: a straight boundary is found exactly, a bent one within a hundredth of the span
DRAW_GRID = 31  # the same for resampled laws
TINY = 1e-12  # a rate of 0 or 1 has no logit


@dataclass(frozen=True)
class Piece:
    """A part of a boundary: points [k 2] in the variables, and whether it lies beyond the cells."""

    points: Array
    extrapolated: bool


@dataclass(frozen=True)
class PhaseLine:
    """A boundary and its interval: the boundaries between which resampled laws have it."""

    rate: float
    pieces: Sequence[Piece]
    ends: Sequence[Array] = field(default=())  # [k 2] each


def phase_line(
    rate: float,
    law: Callable[[Array, Array], Array],
    cells: tuple[Array, Array],
    room: Box,
    *,
    draws: Callable[[Array, Array], Array] | None = None,
    level: float = 0.95,
) -> PhaseLine:
    """The line on which `law` (x [n], y [n] -> rate [n]) is `rate`, within `room` = ((x0, x1), (y0, y1)).

    Beyond the cells (x [k], y [k]) is beyond their smallest and largest x or y. draws: (x, y) -> rates [draws n] of the
    resampled laws; without it there are no ends.
    """
    across, along = ((float(values.min()), float(values.max())) for values in cells)
    pieces = [piece for line in _lines(rate, law, room, GRID) for piece in _cut(line, (across, along))]
    if draws is None or not pieces:
        return PhaseLine(rate, pieces)
    tail = (1 - level) / 2

    def end(share: float) -> list[Array]:
        return _lines(rate, lambda x, y: np.quantile(draws(x, y), share, axis=0), room, DRAW_GRID)

    return PhaseLine(rate, pieces, [*end(tail), *end(1 - tail)])


def _lines(rate: float, law: Callable[[Array, Array], Array], room: Box, size: int) -> list[Array]:
    ln_x, ln_y = (np.linspace(np.log(low), np.log(high), size) for low, high in room)
    x, y = (grid.ravel() for grid in np.meshgrid(np.exp(ln_x), np.exp(ln_y)))
    height = logit(np.clip(law(x, y), TINY, 1 - TINY)).reshape(size, size)
    return [np.exp(line) for line in contour_generator(ln_x, ln_y, height).lines(float(logit(rate)))]  # type: ignore[arg-type]  # its default kind of line is arrays


def _cut(line: Array, box: Box) -> list[Piece]:
    """The line in pieces inside and outside of the box; neighbours share a point, so that no gap is seen."""
    inside = np.all([(v >= lo * (1 - 1e-9)) & (v <= hi * (1 + 1e-9)) for v, (lo, hi) in zip(line.T, box, strict=True)],
                    axis=0)  # fmt: skip
    turns = np.flatnonzero(np.diff(inside)) + 1
    starts, stops = [0, *turns], [*turns, len(line)]
    return [
        Piece(line[max(start - 1, 0) : stop], bool(not inside[start]))
        for start, stop in zip(starts, stops, strict=True)
    ]
