"""The logistic law of a study's rates in the variables that a claim is about, with intervals by run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.fitting.estimate import fit
from analysis.fitting.result import Estimate, FitResult
from analysis.fitting.uncertainty import by_run
from analysis.laws import law
from analysis.registered import Over, log_linear
from analysis.studies.quoted import interval

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


def rate_law(
    frame: "DataFrame", hits: str, trials: str, variables: Mapping[str, Array], *, level: float = 0.95
) -> FitResult:
    """logit hits/trials = b_0 + sum b_v ln v over the rows of `frame` [n]; its runs are the clusters.

    `variables` may be quotients of columns: in ln(params/n_unique) and ln n_unique, say, the second coefficient is what
    n_unique does beyond the quotient, and an interval that holds 0 says that the quotient decides.
    """
    y, n, x, run = _known(frame, hits, trials, variables)
    return by_run(fit(law("logistic", tuple(x)), x, np.minimum(y, n), trials=n, level=level, starts=16), run)


def straight_line(
    frame: "DataFrame", hits: str, trials: str, variables: Mapping[str, Array], *, level: float = 0.95
) -> FitResult:
    """hits/trials = a + sum b_v ln v by least squares, as Carlini et al. 2022 (arXiv 2202.07646) fit it, by run."""
    y, n, x, run = _known(frame, hits, trials, variables)
    return by_run(fit(law("log_linear", tuple(x)), x, y / n, level=level), run)


def _known(
    frame: "DataFrame", hits: str, trials: str, variables: Mapping[str, Array]
) -> tuple[Array, Array, dict[str, Array], Array]:
    """Hits, trials, variables and runs of the rows that have counts."""
    known = ((frame[trials] > 0) & frame[hits].notna()).to_numpy(bool)
    y, n = (frame[name].to_numpy(float)[known] for name in (hits, trials))
    x = {name: np.asarray(column, float)[known] for name, column in variables.items()}
    return y, n, x, frame["run_id"].to_numpy()[known]


def missed(frame: "DataFrame", hits: str, trials: str, names: Sequence[str], held_out: str) -> dict[str, str]:
    """How far the rates of each value of `held_out` lie from what the others predict, by a logistic and a straight law.

    Both laws are in the logarithms of the columns `names`; the straight line is cut to [0, 1]. `missed_logistic` and
    `missed_straight` are root mean squared errors, `missed_worse` is the straight line's mean squared error minus the
    other: above 0 the logistic law predicts better. Intervals of 95 % over runs.
    """
    y, n, x, run = _known(frame, hits, trials, {name: frame[name].to_numpy(float) for name in names})
    level, squares = x[held_out], np.empty((2, len(y)))
    for value in np.unique(level):
        rest, out = level != value, level == value
        old, new = ({name: column[rows] for name, column in x.items()} for rows in (rest, out))
        logistic = fit(law("logistic", tuple(x)), old, y[rest], trials=n[rest], starts=16).predict(new)
        squares[:, out] = (np.stack([logistic, log_linear(old, y[rest] / n[rest], new)]) - (y / n)[out]) ** 2
    over, (bent, straight) = Over(run, seed=0), squares
    found = {"logistic": over.root(bent), "straight": over.root(straight),
             "worse": over.mean(straight - bent, np.ones(len(y), bool))}  # fmt: skip
    return {f"missed_{name}": interval(one["value"], one["lo"], one["hi"]) for name, one in found.items()}


def slope(result: FitResult, name: str) -> Estimate:
    """b_NAME of the law."""
    return result.params[f"b_{name}"]


def value_of(result: FitResult, parameter: str) -> float:
    """The parameter's value; raises ValueError where the law has none."""
    value = result.params[parameter].value
    if value is None:
        raise ValueError(f"{parameter} of {result.law.formula} is not known: {result.message or result.status}")
    return value


def slopes(result: FitResult, prefix: str) -> dict[str, str]:
    """PREFIX_NAME -> `1.7 (1.6 to 1.8)` for every variable of the law."""
    found = {}
    for name in result.law.variables:
        one = slope(result, name)
        found[f"{prefix}_{name}"] = interval(one.value, one.lo, one.hi)
    return found
