"""The memorization rate of a cell nobody trained: the mean over runs, and where one new run would fall."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, ndtri

from analysis.fitting.result import FitResult
from analysis.questions.answer import Answer, CannotTell, not_answerable, sentences
from analysis.questions.luck import attenuation, run_luck
from analysis.questions.observations import check_point, named, observations
from analysis.questions.surface import (
    Competitor,
    Surface,
    left_out_fits,
    logit_at,
    rate_of,
    straight,
    stretched,
    surface,
)
from analysis.table import Tables
from analysis.words import percent, several

Array = np.ndarray
UNIT = "share of trials"


def predict(
    tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int,
    response: str | None = None, evaluation: str = "last",
) -> Answer:  # fmt: skip
    """f at the point `at`; lo and hi hold a new run. `rate` plays no part.

    The response is a stratum's recovery where `at` names copies, else a cell's memorized share.
    """
    check_point(at)
    rows: list[dict[str, Any]] = []
    try:
        observed = observations(tables, response or ("stratum" if "copies" in at else "cell"), evaluation)
        target = next((name for name in at if name in observed.varied), next(iter(observed.varied), None))
        if target is None:
            raise CannotTell("no variable differs between the rows: train cells that differ")
        found = surface(observed, target, level=level, draws=draws, seed=seed)
        rows = found.rows()
        point, medians, outside = found.at(at)
        if target not in point:
            raise CannotTell(f"give --at {target}=VALUE or another of {', '.join(found.variables)}")
    except CannotTell as reason:
        return not_answerable("predict", str(reason), level=level, unit=UNIT, rows=rows)
    luck = run_luck(found.result, observed.run)
    if not luck.freedom:
        runs, free = len(set(observed.run)), found.result.free
        why = f"{several(runs, 'run')} for {several(free, 'parameter')}: how runs differ cannot be told; add runs"
        return not_answerable("predict", why, level=level, unit=UNIT, rows=rows)
    rng = np.random.default_rng(seed)
    _, drawn = logit_at(found.result, point)
    sds = luck.draws(len(drawn), rng)
    lucky = attenuation(sds) * drawn[:, 0] + sds * rng.standard_normal(len(drawn))
    value, *ends = mean_rate(found.result, point, level, found.groups)
    _, lo, hi = mean_rate(found.result, point, level, found.groups, lucky)
    rows = [{"for": "mean of runs", "value": value, "lo": ends[0], "hi": ends[1]}]
    rows += [_of_law(row, one, point, found, level) for row, one in zip(found.rows(), found.competitors, strict=True)]
    checked = left_out_cells(found, level)
    missed = np.array([row["observed"] - row["predicted"] for row in checked])
    inside = np.mean([row["inside"] for row in checked])
    why = sentences(
        f"f = {percent(value)} at {named(point, medians)}; a new run falls between {percent(lo)} and {percent(hi)} "
        f"({100 * level:g} %), the mean of runs between {percent(ends[0])} and {percent(ends[1])}",
        "extrapolated: outside the runs in " + ", ".join(n for n, v in point.items() if found.outside(n, v))
        if outside else "",
        f"check: each of {several(len(set(observed.cell)), 'cell')} left out in turn, the law misses "
        f"{several(len(checked), 'rate')} by {100 * np.sqrt(np.mean(missed**2)):.2g} percentage points (root mean "
        f"square), {percent(inside)} of them inside its interval",
        f"between runs logit f has standard deviation {luck.sd:.2g}", found.said(observed.cluster[1]),
    )  # fmt: skip
    return Answer("predict", True, value, lo, hi, level, UNIT, outside, why, rows + checked)


def mean_rate(
    result: FitResult, point: Mapping[str, float], level: float, groups: int, drawn: Array | None = None
) -> tuple[float, float, float]:
    """The law's rate at a point with its interval, from the bootstrap draws or from other draws of logit f [b]."""
    best, own = logit_at(result, point)
    best, drawn = straight(result, best[0]), straight(result, own[:, 0] if drawn is None else drawn)
    lo, hi = stretched(best, drawn, level, groups, result.free)
    return float(rate_of(result, best)), float(rate_of(result, lo)), float(rate_of(result, hi))


def _of_law(
    row: dict[str, Any], one: Competitor, point: Mapping[str, float], found: Surface, level: float
) -> dict[str, Any]:
    found_here = mean_rate(one.result, point, level, found.groups) if one.usable else (None, None, None)
    return {**row, **dict(zip(("value", "lo", "hi"), found_here, strict=True))}


def left_out_cells(found: Surface, level: float) -> list[dict[str, Any]]:
    """Each cell under the fit without it: its rates (runs pooled) against the law's, with luck and counting noise."""
    observed, problem = found.observed, found.result.problem
    cells, place = np.unique(observed.cell, return_inverse=True)
    u, _ = left_out_fits(found.result, observed.cell)
    logit_f = problem.law.raw(problem.x, problem.natural(u))[place, np.arange(len(place))]
    luck = run_luck(found.result, observed.run)
    points = np.stack([place, *(problem.x[name] for name in found.variables)], axis=1)
    distinct, group = np.unique(points, axis=0, return_inverse=True)
    z, rows = ndtri((1 + level) / 2), []
    for k in range(len(distinct)):
        here = np.flatnonzero(group.ravel() == k)
        hits, trials, m = observed.hits[here].sum(), observed.trials[here].sum(), logit_f[here[0]]
        runs, f = len(set(observed.run[here])), float(expit(m))
        spread = z * np.sqrt((luck.sd * f * (1 - f)) ** 2 / runs + luck.dispersion * f * (1 - f) / trials)
        rows.append({
            "cell_id": cells[int(distinct[k, 0])], **dict(zip(found.variables, distinct[k, 1:].tolist(), strict=True)),
            "n_runs": runs, "observed": float(hits / trials), "predicted": f,
            "inside": bool(abs(hits / trials - f) <= spread + 0.5 / trials),
        })  # fmt: skip
    return rows
