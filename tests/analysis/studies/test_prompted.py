"""Study 6's numbers against a planted law."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.studies.prompted import numbers
from analysis.table import Tables, validated

TRUTH = {"params": 0.8, "copies": 1.1, "known_share": 2.5}


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """Forty runs: logit f = -10 + sum b ln v; three quarters of the prompts are within the ideal denoiser's reach."""
    rng, rows = np.random.default_rng(0), []
    for run, (params, seed) in enumerate(product((1e4, 3e4, 9e4, 27e4), range(10))):
        for copies, (context, known) in product((1, 4, 16), (("1/4", 0.25), ("1/2", 0.5), ("3/4", 0.75))):
            x = {"params": params, "copies": copies, "known_share": known}
            rate = 1 / (1 + np.exp(10 - sum(b * np.log(x[name]) for name, b in TRUTH.items())))
            rows.append({**x, "run_id": f"r{run}", "cell_id": f"c{params:g}", "seed": seed, "images_seen": 1e5,
                         "context": context, "rounds": 10, "n_prompts": 200,
                         "n_prompt_recovered": rng.binomial(200, rate), "n_ideal_recovered": 150,
                         "n_null_prompts": 200, "n_null_prompt_recovered": 0})  # fmt: skip
    evals = [{"run_id": f"r{run}", "cell_id": "c", "seed": 0, "images_seen": 1e5, "params": 1e4, "n_memorized": 3,
              "n_generated": 10, "n_extracted": 2, "n_unique": 8} for run in range(40)]  # fmt: skip
    frames = {"evals": evals, "strata": [], "noise_levels": [], "prompts": rows, "images": []}
    tables = Tables(*(validated(pandas.DataFrame(of), name, where=name)[0] for name, of in frames.items()))
    return dict(numbers(tables, Path()))


def test_the_slopes_are_those_planted(found):
    for name, slope in TRUTH.items():
        value, ends = found[f"logit_{name}"].split(" (")
        lo, hi = map(float, ends.strip(")").split(" to "))
        assert lo - 0.05 < slope < hi + 0.05 and float(value) == pytest.approx(slope, abs=0.15)  # two digits are told


def test_the_planted_form_is_told_from_a_straight_line(found):
    """Of sizes left out: the planted law misses by little more than the prompts' noise, by less beyond chance."""
    bent, straight, worse = (found[f"missed_{name}"].split(" (") for name in ("logistic", "straight", "worse"))
    assert 3 * float(bent[0]) < float(straight[0])
    assert float(worse[0]) == pytest.approx(float(straight[0]) ** 2 - float(bent[0]) ** 2, rel=0.05)  # two digits
    assert float(worse[1].split(" to ")[0]) > 0
    assert float(found["points_params"].split(" (")[0]) > 5


def test_what_comes_without_a_prompt_and_the_ends_of_the_scale(found):
    assert found["unprompted"].startswith("30 %") and found["extracted"] == "80 of 320"
    (row,) = [line for line in found["contexts"].splitlines() if line.startswith("| 1/2")]
    assert row.count("|") == 8 and "| 75 % (" in row and "| 0 % (0 to" in row
