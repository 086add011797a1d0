"""What a fit is asked: a law, an objective and complete rows, with value and derivatives in search coordinates.

Search coordinates u hold the law's parameters (logarithms where the law says so), then the objective's nuisance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from analysis.columns import check_magnitude
from analysis.fitting.objectives import OVERDISPERSION, Objective, Terms, objective
from analysis.laws import Law
from analysis.rates import checked_counts

Array = np.ndarray
FIRST_OVERDISPERSION = 0.02
LOG_RANGE = 690.0  # exp of more leaves the floating-point range
BLOCK = 2**16  # numbers of a derivative evaluated at once: half a megabyte stays in a core's own cache
LARGEST_CONDITION = 30.0  # of the design in logarithms, columns centred and scaled (measures.md 3.5)


@dataclass(frozen=True)
class Problem:
    """A law, an objective and clean data (no missing values): what is searched."""

    law: Law
    objective: Objective
    x: Mapping[str, Array]  # variables [n]
    y: Array  # [n]; successes for binomial
    trials: Array | None = None
    fixed: Mapping[str, float] = field(default_factory=dict)

    @property
    def counted(self) -> Array:
        """The trials [n] of objective `binomial`; raises ValueError where nothing was counted."""
        if self.trials is None:
            raise ValueError(f"objective {self.objective.kind} has no trials")
        return self.trials

    @property
    def names(self) -> tuple[str, ...]:
        """The law's parameters, in order; the nuisance has no name."""
        return self.law.parameters

    @cached_property
    def free(self) -> Array:
        """Which coordinates a search may move [k]."""
        names = np.array([name not in self.fixed for name in self.names])
        return np.append(names, True) if self.objective.nuisance else names

    @cached_property
    def limits(self) -> tuple[Array, Array]:
        """Bounds in search coordinates: lower [k], upper [k]."""
        lo, hi = np.array([self.law.bounds[name] for name in self.names], float).T
        log = self._log
        with np.errstate(divide="ignore"):
            lo = np.where(log, np.maximum(np.log(np.where(log, lo, 1)), -LOG_RANGE), lo)
            hi = np.where(log, np.minimum(np.log(np.where(log, hi, 1)), LOG_RANGE), hi)
        if self.objective.nuisance:
            lo, hi = np.append(lo, OVERDISPERSION[0]), np.append(hi, OVERDISPERSION[1])
        return lo, hi

    @cached_property
    def _log(self) -> Array:
        return np.array([name in self.law.log for name in self.names])

    def natural(self, u: Array) -> Array:
        """The law's parameters theta [... k] of search coordinates u."""
        u = u[..., : len(self.names)]
        return np.where(self._log, np.exp(np.where(self._log, u, 0)), u)

    def coordinates(self, theta: Array) -> Array:
        """Search coordinates of the law's parameters [... k], the nuisance at its first value."""
        with np.errstate(divide="ignore"):
            u = np.where(self._log, np.log(np.where(self._log, theta, 1)), theta)
        if self.objective.nuisance:
            u = np.concatenate([u, np.full((*u.shape[:-1], 1), FIRST_OVERDISPERSION)], axis=-1)
        return np.clip(u, *self.limits)

    def evaluate(self, u: Array, weights: Array | None = None) -> "Slope":
        """Value [m], gradient [m k], Hessian and a positive stand-in for it [m k k] at u [m k], weights [m n]."""
        size = max(BLOCK // max(len(self.y) * len(self.names), 1), 1)
        blocks = [slice(start, start + size) for start in range(0, max(len(u), 1), size)]
        found = [self._evaluate(u[block], None if weights is None else weights[block]) for block in blocks]
        return found[0] if len(found) == 1 else Slope(*map(np.concatenate, zip(*found, strict=True)))

    @cached_property
    def _settings(self) -> "Alike":
        """Rows of equal x: the law is worked out once for all of them."""
        return alike([self.x[name] for name in self.law.variables])

    @cached_property
    def _outcomes(self) -> "Alike":
        """Rows of equal x, successes and trials: so is what the objective makes of them."""
        return alike([self._settings.place, self.y, self.counted])

    def _evaluate(self, u: Array, w: Array | None) -> "Slope":
        theta, count, (first, place) = self.natural(u), len(self.names), self._settings
        arguments = [self.x[name][first] for name in self.law.variables] + [theta[:, k : k + 1] for k in range(count)]
        with np.errstate(all="ignore"):  # what overflows is refused by its value
            m, stretch = self._on_scale(self.law.function(*arguments))
            jacobian = np.empty((len(u), count, len(self.y)))  # rows last: sums over them run along memory
            for k, part in enumerate(self.law.gradient(*arguments)):
                jacobian[:, k] = np.take(part, place, axis=-1) if np.ndim(part) else part
            if self._log.any():
                jacobian *= np.where(self._log, theta, 1.0)[:, :, None]
            if stretch is not None:
                jacobian *= np.take(stretch, place, axis=1)[:, None, :]
            terms = self._terms(m, u[:, count:])
            if w is not None:
                nuisance = terms.nuisance and tuple(w * part for part in terms.nuisance)
                # The stand-in may be the curvature itself: then it is weighted, and summed, once.
                second = w * terms.second
                majorant = second if terms.majorant is terms.second else w * terms.majorant
                terms = Terms(w * terms.value, w * terms.first, second, majorant, nuisance)
            value = terms.value.sum(axis=1)
            gradient = (jacobian @ terms.first[:, :, None])[:, :, 0]
            rows = jacobian.transpose(0, 2, 1)
            hessian = (jacobian * terms.second[:, None, :]) @ rows
            lean = hessian if terms.majorant is terms.second else (jacobian * terms.majorant[:, None, :]) @ rows
            if terms.nuisance is not None:
                first, mixed, second = terms.nuisance
                gradient = np.concatenate([gradient, first.sum(1)[:, None]], axis=1)
                side, corner = jacobian @ mixed[:, :, None], second.sum(1)[:, None, None]
                hessian = np.block([[hessian, side], [side.transpose(0, 2, 1), corner]])
                lean = np.block([[lean, 0 * side], [0 * side.transpose(0, 2, 1), np.abs(corner)]])
        return Slope(np.where(np.isfinite(value), value, np.inf), gradient, hessian, lean)

    def _terms(self, m: Array, nuisance: Array) -> Terms:
        """The objective's terms of every row, of the law on its scale at the settings [m g]."""
        if not self.objective.nuisance:
            return self.objective.terms(np.take(m, self._settings.place, axis=1), self.y, self.trials, None)
        (rows, place), of = self._outcomes, self._settings.place
        found = self.objective.terms(m, self.y[rows], self.counted[rows], nuisance, of[rows])
        value, first, second, majorant = (np.take(part, place, axis=1) for part in found[:4])
        in_c, in_cm, in_cc = (np.take(part, place, axis=1) for part in found.nuisance or ())
        return Terms(value, first, second, majorant, (in_c, in_cm, in_cc))

    def residuals(self, u: Array) -> Array:
        """Observed minus fitted on the objective's scale [n] (on the rate itself for binomial); u [k]."""
        fitted = self.law.predict(self.x, self.natural(u))
        if self.objective.scale == "log":
            return np.log(self.y) - np.log(fitted)
        return (self.y / self.trials if self.trials is not None else self.y) - fitted

    @property
    def design(self) -> Array:
        """The law's design matrix [n k]; raises ValueError where it is not linear in its parameters."""
        if self.law.design is None:
            raise ValueError(f"law {self.law.name} is not linear in its parameters: it has no design matrix")
        return self.law.design(*(self.x[name] for name in self.law.variables))

    @property
    def magnitude(self) -> float:
        """Sum of squares of the data on the fitted scale: an objective below 1e-24 of it is rounding."""
        y = np.log(self.y) if self.objective.scale == "log" else self.y
        return float(np.sum(y**2)) if self.objective.kind != "binomial" else 0.0

    def _on_scale(self, raw: Array) -> tuple[Array, Array | None]:
        """The law on the objective's scale, and the derivative of that in the law's own scale (None: 1)."""
        scale = self.objective.scale
        if scale == "logit":
            return (raw, None) if self.law.rate else (logit(raw), 1 / (raw * (1 - raw)))
        y, slope = (expit(raw), expit(raw) * expit(-raw)) if self.law.rate else (raw, None)
        return (np.log(y), (1 if slope is None else slope) / y) if scale == "log" else (y, slope)


class Alike(NamedTuple):
    """Rows that are equal: the first of each kind [g], and the kind of every row [n]."""

    first: Array
    place: Array


def alike(columns: Sequence[Array]) -> Alike:
    """Of rows [n] told apart by these columns."""
    _, first, place = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return Alike(first, place.ravel())


class Slope(NamedTuple):
    """An objective at points u [m k]; its value is inf where it overflows."""

    value: Array  # [m]
    gradient: Array  # [m k]
    hessian: Array  # [m k k]
    lean: Array  # [m k k] positive, so that a step may lean on it where the Hessian is not


def cleaned(
    law: Law, x: Mapping[str, Array], y: Array, trials: Array | None, loss: str, fixed: Mapping[str, float]
) -> tuple[Problem, list[str]]:
    """The problem on the complete rows of x, y, trials [n], and what was noticed; ValueError if it cannot be fitted."""
    chosen = objective(loss)
    missing = [name for name in law.variables if name not in x]
    unknown = [name for name in fixed if name not in law.parameters]
    if missing or unknown:
        wanted = f"needs the variables {', '.join(law.variables)}" if missing else f"has {', '.join(law.parameters)}"
        raise ValueError(f"law {law.name} {wanted}, not {', '.join(missing or unknown)}")
    for name, value in fixed.items():
        lo, hi = law.bounds[name]
        if not lo <= value <= hi or not np.isfinite(value) or (value == lo and name in law.log):
            raise ValueError(f"fixed {name}={value:g} is outside its bounds {lo:g} to {hi:g} in {law.formula}")
    if chosen.kind == "binomial" and trials is None:
        raise ValueError("loss binomial needs trials beside the successes: give --trials COLUMN")
    if chosen.kind != "binomial" and trials is not None:
        y = np.asarray(y, float) / checked_counts(y, trials)[1]
    columns = {name: np.asarray(x[name], float) for name in law.variables}
    columns["y"] = np.asarray(y, float)
    if chosen.kind == "binomial" and trials is not None:
        columns["y"], columns["trials"] = checked_counts(y, trials, "y and trials")
    notes: list[str] = []
    whole = np.all([~np.isnan(column) for column in columns.values()], axis=0)
    if not whole.all():
        notes.append(f"{int(np.sum(~whole))} of {whole.size} rows lack a value and were left out")
    _check_domain(law, columns, whole, chosen.scale)
    broken = np.flatnonzero(whole & (columns["y"] % 1 != 0))
    if chosen.kind == "binomial" and len(broken):
        raise ValueError(
            f"y: row {broken[0]} holds {columns['y'][broken[0]]:g} successes, which is no whole number: "
            f"give counts, not rates"
        )
    columns = {name: column[whole] for name, column in columns.items()}
    if len(columns["y"]) > 1 and chosen.kind != "binomial" and np.ptp(columns["y"]) == 0:
        notes.append(f"y is constant ({columns['y'][0]:g}): there is nothing to explain")
    variables = {name: columns[name] for name in law.variables}
    return Problem(law, chosen, variables, columns["y"], columns.get("trials"), dict(fixed)), notes


def _check_domain(law: Law, columns: Mapping[str, Array], whole: Array, scale: str) -> None:
    """Raises ValueError on what is infinite or too large or small to be squared, on x outside the law's domain and on
    y <= 0 under a log.
    """
    lo, hi = law.domain
    for name, column in columns.items():
        infinite = np.flatnonzero(np.isinf(column) & whole)
        if infinite.size:
            raise ValueError(f"{name}: row {infinite[0]} is infinite: correct or filter it")
        low, high = (lo, hi) if name in law.variables else (0.0 if name == "y" and scale == "log" else -np.inf, np.inf)
        outside = np.flatnonzero(((column <= low) | (column >= high)) & whole)
        if outside.size:
            taker = law.name if name in law.variables else "the loss"
            why = f"{taker} takes its logarithm, which needs" if low == 0 and high == np.inf else f"{taker} needs"
            between = f"values > {low:g}" + (f" and < {high:g}" if high < np.inf else "")
            remedy = "filter with --where" + (" or use another loss" if name == "y" else "")
            raise ValueError(f"{name}: row {outside[0]} is {column[outside[0]]:g}; {why} {between}: {remedy}")
        # A small y counts only beside larger ones; every x is taken to powers.
        check_magnitude(column[whole], name, each=name in law.variables)


def condition_number(columns: Sequence[Array]) -> float:
    """Of a design with these columns [n], each centred and scaled: 1 orthogonal, inf constant or moving together."""
    columns = [c - np.mean(c) for c in columns]
    spread = [np.std(c) for c in columns]
    if min(spread) <= 1e-12 * (1 + max(np.max(np.abs(c)) for c in columns)):
        return np.inf
    values = np.linalg.svd(np.stack([c / s for c, s in zip(columns, spread, strict=True)], axis=1), compute_uv=False)
    return float(values[0] / values[-1]) if len(values) == len(columns) and values[-1] > 0 else np.inf


def collinearity(problem: Problem) -> str:
    """What is wrong with the variables as a design (constant, moving together), or an empty string."""
    logs = {name: np.log(problem.x[name]) for name in problem.law.variables}
    used = {name: column for name, column in logs.items() if not {f"b_{name}", f"a_{name}"} & set(problem.fixed)}
    flat = [name for name, column in used.items() if np.ptp(column) <= 1e-12 * (1 + abs(column[0]))]
    needed = len(problem.names) - len(problem.fixed)
    if flat and needed > 1:
        return f"{', '.join(flat)} is constant: its effect cannot be told; leave it out or add rows where it differs"
    if len(used) < 2:
        return ""
    condition = condition_number(list(used.values()))
    if condition > LARGEST_CONDITION:
        return (
            f"{', '.join(used)} move together (condition number {condition:.3g} > {LARGEST_CONDITION:g}): "
            f"their effects cannot be told apart; leave one out, fix one, or add rows where they differ"
        )
    return ""
