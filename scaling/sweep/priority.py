"""Which cells to run first when not all can be: those that tell most about the study's response for their time.

The response is taken as a surface over what the grid varies, numbers on a log scale: y = x'b + u + e, x = 1, main
effects, curvatures, products of two axes; u what the cell has of its own, e what the seed has, of equal variance. So n
seeds of a cell weigh 2n/(n + 1): a second one tells a third of the first. Information: ln det(R + sum_c w_c x_c x_c')
of what will have been run, R the precision held in advance, small for main effects and 1 for the rest (Bayesian
D-optimality, DuMouchel & Jones 1994). Cells are taken greedily. By gain per second alone the cheap corner of a grid
could come first and use up the time; so that order and the one by gain alone are compared at the budget, and the better
is taken (Leskovec et al. 2007: at least (1 - 1/e)/2 of the best possible).
"""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from scaling.fields import ExperimentConfig
from scaling.identity import canonical

Array = np.ndarray
NUISANCES = ("seed", "data.draw", "data.fold", "data.duplication.rotate")  # cells that differ in these are replicates
MAIN, REST = 1e-3, 1.0  # precision held in advance
COLUMNS = 150  # of the surface at most; beyond it curvatures and products are left out
CHOSEN = 3_000  # cells that are weighed; the rest follows in the order of the file


class Design(NamedTuple):
    """x [N P] a row a cell, prior [P] precision held in advance, cell [N] of what distinct cell it is a replicate."""

    x: Array
    prior: Array
    cell: Array


def design(configs: Sequence[ExperimentConfig]) -> Design:
    """The response surface over whatever the configurations differ in."""
    texts = [canonical(config, without=NUISANCES) for config in configs]
    cell = np.unique(texts, return_inverse=True)[1]
    leaves = [_leaves(json.loads(text)) for text in texts]
    axes: list[Array] = []  # [N k] of each varied key: a number's log, or indicators of its values
    seen: set[tuple[int, ...]] = set()
    for key in leaves[0]:
        values = [leaf.get(key) for leaf in leaves]
        place: dict[str, int] = {}
        codes = tuple(place.setdefault(json.dumps(value), len(place)) for value in values)
        if len(place) > 1 and codes not in seen:  # two keys that vary together are one axis
            seen.add(codes)
            numbers = _numbers(values)
            axes.append(_indicators(codes) if numbers is None else _scaled(numbers))
    return Design(*_surface(axes, len(configs)), cell)


def _leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    made: dict[str, object] = {}
    for name, value in tree.items():
        made |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return made


def _numbers(values: Sequence[object]) -> Array | None:
    """As numbers, fractions too; None where one is none."""
    try:
        found = [float(Fraction(str(value))) for value in values if not isinstance(value, bool)]
    except (ValueError, ZeroDivisionError):
        return None
    return np.array(found) if len(found) == len(values) else None


def _scaled(numbers: Array) -> Array:
    """[N 1] from -1 to 1, on a log scale where all are above 0."""
    values = np.log(numbers) if (numbers > 0).all() else numbers
    low, high = values.min(), values.max()
    return (2 * (values - low) / (high - low) - 1)[:, None]


def _indicators(codes: Sequence[int]) -> Array:
    return (np.array(codes)[:, None] == np.arange(1, max(codes) + 1)).astype(float)


def _surface(axes: Sequence[Array], count: int) -> tuple[Array, Array]:
    main = np.hstack([np.ones((count, 1)), *axes])
    bends = [axis**2 for axis in axes if axis.shape[1] == 1 and len(np.unique(axis)) > 2]
    products = [(a[:, :, None] * b[:, None, :]).reshape(count, -1) for at, a in enumerate(axes) for b in axes[at + 1 :]]
    rest = np.hstack([np.zeros((count, 0)), *bends, *products])
    if main.shape[1] + rest.shape[1] > COLUMNS:
        rest = rest[:, :0]
    prior = np.repeat([MAIN, REST], [main.shape[1], rest.shape[1]])
    return np.hstack([main, rest]), prior


def information(made: Design, rows: Sequence[int]) -> float:
    """ln det(R + sum_c w_c x_c x_c') of these runs."""
    _, first, counts = np.unique(made.cell[list(rows)], return_index=True, return_counts=True)
    x = made.x[list(rows)][first]
    return float(np.linalg.slogdet(np.diag(made.prior) + (x.T * _weight(counts)) @ x)[1])


def _weight(replicates: Array) -> Array:
    """Of a cell with so many runs, in units of its first."""
    return 2 * replicates / (replicates + 1)


def order(made: Design, seconds: Array, done: Sequence[int] = (), budget: float = np.inf) -> list[int]:
    """All cells that are not done, the most informative first; seconds [N] of each.

    budget: seconds of all workers together, at which the two greedy orders are compared.
    """
    orders = [_greedy(made, cost, done) for cost in (np.maximum(seconds, 1e-9), np.ones(len(seconds)))]
    return max(orders, key=lambda order: information(made, [*done, *affordable(order, seconds, budget)]))


def affordable(order: Sequence[int], seconds: Array, budget: float) -> list[int]:
    """Those of `order` that fit the budget in turn, what is too long passed over; seconds [cells]."""
    taken, spent = [], 0.0
    for at in order:
        if spent + seconds[at] <= budget:
            taken.append(at)
            spent += seconds[at]
    return taken


def _greedy(made: Design, cost: Array, done: Sequence[int]) -> list[int]:
    """By the gain ln(1 + w x' M^-1 x) per cost, M all taken so far; V = X M^-1 follows by Sherman-Morrison."""
    replicates, v = np.zeros(int(made.cell.max()) + 1), made.x / made.prior
    left = np.ones(len(made.x), bool)

    def take(at: int) -> Array:
        more = _weight(replicates[made.cell[at]] + 1) - _weight(replicates[made.cell[at]])
        left[at] = False
        replicates[made.cell[at]] += 1
        along = v @ made.x[at]
        return v - np.outer(along * more / (1 + more * along[at]), v[at])

    for at in done:
        v = take(at)
    taken: list[int] = []
    while left.any() and len(taken) < CHOSEN:
        rows = np.flatnonzero(left)
        seeds = replicates[made.cell[rows]]
        more = _weight(seeds + 1) - _weight(seeds)
        gain = np.log1p(more * np.maximum(np.einsum("np,np->n", v[rows], made.x[rows]), 0)) / cost[rows]
        best = int(rows[np.argmax(gain > (1 - 1e-9) * gain.max())])  # of equal ones the first of the file
        taken.append(best)
        v = take(best)
    return [*taken, *np.flatnonzero(left).tolist()]
