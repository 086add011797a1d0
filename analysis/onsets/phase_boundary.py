"""Where memorization ends and generalization begins, as a law: EMM and N* over params, copies and images_seen.

From rows of `capacities`, each known only to lie between two sizes, below the smallest or above the largest, with the
exponents of theory as hypotheses that the data may reject (measures.md 3.2).
"""

from typing import TYPE_CHECKING, Any

from analysis.onsets.collapse import Times, of_rows, slopes
from analysis.onsets.crossing import Status

if TYPE_CHECKING:
    from pandas import DataFrame

ALIKE = ("weights", "family", "design")
MOVES = ("params", "copies", "images_seen")
THEORY = {
    "emm": {"params": 1.0},  # a fixed number of bits a parameter: capacity grows as params
    "n_star": {"params": 0.5},  # N / sqrt(p) collapses
}


def phase_boundary(capacities: "DataFrame", level: float = 0.95) -> list[dict[str, Any]]:
    """Rows for each of emm and n_star, group of one weights, family and design, and law (log-normal, Weibull).

    Exponents in `params` with value, se, lo, hi, for params theory and p_value too; `p_value` of the theory; n,
    n_bracketed. Of a setting only the largest images_seen counts: earlier ones are of the same runs and share their
    luck. The brackets are taken as certain, as between few large counts they are; where rates are counted on few
    samples the exponents' intervals are too short by that.
    """
    answers: list[dict[str, Any]] = []
    if not len(capacities):
        return answers
    setting = [*ALIKE, "params", "copies", "batch_size"]
    latest = capacities.groupby(setting, dropna=False)["images_seen"].transform("max")
    last = capacities[capacities["images_seen"] == latest]
    for what, theory in THEORY.items():
        for names, part in last.groupby(list(ALIKE)):
            part = part[part[f"{what}_status"] != Status.MISSING]
            said = {"boundary": what, **dict(zip(ALIKE, names, strict=True)), "n": len(part)}
            said |= {"n_bracketed": int((part[f"{what}_status"] == Status.INTERP).sum())}
            if part["batch_size"].nunique(dropna=False) > 1:
                answers.append(said | {"message": "several batch_size at one images_seen are other lengths in steps"})
                continue
            times: Times = of_rows(part, what, MOVES)
            if not times.logs:
                answers.append(said | {"message": "params, copies and images_seen are constant: nothing to fit"})
                continue
            answers += [said | row for row in slopes(times, theory, level)]
    return answers
