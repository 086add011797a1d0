"""Which cell to train next: by how much one more run is expected to narrow the interval of a quantity, per second.

Delta method: var q = g' C g, C the inverse Fisher information of the runs trained, each with a luck of its own; a
candidate adds the information that its counts are expected to hold (a c-optimal design, Chaloner & Verdinelli 1995).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.special import expit, logit

from analysis.fitting.result import FitResult
from analysis.questions.answer import Answer, CannotTell, not_answerable, sentences
from analysis.questions.inverse import INVERSES, Crossing
from analysis.questions.luck import Luck, run_luck
from analysis.questions.observations import BESIDE, VARIABLES, Observations, check_point, named, observations
from analysis.questions.run_cost import Cost, run_cost
from analysis.questions.surface import Surface, surface
from analysis.table import Tables

Array = np.ndarray
SHOWN = 20  # candidates that come back, best first
BEHIND = 200  # bootstrap draws behind the interval of the best candidate's benefit


def next_cell(
    tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int,
    response: str | None = None, evaluation: str = "last", quantity: str = "max_copies",
) -> Answer:  # fmt: skip
    """Candidates ranked by expected shrinkage of the quantity's interval per second: an inverse, or a law's parameter.

    Value: the best candidate's, as a share of the interval's width per second (per FLOP, per run: see `unit`).
    Raises ValueError on arguments that mean nothing.
    """
    if not 0 < rate < 1:
        raise ValueError(f"--rate {rate:g}: a rate lies between 0 and 1, .01 is usual")
    check_point(at)
    asked = INVERSES.get(quantity)
    unit = "share of the interval's width per second"
    try:
        observed = observations(tables, response or (asked.response if asked else "stratum"), evaluation)
        target = asked.variable if asked else observed.varied[0] if observed.varied else "params"
        found = surface(observed, target, level=level, draws=draws, seed=seed, every=False,
                        parameter="" if asked else quantity)  # fmt: skip
        luck = run_luck(found.result, observed.run)
        if not luck.freedom:
            raise CannotTell(f"{len(set(observed.run))} runs for {found.result.free} parameters: how runs differ is "
                             f"unknown, and with it what one more would tell; add a replicate of any cell")  # fmt: skip
        point, medians, _ = found.at({k: v for k, v in at.items() if k != target})
        theta = np.vstack([found.result.minimum, found.result.drawn[:BEHIND]])
        gradient = _gradient(found, quantity, target, point, rate, theta, level)
    except CannotTell as reason:
        return not_answerable("next", str(reason), level=level, unit=unit)
    candidates, cost = candidate_runs(observed, found.variables), run_cost(observed, tables.evals)
    sds = np.append(luck.sd, luck.draws(len(theta) - 1, np.random.default_rng(seed)))
    shrinkage = expected_shrinkage(found.result, observed.run, candidates, luck, sds, gradient, theta)
    price = cost.of(candidates.params, candidates.images_seen)
    benefit = shrinkage / price
    order = np.argsort(-benefit[0])
    rows = [_row(candidates, k, shrinkage[0], benefit[0], price, cost, found) for k in order[:SHOWN]]
    best = order[0]
    lo, hi = np.nanquantile(benefit[1:, best], [(1 - level) / 2, (1 + level) / 2])
    unit = f"share of the interval's width per {cost.unit}"
    why = sentences(
        f"train {candidates.words(best)}: one run narrows the interval of {quantity} by {shrinkage[0, best]:.1%} for "
        f"{price[best]:.3g} {cost.unit}", f"most at any cost: {candidates.words(int(np.argmax(shrinkage[0])))} "
        f"({shrinkage[0].max():.1%})", f"{len(order)} candidates: the grid trained, replicates, one step beyond it",
        f"{quantity} at {named({**point, **({'rate': rate} if asked else {})}, medians)}" if point or asked else "",
        cost.said, "expected at the fitted law: a law that is wrong beyond the grid is not found out this way",
        found.said(observed.cluster[1]),
    )  # fmt: skip
    outside = bool(rows[0]["new_level"])
    return Answer("next", True, float(benefit[0, best]), float(lo), float(hi), level, unit, outside, why, rows)


@dataclass(frozen=True)
class Candidates:
    """Runs that might be trained: one row a stratum (or cell), with the candidate it belongs to."""

    x: Mapping[str, Array]  # [n]
    trials: Array  # [n]
    run: Array  # [n] 0 … c - 1
    params: Array  # [c]
    images_seen: Array  # [c]
    plan: Sequence[str]  # [c] in words
    trained: Array  # [c] how many runs of it there are
    beyond: Array  # [c] a level nobody trained

    def words(self, k: int) -> str:
        """Candidate k in words."""
        kind = "one more seed of" if self.trained[k] else "the new cell"
        return f"{kind} params {self.params[k]:.6g}, images_seen {self.images_seen[k]:.6g}, {self.plan[k]}"


def candidate_runs(observed: Observations, variables: Sequence[str]) -> Candidates:
    """The grid of levels trained, crossed, with one step beyond each end; training sets as they were, or a step off."""
    run, place = np.unique(observed.run, return_inverse=True)
    x = {name: observed.x.get(name, np.ones(len(place))) for name in (*VARIABLES, *BESIDE)}
    plans: dict[tuple[Any, ...], int] = {}
    cells: dict[tuple[Any, ...], int] = {}
    for k in range(len(run)):
        rows = np.flatnonzero(place == k)
        plan = tuple(sorted((x["copies"][i], x["n_unique"][i], x["n_train"][i], observed.trials[i]) for i in rows))
        plans[plan] = plans.get(plan, 0) + 1
        cell = (x["params"][rows[0]], x["images_seen"][rows[0]], plan)
        cells[cell] = cells.get(cell, 0) + 1
    old = {name: set(x[name]) for name in x}
    grid = list(product(_levels(x["params"]), _levels(x["images_seen"]), _plans(plans, x)))
    columns: dict[str, list[Any]] = {name: [] for name in (*x, "trials", "run")}
    for k, (params, seen, plan) in enumerate(grid):
        for copies, n_unique, n_train, trials in plan:
            for name, value in zip(columns, (params, copies, seen, n_unique, n_train, trials, k), strict=True):
                columns[name].append(value)
    made = {name: np.array(values) for name, values in columns.items()}
    beyond = [p not in old["params"] or s not in old["images_seen"] or plan not in plans for p, s, plan in grid]
    return Candidates(
        {name: made[name] for name in variables}, made["trials"], made["run"], np.array([p for p, _, _ in grid]),
        np.array([s for _, s, _ in grid]), [_plan_words(plan) for _, _, plan in grid],
        np.array([cells.get(cell, 0) for cell in grid]), np.array(beyond),
    )  # fmt: skip


def _levels(values: Array) -> list[float]:
    """The levels, and one step (the ratio of the outermost two) beyond each end; alone where there is one level."""
    levels = np.unique(values)
    if len(levels) == 1:
        return [float(levels[0])]
    ends = [np.round(levels[0] ** 2 / levels[1]), np.round(levels[-1] ** 2 / levels[-2])]
    return sorted({float(v) for v in (*levels, *ends) if v >= 1})


def _plans(plans: Mapping[tuple[Any, ...], int], x: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    """Training sets as trained; those of a single row also with copies and n_unique one step beyond."""
    found = dict.fromkeys(plans)
    for plan in plans:
        if len(plan) == 1:
            *_, n_train, trials = plan[0]
            grid = product(_levels(x["copies"]), _levels(x["n_unique"]))
            # All images of such a run have the same copies; without n_train it is 1 in every row.
            found |= dict.fromkeys(((c, n, c * n if n_train > 1 else n_train, trials),) for c, n in grid)
    return list(found)


def _plan_words(plan: tuple[Any, ...]) -> str:
    copies = sorted({row[0] for row in plan})
    span = f"{copies[0]:g}" if len(copies) == 1 else f"{copies[0]:g} to {copies[-1]:g}"
    return f"n_unique {plan[0][1]:g}, copies {span}"


def expected_shrinkage(
    result: FitResult, run: Array, candidates: Candidates, luck: Luck, sds: Array, gradient: Array, theta: Array
) -> Array:
    """1 - sd after / sd before of g'theta [m c], for parameters theta [m k], lucks sds [m], gradients [m k]."""
    problem, place = result.problem, np.unique(run, return_inverse=True)[1]
    now = information(result, problem.x, problem.counted, place, theta, luck.dispersion, sds).sum(axis=1)
    more = information(result, candidates.x, candidates.trials, candidates.run, theta, luck.dispersion, sds)
    scale = np.sqrt(np.maximum(np.diagonal(now, axis1=1, axis2=2), 1e-300))  # parameters of very different units
    now, more = now / scale[:, :, None] / scale[:, None, :], more / (scale[:, :, None] * scale[:, None, :])[:, None]
    g = gradient / scale
    before = np.einsum("mj,mjk,mk->m", g, np.linalg.pinv(now), g)
    after = np.einsum("mj,mcjk,mk->mc", g, np.linalg.pinv(now[:, None] + more), g)
    return 1 - np.sqrt(np.minimum(after / before[:, None], 1.0))


def information(
    result: FitResult, x: Mapping[str, Array], trials: Array, run: Array, theta: Array, dispersion: float, sds: Array
) -> Array:
    """Expected Fisher information of each run [m r k k] about the law's parameters, the run's luck integrated out.

    Rows of a run: covariance diag(1/w) + s^2 11' of the working residuals, inverted by Sherman-Morrison.
    """
    law, natural = result.law, result.problem.natural(theta)
    with np.errstate(all="ignore"):
        jacobian = np.nan_to_num(law.raw_gradient(x, natural))  # [m n k]
        f = expit(law.raw(x, natural))
    w = trials * f * (1 - f) / dispersion
    member = (run[:, None] == np.arange(int(run.max()) + 1)).astype(float)  # [n r]
    alone = np.einsum("mn,mnj,mnk,nr->mrjk", w, jacobian, jacobian, member, optimize=True)
    pulled = np.einsum("mn,mnj,nr->mrj", w, jacobian, member, optimize=True)
    shared = sds[:, None] ** 2 / (1 + sds[:, None] ** 2 * (w @ member))
    return alone - shared[..., None, None] * pulled[..., :, None] * pulled[..., None, :]


def _gradient(
    found: Surface, quantity: str, target: str, point: Mapping[str, float], rate: float, theta: Array, level: float
) -> Array:
    """Derivative of the quantity (ln of an inverse) in the law's parameters [m k]; raises CannotTell."""
    result = found.result
    names = result.law.parameters
    if quantity in names:
        return np.tile(np.eye(len(names))[names.index(quantity)], (len(theta), 1))
    crossing = Crossing(found, target, point, float(np.mean(np.log(found.observed.x[target]))))
    crossing.check_direction(INVERSES[quantity].rising, level)
    value = np.log(crossing.interval(result, rate, level)[0])
    # Implicit function: d ln x*/d theta = -(d eta/d theta)/(d eta/d ln x), at each draw's own crossing of the rate.
    where, step = np.full(len(theta), value), 1e-4
    natural = result.problem.natural(theta)

    def eta(log_x: Array) -> Array:
        x = {**{name: np.full(len(theta), v) for name, v in point.items()}, target: np.exp(log_x)}
        with np.errstate(all="ignore"):
            return np.diagonal(result.law.raw(x, natural)).copy()

    for _ in range(20):
        slope = (eta(where + step) - eta(where - step)) / (2 * step)
        where = where - np.clip(np.nan_to_num((eta(where) - logit(rate)) / slope), -1, 1)
    x = {**{name: np.full(len(theta), v) for name, v in point.items()}, target: np.exp(where)}
    jacobian = result.law.raw_gradient(x, natural)[np.arange(len(theta)), np.arange(len(theta))]
    return -jacobian / slope[:, None]


def _row(
    candidates: Candidates, k: int, shrinkage: Array, benefit: Array, price: Array, cost: Cost, found: Surface
) -> dict[str, Any]:
    rows = np.flatnonzero(candidates.run == k)
    return {
        "params": candidates.params[k], "images_seen": candidates.images_seen[k], "plan": candidates.plan[k],
        "trained": int(candidates.trained[k]), "new_level": bool(candidates.beyond[k]),
        "shrinkage": shrinkage[k], cost.unit.replace(" ", "_"): price[k], "shrinkage_per_cost": benefit[k],
        "expected_rate": float(np.mean(found.result.predict({n: v[rows] for n, v in candidates.x.items()}))),
    }  # fmt: skip
