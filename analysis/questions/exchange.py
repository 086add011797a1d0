"""The exchange rate of copies for time: chi = b_copies/b_images_seen of a logistic law (measures.md 3.5).

chi = 1: only exposures count. chi < 1: time does more than copies. A ratio whose denominator may be 0 has no limit on
some side: Fieller's interval says so, where a delta method would print two numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import chdtrc, stdtrit

from analysis.fitting.estimate import fit
from analysis.fitting.information import aicc
from analysis.fitting.problem import LARGEST_CONDITION, condition_number
from analysis.fitting.result import FitResult
from analysis.laws import law
from analysis.onsets.run_setting import constant_rate
from analysis.questions.answer import Answer, not_answerable, plain, sentences
from analysis.questions.comparable import rows_at
from analysis.questions.observations import one_setting
from analysis.table import Tables
from analysis.words import p_value, several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
UNIT = "ln images_seen per ln copies"
BESIDE = ("params", "n_unique", "n_train")  # in the law where they vary and can be told apart


@dataclass(frozen=True)
class Exchange:
    """chi with Fieller's interval; `clusters` are the runs it rests on."""

    chi: float
    lo: float | None  # None: no limit on this side
    hi: float | None
    clusters: int
    message: str


def fieller(a: float, b: float, covariance: Array, quantile: float) -> tuple[float | None, float | None, str]:
    """Interval of a/b, Fieller 1954: all chi with (a - chi b)^2 <= q^2 var(a - chi b); covariance [2 2] of (a, b).

    Where b is not told apart from 0 the set has no limit on either side, and the message says what it leaves out.
    """
    (aa, ab), (_, bb) = quantile**2 * np.asarray(covariance, float)
    square, half, constant = b**2 - bb, a * b - ab, a**2 - aa  # chi^2 square - 2 chi half + constant <= 0
    root = half**2 - square * constant
    if square > 0:  # then root >= 0: chi = a/b is in the set
        lo, hi = ((half + sign * np.sqrt(max(root, 0.0))) / square for sign in (-1, 1))
        return float(lo), float(hi), ""
    if root <= 0 or square == 0:
        return None, None, "the effect of time is not told apart from 0: no chi is excluded"
    ends = sorted((half + sign * np.sqrt(root)) / square for sign in (-1, 1))
    return (
        None,
        None,
        f"the effect of time is not told apart from 0: only chi in ({ends[0]:.3g}, {ends[1]:.3g}) is excluded",
    )


def clustered_covariance(result: FitResult, cluster: Array) -> tuple[Array, int]:
    """Covariance [k k] of the law's parameters and the number of clusters: rows of one cluster [n] share their luck.

    The sandwich of Liang & Zeger 1986, Eq. 8, times G/(G - 1); overdispersion held at its estimate.
    """
    problem, k = result.problem, len(result.problem.names)
    labels = np.unique(np.asarray(cluster), return_inverse=True)[1]
    groups = int(labels.max()) + 1
    member = (labels == np.arange(groups)[:, None]).astype(float)
    scores = problem.evaluate(np.tile(result.minimum, (groups, 1)), member).gradient[:, :k]
    bread = np.linalg.pinv(problem.evaluate(result.minimum[None]).hessian[0, :k, :k])
    return bread @ (scores.T @ scores) @ bread * groups / max(groups - 1, 1), groups


def exchange_rate(
    result: FitResult, cluster: Array, *, copies: str = "copies", time: str = "images_seen", level: float = 0.95
) -> Exchange:
    """chi of a fitted logistic law in `copies` and `time`; cluster [n] of its rows; ValueError where there is one."""
    covariance, groups = clustered_covariance(result, cluster)
    if groups < 2:
        raise ValueError("one cluster: what runs share cannot be told; an interval of chi takes several runs")
    places = [result.problem.names.index(f"b_{name}") for name in (copies, time)]
    a, b = (float(result.minimum[k]) for k in places)
    quantile = float(stdtrit(max(groups - result.free, 1), (1 + level) / 2))
    lo, hi, message = fieller(a, b, covariance[np.ix_(places, places)], quantile)
    few = (
        f"{several(groups, 'run')} for {several(result.free, 'parameter')}: the interval rests on Student's t with 1 "
        f"degree of freedom; train more runs"
    )
    return Exchange(a / b, lo, hi, groups, sentences(message, few if groups <= result.free else ""))


def exchange(tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int) -> Answer:
    """chi of basin recovery by stratum over all trained evaluations, clusters are runs; `rate`, `draws` are not used.

    Rows: the free law and the one with chi = 1 (ln exposures in place of both), each with AICc.
    """
    rows, notes = _rows(tables, at)
    flat = [name for name in ("copies", "images_seen") if not len(rows) or rows[name].nunique() < 2]
    if flat:
        return not_answerable(
            "exchange", sentences(f"{' and '.join(flat)} does not vary", notes), level=level, unit=UNIT
        )
    names, condition, dropped = _told_apart(rows)
    if condition > LARGEST_CONDITION:
        why = (
            f"copies and images_seen move together (condition number {condition:.3g} > {LARGEST_CONDITION:g}): "
            f"neither's own effect can be told; train the same copies for several lengths"
        )
        return not_answerable("exchange", sentences(why, notes), level=level, unit=UNIT)
    columns = {name: rows[name].to_numpy(float) for name in names}
    columns["exposure"] = columns["copies"] * columns["images_seen"]
    counts = {"y": rows["n_basin_recovered"].to_numpy(float), "trials": rows["n_basin"].to_numpy(float)}
    one = ["exposure", *(name for name in names if name not in ("copies", "images_seen"))]
    free, pure = (
        fit(law("logistic", kept), columns, **counts, level=level, seed=seed, starts=16) for kept in (names, one)
    )
    runs = rows["run_id"].to_numpy()
    table = [_row(name, result) for name, result in (("chi free", free), ("chi = 1", pure))]
    if free.status != "ok" or len(np.unique(runs)) < 2:
        lacking = free.message or f"{free.status}"
        lacking = "one run: its luck cannot be told from an effect" if len(np.unique(runs)) < 2 else lacking
        return not_answerable("exchange", sentences(lacking, notes), level=level, unit=UNIT, rows=table)
    found = exchange_rate(free, runs, level=level)
    ratio = max(2 * (pure.lowest - free.lowest), 0.0)
    held = (found.lo is None or found.lo <= 1) and (found.hi is None or found.hi >= 1)
    why = sentences(
        f"doubling the copies does what {2**found.chi:.3g} times the training does (chi = {found.chi:.3g}); "
        f"{several(free.n, 'row')} of strata, {several(found.clusters, 'run')}",
        "chi = 1, exposures alone, is "
        + ("not rejected" if held else "rejected")
        + f" by the {100 * level:g} % interval",
        f"likelihood ratio {ratio:.3g}, {p_value(chdtrc(1, ratio))}, if rows of one run were independent",
        f"{', '.join(names)} can be told apart (condition number {condition:.3g}; above {LARGEST_CONDITION:g} "
        f"they could not)",
        f"without a term of its own, since it moves with the others: {', '.join(dropped)}" if dropped else "",
        found.message,
        notes,
    )
    return Answer("exchange", True, found.chi, found.lo, found.hi, level, UNIT, False, why, table)


def _rows(tables: Tables, at: Mapping[str, float]) -> tuple["DataFrame", str]:
    """Trained strata with counts, of the runs of one setting at constant learning rate, and what was left out."""
    evals, other = one_setting(rows_at(tables.evals, at))
    strata = tables.strata.merge(evals[["run_id", "images_seen"]], on=["run_id", "images_seen"])
    steady = strata[strata["run_id"].isin(constant_rate(evals)["run_id"]) & (strata["images_seen"] > 0)]
    known = steady[steady["n_basin_recovered"].notna() & (steady["n_basin"] > 0)]
    decaying = evals["run_id"].nunique() - constant_rate(evals)["run_id"].nunique()
    return known, sentences(
        *other,
        f"left out without n_basin or n_basin_recovered: {several(len(steady) - len(known), 'row')} of strata"
        if len(known) < len(steady)
        else "",
        f"{several(decaying, 'run')} with a decaying learning rate left out: their evaluations are no runs of "
        f"that length"
        if decaying
        else "",
    )


def _told_apart(rows: "DataFrame") -> tuple[list[str], float, list[str]]:
    """Variables of the law, the condition number of their logarithms, and those left out as moving with the others."""
    logs = {name: np.log(rows[name].to_numpy(float)) for name in ("copies", "images_seen", *BESIDE)}
    kept = ["copies", "images_seen"]
    dropped: list[str] = []
    for name in BESIDE:
        if np.isnan(logs[name]).any() or np.ptp(logs[name]) == 0:
            continue
        good = condition_number([logs[one] for one in (*kept, name)]) <= LARGEST_CONDITION
        (kept if good else dropped).append(name)
    return kept, condition_number([logs[name] for name in kept]), dropped


def _row(name: str, result: FitResult) -> dict[str, Any]:
    params = {key: plain(found.value) for key, found in result.params.items()}
    return {
        "law": name,
        "n": result.n,
        "free": result.free,
        "aicc": aicc(result),
        "status": str(result.status),
    } | params
