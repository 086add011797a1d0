"""The logistic law of a study's rates in the variables that a claim is about, with intervals by run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.fitting.estimate import fit
from analysis.fitting.result import Estimate, FitResult
from analysis.fitting.uncertainty import by_run
from analysis.laws import law
from analysis.studies.quoted import interval

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


def rate_law(
    frame: "DataFrame", hits: str, trials: str, variables: Mapping[str, Array], *, level: float = 0.95,
    name: str = "logistic",
) -> FitResult:  # fmt: skip
    """logit hits/trials = b_0 + sum b_v ln v over the rows of `frame` [n]; its runs are the clusters.

    `name` may be log_linear: then hits/trials itself is that sum, as papers on language models fit it.
    `variables` may be quotients of columns: in ln(params/n_unique) and ln n_unique, say, the second coefficient is what
    n_unique does beyond the quotient, and an interval that holds 0 says that the quotient decides.
    """
    known = (frame[trials] > 0) & frame[hits].notna()
    y, n = (frame.loc[known, name].to_numpy(float) for name in (hits, trials))
    x = {name: np.asarray(column, float)[known.to_numpy(bool)] for name, column in variables.items()}
    result = fit(law(name, tuple(x)), x, np.minimum(y, n), trials=n, level=level, starts=16)
    return by_run(result, frame.loc[known, "run_id"].to_numpy())


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
