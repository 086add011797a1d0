"""Counts predicted by the law fitted without them: what a drawn curve is worth where it saw nothing."""

import numpy as np

from analysis.fitting.estimate import fit
from analysis.fitting.held_out import levels
from analysis.fitting.predictions import Predictions, predict
from analysis.fitting.result import FitResult, Status
from analysis.fitting.uncertainty import by_run

Array = np.ndarray
MOST_LEFT_OUT = 4  # levels, evenly spaced and both ends among them: 500 runs of four strata take 4 s
FEWEST_CLUSTERS = 3  # that the rest must have
STARTS = 4  # the law's own starts: the fit to all rows has searched with more
DRAWS = 1000  # of new runs


def left_out(result: FitResult, variable: str, cluster: Array, *, seed: int) -> Predictions:
    """Each level of `variable` in turn predicted by the law fitted to all other rows: rates value, lo, hi [n].

    The interval is that of the rate measured in one new run (predictions.predict), cluster [n] the fit's runs. NaN:
    a row whose level was not left out, or without which the law could not be fitted. All NaN where `variable` is none
    of the law's or has two levels: without either its effect is unknown. Raises ValueError on a fit of no counts.
    """
    problem, n = result.problem, len(result.problem.y)
    trials = problem.trials
    if trials is None:
        raise ValueError(f"the fit of {result.law.name} is one of values, not of counts: nothing says what one more is")
    value, lo, hi = np.full((3, n), np.nan)
    outside = np.zeros(n, bool)
    run = np.asarray(cluster).astype(str)
    for out in _folds(result, variable):
        kept = ~out
        if len(np.unique(run[kept])) < FEWEST_CLUSTERS:
            continue
        rest = fit(
            problem.law, {name: x[kept] for name, x in problem.x.items()}, problem.y[kept],
            trials=trials[kept], fixed=dict(problem.fixed), level=result.level, starts=STARTS, seed=seed,
        )  # fmt: skip
        if rest.status != Status.OK:
            continue
        found = predict(
            by_run(rest, run[kept]), {name: x[out] for name, x in problem.x.items()}, trials=trials[out],
            draws=DRAWS, seed=seed,
        )  # fmt: skip
        value[out], lo[out], hi[out], outside[out] = found.value, found.lo, found.hi, found.extrapolated
    return Predictions(value, lo, hi, outside)


def _folds(result: FitResult, variable: str) -> list[Array]:
    """The rows [n] to leave out, a fold each."""
    if result.best is None or variable not in result.law.variables:
        return []
    level = levels(result.problem.x[variable])
    count = int(level.max()) + 1
    if count < 3:
        return []
    chosen = np.linspace(0, count - 1, min(MOST_LEFT_OUT, count)).round().astype(int)
    return [level == k for k in chosen]
