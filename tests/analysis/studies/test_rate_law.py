"""The law of a study's claims, on counts of a known law: a quotient decides, and what does not matter holds 0."""

import numpy as np
import pandas
from scipy.special import expit

from analysis.studies.rate_law import rate_law, slope, slopes


def test_a_quotient_that_decides_leaves_nothing_to_its_parts():
    """logit f = -9 + 1.5 ln(p/n) + 2 ln r: b of p/n holds 1.5, b of n beyond it holds 0; in single logs n has -1.5."""
    rng = np.random.default_rng(2)
    run = np.repeat(np.arange(60), 4)
    p, n = (10 ** rng.uniform(lo, hi, 60)[run] for lo, hi in ((3.5, 5.8), (1.8, 3)))
    r = np.tile([1, 4, 16, 64], 60)
    logit = -12 + 1.5 * np.log(p / n) + 1.2 * np.log(r) + 0.3 * rng.standard_normal(60)[run]
    hits = rng.binomial(100, expit(logit))
    frame = pandas.DataFrame({"run_id": run.astype(str), "x": hits, "m": 100})
    law = rate_law(frame, "x", "m", {"quotient": p / n, "unique": n, "copies": r})
    for name, truth in (("quotient", 1.5), ("unique", 0.0), ("copies", 1.2)):
        one = slope(law, name)
        assert one.lo < truth < one.hi and abs(one.value - truth) < 0.25
    single = rate_law(frame, "x", "m", {"params": p, "unique": n, "copies": r})
    assert slope(single, "unique").hi < -1 and set(slopes(single, "b")) == {"b_params", "b_unique", "b_copies"}
