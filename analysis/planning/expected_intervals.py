"""What a planned study would find: many simulated studies, each fitted; how wide the intervals are, how often there
is an answer, how often it holds the truth, each with its Monte-Carlo error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from analysis.double_descent import verdicts
from analysis.fitting.estimate import fit
from analysis.fitting.predictions import predict
from analysis.fitting.result import FitResult, Status
from analysis.fitting.uncertainty import bootstrap, by_run
from analysis.formulas.law import Law
from analysis.onsets.cell_onset import cell_onsets
from analysis.planning import simulated_curves as curves
from analysis.planning.planned import StudyPlan, asked_cell
from analysis.planning.simulated_study import drawn, layout
from analysis.questions.surface import stretched
from analysis.rates import wilson

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
ERROR_LEVEL = 0.95  # of every Monte-Carlo interval
SEARCH_DRAWS = 500  # of the search test for double descent, where no window is given


class Found(NamedTuple):
    """One quantity in one study; an end is NaN where the data put no limit, `why` says so in words."""

    name: str
    truth: float  # of this study: a prediction's is the new run's own count
    lo: float
    hi: float
    why: str = ""


@dataclass(frozen=True)
class Question:
    """A quantity whose interval a study would tell; truth is None where the assumed law never gets there."""

    name: str
    scale: str  # of its width: difference (hi - lo) or ratio (hi / lo)
    truth: float | None


def rate_rows(plan: StudyPlan, strata: "DataFrame") -> "DataFrame":
    """The strata rows of the rate's fit: all trained evaluations where the law knows time, else each run's last."""
    rows = strata[strata["images_seen"] > 0]
    if "images_seen" in plan.rate.law.variables:
        return rows
    return rows[rows["images_seen"] == rows.groupby("run_id")["images_seen"].transform("max")]


def rate_fit(plan: StudyPlan, strata: "DataFrame", seed: int) -> FitResult:
    """The law of the plan fitted to n_basin_recovered / n_basin, intervals by the plan's clusters; bootstrap draws only
    for what is a function of several parameters."""
    rows = rate_rows(plan, strata)
    x = {name: rows[name].to_numpy(float) for name in plan.rate.law.variables}
    counts, trials = rows["n_basin_recovered"].to_numpy(float), rows["n_basin"].to_numpy(float)
    result = fit(plan.rate.law, x, counts, trials=trials, level=plan.level, starts=8, seed=seed)
    if result.status != Status.OK:
        return result
    cluster = rows[plan.cluster].to_numpy()
    return bootstrap(result, cluster, draws=plan.draws, seed=seed) if plan.max_copies else by_run(result, cluster)


def straight(law: Law, rate: float) -> Array:
    """The rate f on the scale on which the law is linear in ln copies: logit f, or ln(-ln(1 - f)) for exposure."""
    return np.log(-np.log1p(-rate)) if law.name == "exposure" else logit(rate)


def log_copies(law: Law, x: Mapping[str, Array], rate: float, theta: Array) -> Array:
    """ln of the copies at which f reaches `rate` [...]; inf where f does not rise with copies. theta [... k]."""
    # Rates near 0 and 1 are kept apart by staying on the logit: 1 - expit(40) would round to 0.
    raw = [law.raw({**x, "copies": np.array([copies])}, theta)[..., 0] for copies in (1.0, np.e)]
    if law.name == "exposure":
        raw = [np.log(np.logaddexp(0, part)) for part in raw]  # -ln(1 - expit(m)) = ln(1 + e^m)
    slope = raw[1] - raw[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(slope > 0, (straight(law, rate) - raw[0]) / slope, np.inf)


def max_copies(plan: StudyPlan, result: FitResult, row: dict[str, Any]) -> tuple[float, float, str]:
    """Interval of the most copies so that f < rate: bootstrap draws in ln copies, arms stretched for few clusters."""
    if result.draws is None:
        return np.nan, np.nan, result.message or "no bootstrap draw determined the law"
    x = {name: np.array([row[name]]) for name in plan.rate.law.variables if name != "copies"}
    best = log_copies(plan.rate.law, x, row["rate"], result.problem.natural(result.minimum))
    found = log_copies(plan.rate.law, x, row["rate"], result.problem.natural(result.draws))
    if not (np.isfinite(best) and np.mean(np.isinf(found)) < (1 - plan.level) / 2):
        return np.nan, np.nan, "an effect of copies that is not surely positive: no upper limit"
    groups = plan.seeds * (1 if plan.cluster == "draw" else len(plan.cells))
    lo, hi = stretched(best, found[np.isfinite(found)], plan.level, groups, result.free)
    return float(np.exp(lo)), float(np.exp(hi)), ""


def questions(plan: StudyPlan) -> list[Question]:
    """Every quantity whose interval is told, with its truth where that is one number."""
    theta = np.array([plan.rate.parameters[name] for name in plan.rate.law.parameters])
    asked = [Question(name, "difference", value) for name, value in plan.rate.parameters.items()]
    for row in plan.max_copies:
        x = {name: np.array([row[name]]) for name in plan.rate.law.variables if name != "copies"}
        most = float(np.exp(log_copies(plan.rate.law, x, row["rate"], theta)))
        asked.append(Question(_named("max_copies", row), "ratio", most))
    asked += [Question(_named("predict", row), "difference", _rate_at(plan, row)) for row in plan.predict]
    for row in plan.tau_mem:
        cell = asked_cell(plan, row, "questions.tau_mem")
        asked.append(Question(_named("tau_mem", row), "ratio", curves.tau_mem(plan, cell, row["eps"])))
    return asked


def _named(kind: str, row: dict[str, Any]) -> str:
    known = {name: value for name, value in row.items() if value is not None}
    return f"{kind}({', '.join(f'{n}={v:g}' if not isinstance(v, str) else f'{n}={v}' for n, v in known.items())})"


def _rate_at(plan: StudyPlan, row: dict[str, Any], luck: float = 0.0) -> float:
    theta = np.array([plan.rate.parameters[name] for name in plan.rate.law.parameters])
    x = {name: np.array([row[name]]) for name in plan.rate.law.variables}
    return float(expit(plan.rate.law.raw(x, theta)[0] + luck))


def answers(plan: StudyPlan, tables: dict[str, "DataFrame"], seed: int) -> Iterator[Found]:
    """Every question put to one study, in the order of `questions`."""
    result, asked = rate_fit(plan, tables["strata"], seed), iter(questions(plan))
    rng = np.random.default_rng([seed, 1])
    for name, known in result.params.items():
        lo, hi = (np.nan if end is None else end for end in (known.lo, known.hi))
        if result.status == Status.NOT_IDENTIFIABLE:  # no parameter can be believed, whatever its profile does
            lo = hi = np.nan
        yield Found(next(asked).name, plan.rate.parameters[name], lo, hi, result.message)
    for row in plan.max_copies:
        question = next(asked)
        assert question.truth is not None  # of every plan the most copies are one number
        yield Found(question.name, question.truth, *max_copies(plan, result, row))
    for row in plan.predict:
        yield _prediction(plan, result, row, next(asked).name, seed, rng)
    for row in plan.tau_mem:
        yield _onset(plan, tables["evals"], row, next(asked), rng)


def _prediction(
    plan: StudyPlan, result: FitResult, row: dict[str, Any], name: str, seed: int, rng: np.random.Generator
) -> Found:
    """The interval for the measured rate of a run nobody trained, and that run's own rate."""
    luck = np.hypot(plan.rate.luck_run, plan.rate.luck_draw) * rng.standard_normal()
    f, c = _rate_at(plan, row, luck), plan.rate.overdispersion
    measured = rng.binomial(plan.n_basin, rng.beta(f * (1 - c) / c, (1 - f) * (1 - c) / c) if c else f) / plan.n_basin
    if result.best is None or result.status == Status.NOT_IDENTIFIABLE:
        return Found(name, measured, np.nan, np.nan, result.message)
    x = {variable: np.array([row[variable]]) for variable in plan.rate.law.variables}
    found = predict(result, x, trials=np.array([plan.n_basin]), draws=1000, seed=seed)
    return Found(name, measured, float(found.lo[0]), float(found.hi[0]))


def _onset(
    plan: StudyPlan, evals: "DataFrame", row: dict[str, Any], question: Question, rng: np.random.Generator
) -> Found:
    cell = asked_cell(plan, row, "questions.tau_mem")
    own = evals[evals["cell_id"] == curves.digest(cell.config)].astype({"ema": float})
    found = cell_onsets(own, row["eps"], draws=plan.draws, level=plan.level, rng=rng).iloc[0]
    bounded = found["lo"] > 0 and np.isfinite(found["hi"])
    truth = np.nan if question.truth is None else question.truth
    if not bounded:
        why = f"the onset is {found['status']}, its interval open: evaluate earlier or longer, or draw more samples"
        return Found(question.name, truth, np.nan, np.nan, why)
    return Found(question.name, truth, float(found["lo"]), float(found["hi"]))


def median_with_error(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and its distribution-free interval: order statistics, Binomial(n, 1/2) (David & Nagaraja 2003, 7.1)."""
    from scipy.stats import binom  # half of this package's import time

    ordered, n = sorted(values), len(values)
    k = int(binom.ppf((1 - ERROR_LEVEL) / 2, n, 0.5))
    # Under 6 values no pair of order statistics reaches 95 %: the interval has no ends.
    if 2 * binom.cdf(k - 1, n, 0.5) > 1 - ERROR_LEVEL or k < 1:
        return median(ordered), np.nan, np.nan
    return median(ordered), ordered[k - 1], ordered[n - k]


def summary(question: Question, found: Sequence[Found]) -> dict[str, Any]:
    """Width, answerable share and coverage of one quantity over the studies, each with its Monte-Carlo interval."""
    bounded = [one for one in found if np.isfinite([one.lo, one.hi]).all()]
    # An end without limit holds everything on its side; nothing at all was said where both are missing.
    told = [one for one in found if np.isfinite([one.lo, one.hi]).any() and not np.isnan(one.truth)]
    holds = [not (one.truth < one.lo or one.truth > one.hi) for one in told]
    widths = [one.hi / one.lo if question.scale == "ratio" else one.hi - one.lo for one in bounded]
    reasons = [one.why for one in found if not np.isfinite([one.lo, one.hi]).all() and one.why]
    width = median_with_error(widths) if widths else (np.nan, np.nan, np.nan)
    return {
        "quantity": question.name,
        "truth": question.truth,
        "scale": question.scale,
        "width": dict(zip(("value", "lo", "hi"), map(_plain, width), strict=True)),
        "answerable": _share(len(bounded), len(found)),
        "coverage": _share(sum(holds), len(holds)),
        "why": max(set(reasons), key=reasons.count) if reasons else "",
    }


def _share(hits: int, n: int) -> dict[str, Any]:
    if not n:
        return {"value": None, "lo": None, "hi": None, "n": 0}
    found = wilson(hits, n, ERROR_LEVEL)
    return {"value": float(found.value), "lo": float(found.lo), "hi": float(found.hi), "n": n}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def expected(plan: StudyPlan, *, studies: int, seed: int, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The answer for the plan with its own number of seeds; `tick` is called after each study."""
    made, asked = layout(plan), questions(plan)
    found: list[list[Found]] = [[] for _ in asked]
    told: list[tuple[str, str]] = []
    for study in range(studies):
        tables = drawn(made, np.random.default_rng([seed, plan.seeds, study]))
        for place, one in zip(found, answers(plan, tables, study), strict=True):
            place.append(one)
        if plan.double_descent:
            told.append(descent_verdict(plan, tables["evals"]))
        tick()
    shown: dict[str, Any] = {"seeds": plan.seeds, "runs": plan.seeds * len(plan.cells), "studies": studies}
    shown["quantities"] = [summary(question, values) for question, values in zip(asked, found, strict=True)]
    shown["double_descent"] = _verdicts(told) if told else None
    return shown


def _verdicts(told: list[tuple[str, str]]) -> dict[str, Any]:
    """Share of studies with each verdict, and why it could not be told (the commonest reason)."""
    only = [verdict for verdict, _ in told]
    reasons = [why for verdict, why in told if verdict == "cannot_tell"]
    shares = {verdict: _share(only.count(verdict), len(only)) for verdict in ("present", "absent", "cannot_tell")}
    return shares | {"why": max(set(reasons), key=reasons.count) if reasons else ""}


def with_seeds(plan: StudyPlan) -> list[StudyPlan]:
    """The plan with half, its own and double the seeds; half is left out where it is no study of its own."""
    fewest = 2 if plan.double_descent else 1
    counts = sorted({plan.seeds, 2 * plan.seeds} | ({plan.seeds // 2} if plan.seeds // 2 >= fewest else set()))
    return [replace(plan, seeds=count) for count in counts]


def descent_verdict(plan: StudyPlan, evals: "DataFrame") -> tuple[str, str]:
    """present, absent or cannot_tell of final hold-out loss along params, and why; runs that ended early have none."""
    last = evals[evals["images_seen"] == plan.cells[0].images]
    asked = plan.double_descent or {}
    (found,) = verdicts(
        last, x="params", y="holdout_loss", replicate=plan.cluster, log_x=True, window=asked["window"],
        valley=asked["valley"], level=plan.level, draws=SEARCH_DRAWS,
    )  # fmt: skip
    return found["verdict"], found["why"]
