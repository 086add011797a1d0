"""Emission efficiency: how often a stratum's images come out, per share of the training draws (measures.md 2.4).

E_r = n_hits_r N/(B r n_images_r): 1 for the ideal copier at every r and any B; above 1 = more than proportional.
Unlike the share of images extracted it does not depend on the budget, so strata compare by it.
"""

from typing import TYPE_CHECKING

from analysis.columns import numbers
from analysis.rates import wilson

if TYPE_CHECKING:
    from pandas import DataFrame


def emission_efficiency(strata: "DataFrame", level: float = 0.95) -> "DataFrame":
    """One row a row of strata: run_id, images_seen, copies, exposures, n_hits, n_generated, value, lo, hi, null.

    The interval is Wilson's for n_hits of B, scaled: of one run, whose samples share its weights. `null` is the same
    ratio with the hits of held-out images in place. Empty where no samples were drawn.
    """
    import pandas

    hits, b = numbers(strata, "n_hits", "strata"), numbers(strata, "n_generated", "strata")
    copies, n_images = numbers(strata, "copies", "strata"), numbers(strata, "n_images", "strata")
    share = copies * n_images / numbers(strata, "n_train", "strata")  # of the training draws: what a copier emits
    rate, null = wilson(hits, b, level), wilson(numbers(strata, "n_null_memorized", "strata"), b, level)
    return pandas.DataFrame(
        {
            **{name: strata[name].to_numpy() for name in ("run_id", "images_seen", "copies", "exposures")},
            "n_hits": hits,
            "n_generated": b,
            "value": rate.value / share,
            "lo": rate.lo / share,
            "hi": rate.hi / share,
            "null": null.value / share,
        }
    )
