"""The fitted memorization-rate surface of a study: laws in logarithms that compete by held-out error (measures.md 3.5).

A law is chosen by the rows of levels it was not fitted to, never by how well it fits: of those within one standard
error of the best, the one of fewest parameters. What the other laws answer is kept beside the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, ndtri, stdtrit

from analysis.fitting.estimate import fit
from analysis.fitting.problem import LARGEST_CONDITION, condition_number
from analysis.fitting.result import FitResult
from analysis.fitting.search import descend
from analysis.fitting.uncertainty import bootstrap
from analysis.laws import law
from analysis.questions.answer import CannotTell, sentences
from analysis.questions.observations import BESIDE, Observations, level_below_middle, varies
from analysis.rates import betabinom_logpmf
from analysis.words import amount, number, several

Array = np.ndarray
RISING = ("images_seen", "copies", "params")  # in this order: the scale of the exposure law, whose effect is positive
FEWEST_RUNS = 3
OTHERS = 200  # resamplings of a law that was not chosen: its interval stands beside the answer, it is not the answer


@dataclass(frozen=True)
class Competitor:
    """One law of the competition."""

    spec: str
    result: FitResult
    errors: Array  # -ln likelihood of each row [n] under the fit without its level; NaN: not determined
    usable: bool

    @property
    def held_out(self) -> float:
        """The mean error, by which laws are ranked; NaN where a level's rows are not determined without it."""
        return float(np.mean(self.errors))


@dataclass(frozen=True)
class Surface:
    """The laws fitted to one study's counts, of which the first was chosen."""

    observed: Observations
    target: str  # the variable the question is about
    variables: tuple[str, ...]  # of the laws; the target first
    competitors: tuple[Competitor, ...]  # best first
    groups: int  # clusters the bootstrap drew
    held_out_by: str  # in words
    condition: float  # of the design
    notes: tuple[str, ...]

    @property
    def result(self) -> FitResult:
        """The fit of the law chosen."""
        return self.competitors[0].result

    def at(self, given: Mapping[str, float]) -> tuple[dict[str, float], list[str], bool]:
        """The point asked for, variables that got their median, and whether it lies outside the rows fitted.

        The target is in it only where it was given. Raises CannotTell on a variable whose effect is not shown.
        """
        for name, value in given.items():
            if name not in self.variables and not self._constant(name, value):
                raise CannotTell(f"{name} is not a variable of this surface ({self._why_not(name)}): nothing can be "
                                 f"said at {name} {number(value, 6)}")  # fmt: skip
        wanted = [name for name in self.variables if name != self.target or name in given]
        point = {name: float(given.get(name, level_below_middle(self.observed.x[name]))) for name in wanted}
        return point, [name for name in wanted if name not in given], any(self.outside(n, v) for n, v in point.items())

    def outside(self, name: str, value: float) -> bool:
        """Whether the value lies outside the rows fitted."""
        known = self.observed.x[name]
        return bool(value < known.min() * (1 - 1e-9) or value > known.max() * (1 + 1e-9))

    def _constant(self, name: str, value: float) -> bool:
        known = self.observed.x.get(name)
        return known is not None and np.allclose(known, value, rtol=1e-9, atol=0)

    def _why_not(self, name: str) -> str:
        if name not in self.observed.x:
            return "it was not recorded"
        known = self.observed.x[name]
        return f"it is {number(known[0], 6)} in every row" if np.ptp(known) == 0 else "it moves together with others"

    def rows(self) -> list[dict[str, Any]]:
        """The competition, best first."""
        return [
            {"law": c.spec, "formula": c.result.law.formula, "held_out_error": c.held_out,
             "chosen": c is self.competitors[0], "status": str(c.result.status)}
            for c in self.competitors
        ]  # fmt: skip

    def said(self, cluster: str) -> str:
        """What every answer from this surface rests on."""
        fitted, rows = self.result, len(self.observed.hits)
        constant = [name for name in self.observed.x if name not in self.observed.varied]
        fixed = ", ".join(f"{name} {amount(self.observed.x[name][0])}" for name in constant)
        return sentences(
            f"fitted: {fitted.law.formula}, of {several(len(self.competitors), 'law')} chosen by {self.held_out_by}, "
            f"on {several(rows, 'row')} of {several(len(set(self.observed.run)), 'run')} "
            f"({self.observed.response.words}); its variables can be told apart (condition number "
            f"{self.condition:.3g}; "
            f"1: they vary independently, above {LARGEST_CONDITION:g} they could not)",
            f"interval by resampling each {cluster} ({self.groups})",
            f"the same in all these runs, so nothing is known of its effect: {fixed}" if fixed else "",
            "strata of one run compete for its capacity: the answer holds for training sets mixed like these"
            if self.observed.response.table == "strata" else "",
            *self.notes, *self.observed.notes, fitted.message,
        )  # fmt: skip


def surface(
    observed: Observations, target: str, *, level: float, draws: int, seed: int, starts: int = 16, every: bool = True,
    parameter: str = "",
) -> Surface:  # fmt: skip
    """Fit the competing laws and resample them; `every`: also those not chosen; `parameter`: only laws that have it.

    Raises CannotTell, and ValueError where no law has the parameter.
    """
    _refuse_what_has_no_slope(observed)
    variables, notes = usable_variables(observed.x, target)
    groups, by = _held_out_groups(observed, target)
    labels, cluster = observed.cluster
    x = {name: observed.x[name] for name in variables}
    found = []
    laws = [(spec, law(spec, names)) for spec, names in candidates(variables, target)]
    competing = [(spec, one) for spec, one in laws if not parameter or parameter in one.parameters]
    if not competing:
        known = ", ".join(dict.fromkeys(name for _, one in laws for name in one.parameters))
        raise ValueError(f"{parameter} is no parameter of a law of {', '.join(variables)}: they have {known}")
    for spec, chosen in competing:
        result = fit(chosen, x, observed.hits, trials=observed.trials, level=level, seed=seed, starts=starts)
        usable = result.best is not None and result.covariance is not None and result.status == "ok"
        errors = held_out(result, groups) if usable else np.full(len(observed.hits), np.nan)
        found.append(Competitor(spec, result, errors, usable and bool(np.all(np.isfinite(errors)))))
    if not any(one.usable for one in found):
        if any(one.result.status == "ok" for one in found):
            raise CannotTell(
                f"no law can be chosen by {by}: without one of them none is determined; add runs in which the other "
                f"variables differ elsewhere too"
            )
        raise CannotTell(f"no law can be fitted: {found[0].result.message}")
    found = ranked(found, observed.run)
    for k, one in enumerate(found):
        if one.usable and (every or k == 0):
            again = bootstrap(one.result, labels, draws=draws if k == 0 else min(draws, OTHERS), seed=seed)
            found[k] = replace(one, result=again, usable=again.draws is not None)
    if found[0].result.draws is None:
        raise CannotTell(f"too few of {draws} resamplings by {cluster} determine the law {found[0].result.law.formula} "
                         f"({found[0].result.message}): add runs")  # fmt: skip
    return Surface(
        observed, target, variables, tuple(found), len(set(labels)), by,
        condition_number([np.log(x[name]) for name in variables]) if len(variables) > 1 else 1.0, tuple(notes),
    )  # fmt: skip


def _refuse_what_has_no_slope(observed: Observations) -> None:
    """Raises CannotTell on too few runs, and on counts that are all hits or all misses."""
    runs = len(set(observed.run))
    if runs < FEWEST_RUNS:
        raise CannotTell(f"{several(runs, 'run')}: a surface takes at least {FEWEST_RUNS}, and 8 or more to be trusted")
    total = observed.trials.sum()
    if observed.hits.sum() in (0, total):
        what = "not" if observed.hits.sum() == 0 else "every"
        raise CannotTell(
            f"{what} one of {amount(total)} trials is a success: the rate has a limit on one side only and no "
            f"slope; train "
            f"cells that memorize {'more' if what == 'not' else 'less'}"
        )


def usable_variables(x: Mapping[str, Array], target: str) -> tuple[tuple[str, ...], list[str]]:
    """Of x [n]: the target, then what varied and can be told from it; in words what was left out. Raises CannotTell.

    BESIDE keeps nobody from an answer: a target that moves with it alone stands for both, and that is said.
    """
    if target not in x:
        raise CannotTell(f"{target} was not recorded")
    logs = {name: np.log(values) for name, values in x.items() if varies(values)}
    if target not in logs:
        raise CannotTell(
            f"{target} is {number(x[target][0], 6)} in every row: its effect cannot be told; "
            f"train runs where it differs"
        )
    kept, notes = [target], []
    for name in (other for other in logs if other != target):
        condition = condition_number([logs[v] for v in (*kept, name)])
        if condition <= LARGEST_CONDITION:
            kept.append(name)
        elif name not in BESIDE and (
            len(kept) == 1 or condition_number([logs[v] for v in (*kept[1:], name)]) <= LARGEST_CONDITION
        ):
            raise CannotTell(
                f"{target} moves together with {name} (condition number {condition:.3g} > {LARGEST_CONDITION:g}): its "
                f"own effect cannot be told; train runs where they differ"
            )
        else:
            others = ", ".join(kept[1:] if name not in BESIDE else kept)
            notes.append(f"{name} moves together with {others}: it has no term of its own, theirs is both")
    return tuple(kept), notes


def candidates(variables: Sequence[str], target: str) -> list[tuple[str, tuple[str, ...]]]:
    """The laws that compete, as (spec, variables in the law's order)."""
    names = tuple(variables)
    found = [("logistic", names), *((f"logistic:{target}*{other}", names) for other in names if other != target)]
    scale = next((name for name in RISING if name in names), None)
    if scale:
        found.append(("exposure", (scale, *(name for name in names if name != scale))))
    return found


def _held_out_groups(observed: Observations, target: str) -> tuple[Array, str]:
    """What is left out in turn [n]: levels of the target where there are three, else runs."""
    levels, place = np.unique(observed.x[target], return_inverse=True)
    if len(levels) >= 3:
        return place, f"the error on each of {len(levels)} levels of {target} left out"
    place = np.unique(observed.run, return_inverse=True)[1]
    return place, f"the error on each run left out ({target} has only {len(levels)} levels)"


def left_out_fits(result: FitResult, groups: Array) -> tuple[Array, Array]:
    """Minima [g k] without each group in turn, and the rows that stayed [g n]; all searched together."""
    stay = (groups[None, :] != np.unique(groups)[:, None]).astype(float)
    return descend(result.problem, np.tile(result.minimum, (len(stay), 1)), weights=stay).u, stay


def held_out(result: FitResult, groups: Array) -> Array:
    """-ln likelihood of each row [n] under the fit without its group [n]."""
    problem, (u, _) = result.problem, left_out_fits(result, groups)
    place, rows = np.unique(groups, return_inverse=True)[1], np.arange(len(groups))
    f = problem.law.predict(problem.x, problem.natural(u))[place, rows]
    return -betabinom_logpmf(problem.y, problem.counted, f, u[place, -1])


def ranked(found: Sequence[Competitor], run: Array) -> list[Competitor]:
    """Usable laws first, by held-out error, but at the front the one of fewest parameters within one standard error.

    The one-standard-error rule (Breiman et al. 1984): the error of the difference to the best, by run [n].
    """
    usable = sorted((one for one in found if one.usable), key=lambda one: one.held_out)
    if not usable:
        return list(found)
    place = np.unique(run, return_inverse=True)[1]

    def near(one: Competitor) -> bool:
        excess = np.bincount(place, one.errors - usable[0].errors)
        return bool(excess.sum() <= np.sqrt(len(excess) * np.var(excess, ddof=1)))

    chosen = min(filter(near, usable), key=lambda one: (one.result.free, one.held_out))
    return [chosen, *(one for one in usable if one is not chosen), *(one for one in found if not one.usable)]


def stretched(best: Array, drawn: Array, level: float, groups: int, free: int) -> tuple[Array, Array]:
    """Ends of the expanded percentile interval (Hesterberg 2015) of a quantity: best [...], draws [b ...]."""
    tail = (1 - level) / 2
    factor = stdtrit(max(groups - free, 1), 1 - tail) / ndtri(1 - tail) * np.sqrt(groups / (groups - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return best - factor * np.maximum(best - low, 0), best + factor * np.maximum(high - best, 0)


def logit_at(result: FitResult, point: Mapping[str, float] | Mapping[str, Array]) -> tuple[Array, Array]:
    """logit f at points [r]: of the fit [r] and of each bootstrap draw [b r]."""
    x = {name: np.atleast_1d(np.asarray(point[name], float)) for name in result.law.variables}
    problem = result.problem
    with np.errstate(all="ignore"):
        both = [problem.law.raw(x, problem.natural(u)) for u in (result.minimum[None], result.drawn)]
    return np.nan_to_num(both[0][0], posinf=700.0, neginf=-700.0), np.nan_to_num(both[1], posinf=700.0, neginf=-700.0)


def straight(result: FitResult, logit_f: Array | float) -> Array:
    """logit f [...] on the scale on which the law is nearly straight in logarithms, where intervals may be stretched.

    The exposure law: ln(-ln(1 - f)), since its logit grows exponentially above f = 1/2. The logistic law: logit f.
    """
    logit_f = np.asarray(logit_f, float)
    if result.law.name != "exposure":
        return logit_f
    # ln(ln(1 + e^x)) = x - e^x/2 + …: below -36 equal to x in double precision, where e^x may be 0.
    return np.where(logit_f < -36, logit_f, np.log(np.logaddexp(0.0, np.maximum(logit_f, -36))))


def rate_of(result: FitResult, value: Array) -> Array:
    """The rates of values [...] on the scale of `straight`."""
    return -np.expm1(-np.exp(np.minimum(value, 700.0))) if result.law.name == "exposure" else expit(value)
