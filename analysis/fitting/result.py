"""What a fit says: parameters with standard errors and ends, a status, a sentence; or that it cannot tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite
from typing import Any

import numpy as np

from analysis.fitting.problem import Problem
from analysis.laws import Law

Array = np.ndarray


class Status(StrEnum):
    """ok: a minimum inside the bounds and every interval closed. Else `message` says what the data lack."""

    OK, AT_BOUND, NOT_IDENTIFIABLE, FAILED = "ok", "at_bound", "not_identifiable", "failed"


@dataclass(frozen=True)
class Estimate:
    """One parameter. None: not known; an end that is None has no limit inside the parameter's bounds."""

    value: float | None
    se: float | None = None
    lo: float | None = None
    hi: float | None = None
    identifiable: bool = False


@dataclass(frozen=True)
class FitResult:
    """A law fitted to a problem; where nothing was fitted, objective and best are None and `message` says why."""

    problem: Problem = field(repr=False)
    level: float
    n: int
    objective: float | None
    params: Mapping[str, Estimate]
    status: Status
    message: str
    tried: int = 0
    reached_best: int = 0
    overdispersion: float | None = None
    best: Array | None = field(default=None, repr=False)  # search coordinates [k], nuisance last
    covariance: Array | None = field(default=None, repr=False)  # of `best` [k k]; 0 for what is fixed or at a bound
    draws: Array | None = field(default=None, repr=False)  # bootstrap draws of `best` [b k]
    bootstrap: Mapping[str, int | None] = field(default_factory=lambda: {"draws": 0, "failed": 0, "seed": None})

    @property
    def minimum(self) -> Array:
        """`best` [k] of a fit that has one; raises ValueError where nothing was fitted."""
        if self.best is None:
            raise ValueError(f"no fit of {self.law.name}: {self.message}")
        return self.best

    @property
    def lowest(self) -> float:
        """The objective at `minimum`; raises ValueError where nothing was fitted."""
        if self.objective is None:
            raise ValueError(f"no fit of {self.law.name}: {self.message}")
        return self.objective

    @property
    def drawn(self) -> Array:
        """`draws` [b k] of a fit after `bootstrap`; raises ValueError where there are none."""
        if self.draws is None:
            raise ValueError(f"the fit of {self.law.name} has no bootstrap draws: {self.message}")
        return self.draws

    @property
    def law(self) -> Law:
        """The problem's."""
        return self.problem.law

    @property
    def free(self) -> int:
        """Number of free parameters of the law."""
        return int(np.sum(self.problem.free[: len(self.problem.names)]))

    def predict(self, x: Mapping[str, Array]) -> Array:
        """The fitted law (a rate for rate laws) at x [r] -> [r]; NaN where nothing was fitted."""
        if self.best is None:
            return np.full(len(next(iter(x.values()))), np.nan)
        return self.law.predict(x, self.problem.natural(self.best))

    def as_json(self) -> dict[str, Any]:
        """The answer of analysis.fit (design.md 6) but for holdout and predictions."""
        kind: dict[str, Any] = {"kind": self.problem.objective.kind, "value": self.objective}
        if self.problem.objective.nuisance:
            kind["overdispersion"] = self.overdispersion
        return {
            "law": self.law.name,
            "formula": self.law.formula,
            "n": self.n,
            "level": self.level,
            "objective": kind,
            "params": {
                name: {part: _known(value) for part, value in vars(estimate).items()}
                for name, estimate in self.params.items()
            },
            "status": str(self.status),
            "message": self.message,
            "starts": {"tried": self.tried, "reached_best": self.reached_best},
            "bootstrap": dict(self.bootstrap),
        }


def _known(value: object) -> object:
    """None for a number that is none: clusters that balance exactly have no standard error."""
    return None if isinstance(value, float) and not isfinite(value) else value


def with_intervals(result: FitResult, lo: Array, hi: Array, se: Array, note: str) -> FitResult:
    """The same fit with other ends [k] (natural units), as from a bootstrap; ends outside the bounds become None."""
    params = {}
    for k, (name, old) in enumerate(result.params.items()):
        if name in result.problem.fixed:
            params[name] = old
            continue
        low, high = result.law.bounds[name]
        below, above = (float(e) if low < e < high else None for e in (lo[k], hi[k]))
        known = below is not None and above is not None and old.identifiable
        params[name] = Estimate(old.value, float(se[k]), below, above, identifiable=known)
    return replace(result, params=params, message="; ".join(part for part in (result.message, note) if part))
