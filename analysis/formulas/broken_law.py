"""The smoothly broken power law of Caballero et al. 2023 (arXiv 2210.14891), with any number of breaks.

Slopes in log-log, above a: -c0 before the first break, -(c0 + c1) behind it, -(c0 + c1 + c2) behind the second, …
Each may have any sign, so that y may rise between two falls. f_i is the width of break i in units of ln x.
"""

from collections.abc import Sequence
from itertools import product
from math import inf

import numpy as np

from analysis.formulas.law import Array, Law

PLACES = 16  # quantiles of ln x tried for ln d_i; and one place on each side, a quarter of the range outside
WIDTHS = (0.003, 0.03, 0.1, 0.2)  # f_i tried, as shares of the range of ln x
DEPTHS = (0.001, 0.03, 0.3, 3.0, 30.0)  # of a below the lowest y, as shares of the range of y
MOST_BREAKS = 5
GROUPS = 80  # of neighbours, whose means stand for them where starts are sought
BEAM = 100  # sets of breaks that get one more
CORNERS = 3  # places where ln y turns most
KEPT = 250  # starts of each weighting


def broken(names: Sequence[str], option: str = "") -> Law:
    """y = a + b x^-c0 prod_i (1 + (x/d_i)^(1/f_i))^(-c_i f_i), i = 1 … K (Caballero et al. 2023, Eq. 1). Option: K.

    Raises ValueError on other variables than x and on K outside 1 to MOST_BREAKS.
    """
    if tuple(names) != ("x",):
        raise ValueError(f"law broken on {', '.join(names)}: broken takes exactly --x x=COLUMN")
    if option and not (option.isdecimal() and 1 <= int(option) <= MOST_BREAKS):
        raise ValueError(
            f"law broken:{option}: write broken:K with K = 1 … {MOST_BREAKS} breaks (no break: power_offset)"
        )
    breaks = range(1, 1 + int(option or 1))
    factors = " ".join(f"(1 + (x/d{i})^(1/f{i}))^(-c{i} f{i})" for i in breaks)
    bounds = {"a": (-inf, inf), "b": (0.0, inf), "c0": (-inf, inf)}
    units = {"a": "y", "b": "y x^c0", "c0": "1"}
    for i in breaks:
        bounds |= {f"d{i}": (0.0, inf), f"f{i}": (0.0, inf), f"c{i}": (-inf, inf)}
        units |= {f"d{i}": "x", f"f{i}": "ln x", f"c{i}": "1"}
    return Law(
        name="broken" if len(breaks) == 1 else f"broken:{len(breaks)}",
        formula=f"a + b x^-c0 {factors}",
        variables=("x",),
        bounds=bounds,
        function=_function,
        gradient=_gradient,
        starts=lambda x, y: _starts(np.log(x["x"]), np.asarray(y, float), len(breaks)),
        linear=("a", "b"),
        log=("b", *(f"{letter}{i}" for i in breaks for letter in "df")),
        units=units,
        canonical=in_order,
    )


def in_order(theta: Array) -> Array:
    """The same curve with d1 <= d2 <= …: breaks carry no names, so a search may find them in any order; [..., k]."""
    theta = np.asarray(theta, float)
    parts = theta[..., 3:].reshape(*theta.shape[:-1], -1, 3)
    order = np.argsort(parts[..., 0], axis=-1, kind="stable")
    parts = np.take_along_axis(parts, order[..., None], axis=-2)
    return np.concatenate([theta[..., :3], parts.reshape(*theta.shape[:-1], -1)], axis=-1)


def _bend(log_ratio: Array, f: Array) -> Array:
    """f ln(1 + (x/d)^(1/f)) from ln(x/d): 0 far below d, ln(x/d) far above, finite for every f > 0."""
    return np.maximum(log_ratio, 0) + f * np.log1p(np.exp(-np.abs(log_ratio) / f))


def _function(x: Array, a: Array, b: Array, c0: Array, *breaks: Array) -> Array:
    log_x = np.log(x)
    exponent = np.log(b) - c0 * log_x
    for d, f, c in zip(*(breaks[k::3] for k in range(3)), strict=True):
        exponent = exponent - c * _bend(log_x - np.log(d), f)
    return a + np.exp(exponent)


def _gradient(x: Array, a: Array, b: Array, c0: Array, *breaks: Array) -> tuple[Array, ...]:
    log_x = np.log(x)
    exponent, sides = -c0 * log_x, []
    for d, f, c in zip(*(breaks[k::3] for k in range(3)), strict=True):
        log_ratio = log_x - np.log(d)
        z = np.abs(log_ratio) / f
        e = np.exp(-z)
        near = np.log1p(e)
        bend = np.maximum(log_ratio, 0) + f * near
        above = np.where(log_ratio > 0, 1.0, e) / (1 + e)  # the share of the slope's change at x
        in_f = near + np.where(e > 0, z, 0) * e / (1 + e)  # of the bend; without differences of large numbers
        exponent = exponent - c * bend
        sides += [c / d * above, -c * in_f, -bend]
    in_b = np.exp(exponent)
    height = b * in_b
    return np.ones_like(x), in_b, -height * log_x, *(height * side for side in sides)


def _starts(log_x: Array, y: Array, count: int) -> Array:
    """Breaks from a grid of places and widths, floors from a list, b and slopes by least squares of ln(y - a) [s, k].

    Once with equal weights and once with those that make an error of ln(y - a) one of y: what fits best is a start.
    """
    log_x, y = _grouped(log_x, y)
    span, height = max(np.ptp(log_x), 1e-3), max(np.ptp(y), 1e-9 * np.max(np.abs(y)), 1e-300)
    share = np.linspace(0, 1, PLACES + 2)[1:-1]
    ends = np.array([log_x[0] - span / 4, log_x[-1] + span / 4])
    places = np.unique(np.concatenate([np.quantile(np.unique(log_x), share), ends, _corners(log_x, y)]))
    grid = np.array(list(product(places, span * np.array(WIDTHS))))  # [g, 2]: ln d, f
    floors = np.min(y) - height * np.array(DEPTHS)
    floors = np.append(floors, 0.0) if np.min(y) > 0 else floors
    return np.concatenate([_best_sets(log_x, y, grid, floors, count, relative) for relative in (False, True)])


def _corners(log_x: Array, y: Array) -> Array:
    """Where ln|y| turns most [at most CORNERS]: a spike between two places of the grid is built by none of them."""
    x, first = np.unique(log_x, return_index=True)
    turn = np.abs(np.diff(np.log(np.maximum(np.abs(y[first]), 1e-300)), n=2))
    return x[1:-1][np.argsort(-turn, kind="stable")[:CORNERS]]


def _best_sets(log_x: Array, y: Array, grid: Array, floors: Array, count: int, relative: bool) -> Array:
    """Parameters [s, k] of the `count` breaks of `grid` [g, 2] that fit best, added one by one (a beam search)."""
    bends = _bend(log_x - grid[:, :1], grid[:, 1:])  # [g, n]
    line = np.stack([np.ones_like(log_x), -log_x])
    sets = np.empty((1, 0), int)
    for _ in range(count):
        more = np.tile(np.arange(len(grid)), len(sets))
        sets = np.unique(np.sort(np.column_stack([np.repeat(sets, len(grid), axis=0), more]), axis=1), axis=0)
        columns = np.concatenate([np.broadcast_to(line, (len(sets), *line.shape)), -bends[sets]], axis=1)
        found = [_straight(columns, y - a, relative) for a in floors]
        slopes, misfit = (np.stack(part, axis=1) for part in zip(*found, strict=True))  # [sets, floors (, k)]
        order, floor = np.argsort(np.min(misfit, axis=1)), np.argmin(misfit, axis=1)
        everything, sets = sets, sets[order[:BEAM]]
    # Ever sparser down the ranking: the best basin is often one that fits badly before its places are searched.
    kept = order[np.unique(np.geomspace(1, len(order), KEPT).astype(int)) - 1]
    slopes, breaks = slopes[kept, floor[kept]], grid[everything[kept]]
    triples = np.stack([np.exp(breaks[..., 0]), breaks[..., 1], slopes[:, 2:]], axis=-1)
    triples[1::2] = triples[1::2, ::-1]  # a d1 that is held fixed may be the last of the breaks
    triples = triples.reshape(len(kept), -1)
    return np.column_stack([floors[floor[kept]], np.exp(np.clip(slopes[:, 0], -600, 600)), slopes[:, 1], triples])


def _straight(columns: Array, above: Array, relative: bool) -> tuple[Array, Array]:
    """Coefficients [s, k] of ln(above) in columns [s, k, n]; the misfit [s] of the logarithm or of `above` itself."""
    weighted = columns if relative else columns * (above / np.max(above))
    target = np.log(above) if relative else np.log(above) * above / np.max(above)
    size = np.maximum(np.linalg.norm(weighted, axis=-1), 1e-300)
    weighted = weighted / size[..., None]
    # The ridge decides between columns that cannot be told apart.
    normal = weighted @ np.swapaxes(weighted, -1, -2) + 1e-9 * np.eye(columns.shape[-2])
    slopes = np.linalg.solve(normal, (weighted @ target)[..., None])[..., 0] / size
    fitted = np.einsum("skn,sk->sn", columns, slopes)
    rest = fitted - np.log(above) if relative else np.exp(np.clip(fitted, -600, 600)) - above
    return slopes, np.sum(rest**2, axis=-1)


def _grouped(log_x: Array, y: Array) -> tuple[Array, Array]:
    """Means of at most GROUPS groups of neighbours, sorted by x: starts cost the same for 10 rows and for a million."""
    order = np.argsort(log_x, kind="stable")
    edges = np.unique(np.linspace(0, len(y), min(GROUPS, len(y)) + 1).astype(int))
    size = np.diff(edges)
    return np.add.reduceat(log_x[order], edges[:-1]) / size, np.add.reduceat(y[order], edges[:-1]) / size
