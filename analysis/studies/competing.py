"""Which law of study 1 predicts what it was not fitted to: levels of every variable left out, runs as clusters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.compare import Row, compared
from analysis.formulas.law import Law
from analysis.laws import law
from analysis.studies.quoted import count, interval, number, table

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
QUOTIENTS = ("params_per_unique", "exposures", "images_seen")
# What a reader calls a law -> the register's law and its variables.
RIVALS = {
    "parameters per image, exposures, time": ("logistic", QUOTIENTS),
    "parameters per image, exposures": ("logistic", QUOTIENTS[:2]),
    "parameters, images, copies, training set, time": (
        "logistic", ("params", "n_unique", "copies", "n_train", "images_seen")),
    "parameters, images, exposures": ("logistic", ("params", "n_unique", "exposures")),
    "parameters, exposures, time: whatever the images": ("logistic", ("params", "exposures", "images_seen")),
    "images, exposures, time: whatever the size": ("logistic", ("n_unique", "exposures", "images_seen")),
    "parameters, images, time: whatever the copies": ("logistic", ("params", "n_unique", "images_seen")),
    "the exposure law of parameters per image, exposures, time": (
        "exposure", ("exposures", "params_per_unique", "images_seen")),
}  # fmt: skip


def competing(rows: "DataFrame", hits: str, trials: str, key: str) -> dict[str, str]:
    """The table of the rivals whose columns `rows` has, best first by levels left out, and the two laws chosen.

    Hits above trials (more than the ceiling) count as trials. A law whose predicted density of some held-out count is 0
    is called impossible.
    """
    known = rows[(rows[trials] > 0) & rows[hits].notna()]
    known = known.assign(params_per_unique=known["params"] / known["n_unique"])
    laws: Mapping[str, Law] = {
        words: law(name, variables) for words, (name, variables) in RIVALS.items() if set(variables) <= set(known)
    }
    wanted = dict.fromkeys(variable for one in laws.values() for variable in one.variables)
    y, n = (known[name].to_numpy(float) for name in (hits, trials))
    x = {name: known[name].to_numpy(float) for name in wanted}
    # Every rival's likelihood has one maximum but the exposure law's, which starts from its linear form: few starts.
    found = compared(laws, x, np.minimum(y, n), n, cluster=known["run_id"].to_numpy(), starts=1).rows
    ranked = sorted(found, key=lambda row: -(row.leave_one_scale_out.log_density or -np.inf))
    header = ["law of", "slopes", "error, levels left out", "… worse than the best by", "error, largest left out",
              "… worse than the best by"]  # fmt: skip
    best = {side: next((row.law for row in found if getattr(row, side).best), "cannot tell") for side in SIDES}
    return {
        f"{key}_laws": table(header, [_cells(row) for row in ranked]),
        f"{key}_best": best[SIDES[0]], f"{key}_best_beyond": best[SIDES[1]],
    }  # fmt: skip


SIDES = ("leave_one_scale_out", "extrapolation")


def _cells(row: Row) -> list[str]:
    told = [row.law, count(row.free - 1)]  # less the constant; the counts' overdispersion is not among `free`
    for one in (row.leave_one_scale_out, row.extrapolation):
        told.append(number(one.rmse))
        if one.best:
            told.append("best")
        elif one.difference is None or not np.isfinite(one.difference):
            told.append("impossible")
        else:
            told.append(interval(one.difference, one.lo, one.hi))
    return told
