"""Where the fitted surface crosses a rate: at most how many copies, how many unique images, which size.

The interval holds every x whose band of the mean rate contains the rate asked for (as Fieller 1954 for a ratio): where
the slope may be zero it would be endless, and then the question is not answerable. A user may also ask for more than
the mean: the x at which the share NEW_RUNS of new runs, with a run's luck, stays below the rate.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logit, ndtri

from analysis.fitting.result import FitResult
from analysis.questions.answer import Answer, CannotTell, not_answerable, sentences
from analysis.questions.luck import attenuation, run_luck
from analysis.questions.observations import check_point, named, observations
from analysis.questions.surface import Competitor, Surface, logit_at, straight, stretched, surface
from analysis.table import Tables
from analysis.words import amount, safe_whole

Array = np.ndarray
NEW_RUNS = 0.9
EMPTY = {"value": None, "lo": None, "hi": None}
REACH = 40.0  # in ln x beyond the data: a crossing farther away than e^40 is none


class Inverse(NamedTuple):
    """A question solved for one variable: what it is asked of, and the sentences of its answer."""

    variable: str
    response: str
    rising: bool  # f must rise with the variable for the question to make sense
    least: float  # no training set or network below it
    unit: str
    limit: str  # the crossing as a sentence, {0} the whole number, {1} the rate
    below_least: str


INVERSES = {
    "max_copies": Inverse("copies", "stratum", True, 1, "copies", "at most {0} copies keep the mean rate below {1}",
                          "already at one copy the mean rate is above it"),
    "min_unique": Inverse("n_unique", "cell", False, 2, "unique images",
                          "from {0} unique images on the mean rate is below {1}",
                          "at any number of unique images the mean rate is below it"),
    "max_params": Inverse("params", "cell", True, 1, "parameters",
                          "up to {0} parameters the mean rate is below {1}",
                          "at any size the mean rate is above it"),
}  # fmt: skip


def max_copies(tables: Tables, **asked: Any) -> Answer:
    """At most how many copies so that f < rate."""
    return crossing_answer(tables, "max_copies", **asked)


def min_unique(tables: Tables, **asked: Any) -> Answer:
    """How many unique images so that f < rate."""
    return crossing_answer(tables, "min_unique", **asked)


def max_params(tables: Tables, **asked: Any) -> Answer:
    """Up to which size f < rate."""
    return crossing_answer(tables, "max_params", **asked)


def crossing_answer(
    tables: Tables, question: str, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int,
    response: str | None = None, evaluation: str = "last",
) -> Answer:  # fmt: skip
    """The answer to one of INVERSES; raises ValueError on arguments that mean nothing."""
    asked = INVERSES[question]
    if not 0 < rate < 1:
        raise ValueError(f"--rate {rate:g}: a rate lies between 0 and 1, .01 is usual")
    if asked.variable in at:
        raise ValueError(f"--at {asked.variable}: {question} asks for it; give the other variables, or ask predict")
    check_point(at)
    rows: list[dict[str, Any]] = []
    try:
        observed = observations(tables, response or asked.response, evaluation)
        found = surface(observed, asked.variable, level=level, draws=draws, seed=seed)
        rows = found.rows()
        point, medians, outside = found.at(at)
        centre = float(np.mean(np.log(observed.x[asked.variable])))
        crossing = Crossing(found, asked.variable, point, centre)
        crossing.check_direction(asked.rising, level)
        value, lo, hi = crossing.interval(found.result, rate, level)
    except CannotTell as reason:
        return not_answerable(question, str(reason), level=level, unit=asked.unit, rows=rows)
    rows = [_other_law(row, one, crossing, rate, level) for row, one in zip(rows, found.competitors, strict=True)]
    rows.append(crossing.new_run_row(rate, level, seed))
    where = f"at {named(point, medians)}" if point else ""
    rest = sentences(where, found.said(observed.cluster[1]), _spread(rows))
    if value < asked.least:
        why = (f"{asked.below_least} ({where + ', ' if where else ''}the law crosses {100 * rate:g} % at "
               f"{amount(value)} "
               f"{asked.unit}, {100 * level:g} % interval {amount(lo)} to {amount(hi)})")  # fmt: skip
        return not_answerable(question, sentences(why, rest), level=level, unit=asked.unit, rows=rows)
    beyond = found.outside(asked.variable, value)
    known = observed.x[asked.variable]
    why = sentences(
        asked.limit.format(safe_whole(value, at_most=asked.rising), f"{100 * rate:g} %")
        + f" ({100 * level:g} % interval {amount(lo)} to {amount(hi)})",
        f"the lower end lies below {asked.least:g}: {asked.below_least} is not ruled out"
        if lo is not None and lo < asked.least else "",
        f"extrapolated: the runs have {asked.variable} {amount(known.min())} to "
        f"{amount(known.max())}" if beyond else "",
        "extrapolated: --at lies outside the runs" if outside else "",
        _never(observed.hits / observed.trials, rate), rest,
    )  # fmt: skip
    return Answer(question, True, value, lo, hi, level, asked.unit, beyond or outside, why, rows)


class Crossing:
    """f along ln x of one variable, the others held at `point`, for the laws of a surface, on each law's own scale."""

    def __init__(self, found: Surface, variable: str, point: Mapping[str, float], centre: float) -> None:
        self.found, self.variable, self.point, self.centre = found, variable, dict(point), centre

    def curve(self, result: FitResult, log_x: float | Array) -> tuple[Array, Array]:
        """f at ln x [r] on the scale of `straight`: of the fit [r], of the draws [b r]."""
        log_x = np.atleast_1d(np.asarray(log_x, float))
        fixed = {name: np.full(log_x.shape, value) for name, value in self.point.items()}
        best, drawn = logit_at(result, {**fixed, self.variable: np.exp(log_x)})
        return straight(result, best), straight(result, drawn)

    def slope(self, level: float) -> tuple[float, float, float]:
        """Change of f (on the law's scale) per unit of ln x in the middle of the data, with its interval."""
        result = self.found.result
        best, drawn = self.curve(result, np.array([self.centre - 0.5, self.centre + 0.5]))
        lo, hi = stretched(best[1] - best[0], drawn[:, 1] - drawn[:, 0], level, self.found.groups, result.free)
        return float(best[1] - best[0]), float(lo), float(hi)

    def check_direction(self, rising: bool, level: float) -> None:
        """Raises CannotTell where f does not surely rise (fall) along the variable."""
        slope, lo, hi = self.slope(level)
        scale = "ln(-ln(1 - f))" if self.found.result.law.name == "exposure" else "logit f"
        said = (f"{scale} changes by {slope:.3g} ({100 * level:g} % interval {lo:.3g} to {hi:.3g}) per unit of "
                f"ln {self.variable}")  # fmt: skip
        if lo <= 0 <= hi:
            raise CannotTell(f"{said}: no effect is not ruled out, so the crossing may lie anywhere; add levels of "
                             f"{self.variable} or runs")  # fmt: skip
        if (slope > 0) != rising:
            bound = "upper" if rising else "lower"
            raise CannotTell(f"{said}: f {'falls' if rising else 'rises'} with {self.variable}, so there is no {bound} "
                             f"limit on it")  # fmt: skip

    def interval(
        self, result: FitResult, rate: float, level: float, aim: tuple[float, Array] | None = None
    ) -> tuple[float, float | None, float | None]:
        """x where logit f meets that of `rate`, and its interval; raises CannotTell where the law never does.

        `aim`: another logit to meet, for the fit and for each draw [b] (that of a rate which a run's luck may reach).
        """
        goal, goals = aim or (logit(rate), np.full(len(result.drawn), logit(rate)))
        goal, goals = straight(result, goal), straight(result, goals)

        def margin(log_x: float) -> float:
            return float(self.curve(result, log_x)[0][0] - goal)

        def band(log_x: float, side: int) -> float:
            best, drawn = self.curve(result, log_x)
            ends = stretched(best[0] - goal, drawn[:, 0] - goals, level, self.found.groups, result.free)
            return float(ends[side])

        middle = _root(margin, self.centre - REACH, self.centre + REACH)
        if middle is None:
            raise CannotTell(f"{result.law.formula} does not reach the rate {100 * rate:g} % at any {self.variable}")
        rising = margin(middle + 0.5) > margin(middle - 0.5)
        lo = _root(lambda v: band(v, 1 if rising else 0), middle - REACH, middle)
        hi = _root(lambda v: band(v, 0 if rising else 1), middle, middle + REACH)
        below, above = (None if end is None else float(np.exp(end)) for end in (lo, hi))
        return float(np.exp(middle)), below, above

    def new_run_row(self, rate: float, level: float, seed: int) -> dict[str, Any]:
        """The answer for single runs instead of their mean: luck of run added to logit f."""
        result = self.found.result
        luck = run_luck(result, self.found.observed.run)
        row = {"for": f"{NEW_RUNS:.0%} of new runs below the rate", "luck_sd": luck.sd, **EMPTY}
        if not luck.freedom:
            return row
        sds = np.append(luck.sd, luck.draws(len(result.drawn), np.random.default_rng(seed)))
        goals = (logit(rate) - ndtri(NEW_RUNS) * sds) / attenuation(sds)
        try:
            ends = self.interval(result, rate, level, (float(goals[0]), goals[1:]))
        except CannotTell:  # so unlucky runs are beyond the law's reach
            return row
        return {**row, **dict(zip(EMPTY, ends, strict=True))}


def _root(function: Callable[[float], float], low: float, high: float) -> float | None:
    """Where the function changes its sign between low and high; None where it does not."""
    if np.sign(function(low)) * np.sign(function(high)) > 0:
        return None
    from scipy.optimize import brentq  # half of this package's import time

    return float(brentq(function, low, high, xtol=1e-10))


def _other_law(row: dict[str, Any], one: Competitor, crossing: Crossing, rate: float, level: float) -> dict[str, Any]:
    """A row of the competition with what this law answers; empty where it has no answer."""
    if not one.usable:
        return {**row, **EMPTY}
    try:
        return {**row, **dict(zip(EMPTY, crossing.interval(one.result, rate, level), strict=True))}
    except CannotTell:  # this law never reaches the rate
        return {**row, **EMPTY}


def _spread(rows: list[dict[str, Any]]) -> str:
    values = [row["value"] for row in rows if "law" in row and row["value"] is not None]
    return f"the competing laws answer {amount(min(values))} to {amount(max(values))}" if len(values) > 1 else ""


def _never(rates: Array, rate: float) -> str:
    if np.all(rates <= rate):
        return "no row measured is above the rate"
    return "no row measured is below the rate" if np.all(rates >= rate) else ""
