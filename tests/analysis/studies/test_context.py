"""Study 7's estimands against planted company: known log-odds that shrink with size, and none where none is."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.studies.context import comparisons, figures, numbers, with_context
from analysis.studies.context_pairs import estimands, exchanged, paired
from analysis.studies.mantel_haenszel import Counts, common_log_odds
from analysis.summary import last_evaluations
from analysis.table import Tables, validated

SIZES = (10_405, 40_489, 159_697, 357_625, 634_273)
LEVELS = {
    ("unique", 1): [[32, 1], [992, 1]], ("unique", 4): [[32, 4], [896, 1]], ("unique", 16): [[32, 16], [512, 1]],
    ("equal", 1): [[32, 1], [124, 8]], ("equal", 4): [[32, 4], [112, 8]], ("equal", 16): [[32, 16], [64, 8]],
    ("matched", 1): [[32, 1], [96, 9], [16, 8]], ("matched", 16): [[32, 16], [64, 5], [48, 4]],
    ("duplicated", 4): [[32, 4], [16, 16], [640, 1]],
}  # fmt: skip
CHI = 0.7
RESULTS = Path(__file__).parents[3] / "results" / "context"


def planted(equal: float, slope: float, left: float) -> Tables:
    """logit = b + 1.0 ln(size/1e5) + 1.4 (ln r + ln t / chi) + the company's log-odds; four draws with luck of .2."""
    rng = np.random.default_rng(5)
    company = {
        "unique": lambda x: 0,
        "equal": lambda x: equal + slope * x,
        "matched": lambda x: 0,
        "duplicated": lambda x: -left,
    }
    evals, strata = [], []
    for (context, r), width, draw in product(LEVELS, range(5), range(4)):
        run, x, luck = f"{context}{r}-{width}-{draw}", np.log(SIZES[width] / 1e5), 0.2 * rng.standard_normal()
        for t in (51_200, 102_400, 204_800):
            shared = {"run_id": run, "cell_id": run[:-2], "seed": draw, "draw": draw, "images_seen": t,
                      "params": SIZES[width], "n_train": 1024, "n_generated": 256}  # fmt: skip
            config = json.dumps({"data": {"duplication": {"levels": LEVELS[context, r]}}})
            evals.append({**shared, "config": config})
            for copies in {copies for _, copies in LEVELS[context, r]}:
                logit = -3 + x + 1.4 * (np.log(copies) + np.log(t / 204_800) / CHI) + company[context](x) + luck
                strata.append({**shared, "copies": copies, "n_images": 32, "n_basin": 256,
                               "n_ideal_basin_recovered": 256, "n_basin_recovered": rng.binomial(256, expit(logit)),
                               "n_unique": sum(images for images, _ in LEVELS[context, r])})  # fmt: skip
    frames = {"evals": evals, "strata": strata, "noise_levels": [], "prompts": [], "images": []}
    return Tables(*(validated(pandas.DataFrame(of), name, where=name)[0] for name, of in frames.items()))


@pytest.fixture(scope="module")
def tables() -> Tables:
    return planted(1.0, -0.5, 0.8)


@pytest.fixture(scope="module")
def found(tables) -> dict[str, str]:
    return dict(numbers(tables, RESULTS))


def ends(text: str) -> tuple[float, float, float]:
    value, rest = text.split(" (")
    return (float(value), *map(float, rest.strip(")").split(" to ")))


def test_the_planted_log_odds_and_their_slope_are_found(found):
    value, lo, hi = ends(found["equal_slope"])
    assert lo < -0.5 < hi and value == pytest.approx(-0.5, abs=0.25) and float(found["equal_slope_p"]) < 0.01
    row = next(line for line in found["odds"].splitlines() if line.startswith("| the rest few") and "16 copies" in line)
    first, *_, last = row.strip("| ").split(" | ")[1:]
    assert float(first.split(" ")[0]) > 1.5 > 0.5 > float(last.split(" ")[0])
    assert float(found["equal_slope_16"].split(" ")[0]) == pytest.approx(-0.5, abs=0.4)


def test_company_that_does_nothing_is_told_as_nothing():
    """`matched` has the cells of `equal` at 4 copies, whose images are as many; `equal` has all three."""
    pairs = comparisons(last_evaluations(with_context(planted(0, 0, 0))))
    for one in (pairs["equal"], pairs["matched"]):
        (odds, *_), (slope, *_), (difference, lo, hi) = estimands(one)
        assert abs(odds) < 0.3 and abs(slope) < 0.3 and abs(difference) < 0.05 and lo < 0 < hi
        assert np.unique(one.copies).tolist() == [1, 4, 16] and len(one.params) == 60
        assert exchanged(one)[0] > 0.05


def test_the_others_gain_when_the_most_duplicated_leave(found):
    for key in ("left_tagged", "left_rest"):
        _, lo, hi = ends(found[f"{key}_log_odds"])
        assert lo < 0.8 < hi and found[f"{key}_pairs"] == "20"
        assert float(found[f"{key}_difference"].split(" (")[0]) > 0 and float(found[f"{key}_difference_p"]) < 0.01


def test_the_exchange_rate_is_told_by_size(found):
    told = [ends(found[f"chi_{context}_{size}"]) for context, size in product(("unique", "equal"), SIZES)]
    assert sum(lo < CHI < hi for _, lo, hi in told) >= 9  # of ten intervals of 95 %
    assert all(value == pytest.approx(CHI, abs=0.1) for value, *_ in told)


def test_the_null_is_uniform_enough_and_not_fooled_by_luck(monkeypatch):
    """Twelve studies without any effect of company: about one in twenty p-values below .05, here at most two."""
    monkeypatch.setattr("analysis.studies.context_pairs.FLIPS", 200)
    small = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rows = [
            {"context": context, "copies": 4, "params": size, "draw": draw, "n_basin": 128,
             "n_basin_recovered": rng.binomial(128, expit(rng.normal(0, 0.3)))}
            for context, size, draw in product(("unique", "equal"), SIZES, range(4))
        ]  # fmt: skip
        small += exchanged(paired(pandas.DataFrame(rows), "unique", "equal"))[0] < 0.05
    assert small <= 2


def test_a_company_that_recovers_nothing_tells_a_difference_and_no_log_odds():
    """0 of 128 in one company, 64 of 128 in the other: infinite log-odds, which are no p-value of 1 in 2,001 either."""
    rows = [
        {"context": context, "copies": 4, "params": 10_405, "draw": draw, "n_basin": 128,
         "n_basin_recovered": hits + draw * (hits > 0)}
        for (context, hits), draw in product((("unique", 0), ("equal", 64)), range(4))
    ]  # fmt: skip
    pairs = paired(pandas.DataFrame(rows), "unique", "equal")
    odds, slope, difference = estimands(pairs)
    assert np.isnan([*odds, *slope]).all() and difference[0] == pytest.approx((64 + 1.5) / 128)
    p_odds, p_slope, p_difference = exchanged(pairs)
    assert np.isnan([p_odds, p_slope]).all()
    assert p_difference == pytest.approx(2 / 2**4, abs=0.03)  # all four pairs exchanged, or none


def test_a_context_that_was_not_trained_is_named(tables):
    rows = with_context(tables)
    with pytest.raises(ValueError, match="contexts unique and crowded are asked; these rows have unique"):
        paired(rows, "unique", "crowded")


def test_the_common_odds_ratio_is_that_of_its_tables():
    """One table: its own odds ratio, with Woolf's variance; tables of full or no recovery say nothing."""
    value, variance = common_log_odds(Counts(*(np.array([x], float) for x in (30, 100, 15, 100))))
    assert value == pytest.approx(np.log(30 * 85 / (15 * 70)))
    assert variance == pytest.approx(1 / 30 + 1 / 70 + 1 / 15 + 1 / 85, rel=1e-9)
    both = Counts(*(np.array(x, float) for x in ((30, 100, 0), (100, 100, 50), (15, 100, 0), (100, 100, 50))))
    assert common_log_odds(both) == pytest.approx((value, variance))
    assert np.isnan(common_log_odds(both.at(np.array([False, True, True])))).all()


def test_an_interval_over_draws_is_wider_than_luck(tables):
    rows = with_context(tables)
    own = rows[(rows["copies"] == rows["tagged"]) & (rows["images_seen"] == 204_800)]
    (_, lo, hi), *_ = estimands(paired(own, "unique", "matched"))
    assert hi - lo > 2 * 0.2 / np.sqrt(4 * 10)


def test_the_figure_tells_every_company(tables):
    (one,) = figures(tables, RESULTS)
    assert {"unique", "equal", "matched", "duplicated", "equal: foretold"} <= set(one.data["context"])
