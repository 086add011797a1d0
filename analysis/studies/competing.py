"""Which law of study 1 predicts what it was not fitted to: levels of every variable left out, runs as clusters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.compare import Row, compared
from analysis.fitting.held_out import Score
from analysis.formulas.law import Law
from analysis.laws import law
from analysis.studies.quoted import count, interval, number, table

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
QUOTIENTS = ("params_per_unique", "exposures", "images_seen")
# A short name -> what a reader calls the law, the register's law, and its variables.
RIVALS = {
    "quotients": ("parameters per image, exposures, time", "logistic", QUOTIENTS),
    "no_time": ("parameters per image, exposures", "logistic", QUOTIENTS[:2]),
    "five": ("parameters, images, copies, training set, time", "logistic",
             ("params", "n_unique", "copies", "n_train", "images_seen")),
    "three": ("parameters, images, exposures", "logistic", ("params", "n_unique", "exposures")),
    "no_images": ("parameters, exposures, time: whatever the images", "logistic",
                  ("params", "exposures", "images_seen")),
    "no_size": ("images, exposures, time: whatever the size", "logistic", ("n_unique", "exposures", "images_seen")),
    "no_copies": ("parameters, images, time: whatever the copies", "logistic", ("params", "n_unique", "images_seen")),
    "exposure": ("the exposure law of parameters per image, exposures, time", "exposure",
                 ("exposures", "params_per_unique", "images_seen")),
}  # fmt: skip


def competing(rows: "DataFrame", hits: str, trials: str, key: str) -> dict[str, str]:
    """The table of the rivals whose columns `rows` has, best first by levels left out, and the lag of each.

    Hits above trials (more than the ceiling) count as trials. A law whose predicted density of some held-out count is 0
    is called impossible.
    """
    known = rows[(rows[trials] > 0) & rows[hits].notna()]
    known = known.assign(params_per_unique=known["params"] / known["n_unique"])
    laws: Mapping[str, Law] = {
        short: law(name, variables) for short, (_, name, variables) in RIVALS.items() if set(variables) <= set(known)
    }
    wanted = dict.fromkeys(variable for one in laws.values() for variable in one.variables)
    y, n = (known[name].to_numpy(float) for name in (hits, trials))
    x = {name: known[name].to_numpy(float) for name in wanted}
    # Every rival's likelihood has one maximum but the exposure law's, which starts from its linear form: few starts.
    found = compared(laws, x, np.minimum(y, n), n, cluster=known["run_id"].to_numpy(), starts=1).rows
    ranked = sorted(found, key=lambda row: -(row.leave_one_scale_out.log_density or -np.inf))
    header = ["law of", "slopes", "error, levels left out", "… worse than the best by", "error, largest left out",
              "… worse than the best by"]  # fmt: skip
    lag = {f"{key}_lag_{row.law}": _lag(row.leave_one_scale_out) for row in found}
    return {f"{key}_laws": table(header, [_cells(row) for row in ranked]), **lag}


def _cells(row: Row) -> list[str]:
    told = [RIVALS[row.law][0], count(row.free - 1)]  # less the constant; overdispersion is not among `free`
    for one in (row.leave_one_scale_out, row.extrapolation):
        told += [number(one.rmse), _lag(one)]
    return told


def _lag(one: Score) -> str:
    """How much worse than the best, in ln density a count."""
    if one.best:
        return "best"
    if one.difference is None or not np.isfinite(one.difference):
        return "impossible"
    return interval(one.difference, one.lo, one.hi)
