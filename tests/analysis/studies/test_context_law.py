"""Study 1's law on study 7's strata: exact where it holds, off by what company adds where it does not."""

import json
from itertools import product

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.studies.context_law import beside_the_law, effective_number, foretold
from analysis.studies.memorization import BASE_RULE
from analysis.table import Tables, validated

WORDS = {"unique": "all unique", "equal": "few"}
SIZES, TRIALS = (10_405, 40_489, 159_697), 4000
RATE, POWER = BASE_RULE.split(" (width/16)^")
TRAIN = {"lr": float(RATE), "lr_width_exponent": float(POWER)}


def planted(n_uniques: tuple[int, ...], company: float = 0.0) -> tuple[Tables, pandas.DataFrame]:
    """logit = 1.4 ln(params/n_unique) + 2.3 ln exposures + .8 ln images seen - const; few images: `company` more."""
    rng, evals, strata = np.random.default_rng(7), [], []
    for n_unique, params, r, draw in product(n_uniques, SIZES, (1, 4, 16), range(4)):
        run = f"{n_unique}-{params}-{r}-{draw}"
        config = json.dumps({"train": TRAIN, "model": {"width": 16}})
        for t in (51_200, 204_800):
            shared = {"run_id": run, "cell_id": run[:-2], "seed": draw, "draw": draw, "images_seen": t,
                      "params": params, "n_train": 1024, "n_unique": n_unique}  # fmt: skip
            logit = 1.4 * np.log(params / n_unique) + 2.3 * np.log(t * r / 1024) + 0.8 * np.log(t) - 32
            hits = rng.binomial(TRIALS, expit(logit + company * (n_unique < 200)))
            evals.append({**shared, "ema": 0.05, "n_generated": 256, "config": config})
            strata.append({**shared, "copies": r, "n_images": 32, "n_basin": TRIALS, "n_ideal_basin_recovered": TRIALS,
                           "n_basin_recovered": hits})  # fmt: skip
    frames = {"evals": evals, "strata": strata, "noise_levels": [], "prompts": [], "images": []}
    tables = Tables(*(validated(pandas.DataFrame(of), name, where=name)[0] for name, of in frames.items()))
    context = np.where(tables.strata["n_unique"] < 200, "equal", "unique")
    return tables, tables.strata.assign(context=context, tagged=tables.strata["copies"])


@pytest.fixture(scope="module")
def known() -> Tables:
    return planted((128, 256, 512))[0]


def told(known: Tables, company: float = 0.0) -> dict[str, str]:
    return foretold(beside_the_law(known, planted((144, 928), company)[1]), WORDS)


def value(text: str) -> float:
    return float(text.split(" (")[0])


def test_where_the_law_holds_its_error_is_that_of_the_counts(known):
    found = told(known)
    assert value(found["law_error"]) < 2 / np.sqrt(TRIALS)
    assert value(found["blind_error"]) > 5 * value(found["law_error"])
    worse, ends = found["blind_worse"].split(" (")
    assert float(worse) > 0 and float(ends.split(" to ")[0]) > 0
    assert found["n_strata"] == str(2 * 3 * 3 * 4)


def test_the_effective_number_of_images_is_that_of_equal_ones_and_of_one_that_rules():
    """Ten images of 5 copies are ten; one of 90 among ten single ones: 100^2 / (90^2 + 10)."""
    rows = [("equal", 5, 10), ("ruled", 90, 1), ("ruled", 1, 10)]
    strata = pandas.DataFrame(rows, columns=["run_id", "copies", "n_images"]).assign(images_seen=64)
    assert effective_number(strata).tolist() == pytest.approx([10, 100**2 / 8110, 100**2 / 8110])


def test_what_company_adds_beyond_the_number_of_images_is_an_error(known):
    shifted = told(known, company=1.5)
    assert value(shifted["law_error"]) > 0.1


def test_the_table_has_measured_and_foretold_by_company(known):
    *_, last = told(known)["foretold"].strip().splitlines()
    assert last.startswith("| 16, all unique | ")
    measured, foretold_ = (float(one.strip(" %")) for one in last.split("|")[4].split("/"))
    assert measured == pytest.approx(foretold_, abs=2)
