"""Slopes by design and by rule, on planted laws that differ between designs and do not between rules."""

from itertools import product

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.studies.robustness import by_design, by_rule, by_steps, elsewhere, offset
from analysis.studies.robustness_figures import other_images
from analysis.table import Tables, validated
from scaling.config import build, given
from scaling.identity import canonical

TIME = {"spectrum": 1.2, "uniform": 0.0}


@pytest.fixture(scope="module")
def strata() -> pandas.DataFrame:
    """logit = -3 + 1.5 ln(p/n / 100) + 2 ln(exposures / 100) + c ln(t / 1e5): c of the design."""
    rng, rows = np.random.default_rng(1), []
    for design, size, n, draw in product(TIME, (1e4, 4e4, 16e4), (128, 512), range(4)):
        luck = 0.2 * rng.standard_normal()
        for t, r in product((25_600, 51_200, 204_800), (1, 8, 64)):
            exposures = t * r / (4 * n)
            logit = -3 + 1.5 * np.log(size / n / 100) + 2 * np.log(exposures / 100) + TIME[design] * np.log(t / 1e5)
            rows.append({
                "run_id": f"{design}{size}{n}{draw}", "design": design, "params": size, "n_unique": n, "images_seen": t,
                "copies": r, "n_train": 4 * n, "exposures": exposures, "n_ideal_basin_recovered": 200,
                "n_basin_recovered": rng.binomial(200, expit(logit + luck)),
            })  # fmt: skip
    return pandas.DataFrame(rows)


EVALUATED = {"seed": 0, "cell_id": "c", "lr": 0.0, "n_generated": 256, "n_extracted": 0,
             "holdout_loss": 0.5, "holdout_loss_se": 0.01, "seen_loss": 0.5, "seen_loss_se": 0.01}  # fmt: skip


def ends(text: str) -> tuple[float, float, float]:
    value, rest = text.split(" (")
    return (float(value), *map(float, rest.strip(")").split(" to ")))


def test_designs_of_different_laws_are_told_apart(strata):
    x = {
        "params_per_unique": strata["params"] / strata["n_unique"],
        "exposures": strata["exposures"],
        "time": strata["images_seen"],
    }
    found = by_design(strata, x)
    for key, truth in (("spectrum", 1.2), ("others", 0.0)):
        _, lo, hi = ends(found[f"design_{key}_time"])
        assert lo - 0.05 < truth < hi + 0.05 and hi - lo < 0.6  # two digits are told
    assert found["designs"].count("\n| ") == 4 and found["designs"].strip().endswith("| 24 |")


def test_rules_of_one_law_agree(strata):
    """Four rules over one planted spectrum; a rotation that only the width rule has does not enter."""
    base = strata[(strata["design"] == "spectrum") & (strata["n_unique"] == 512)]
    evals, rows = [], []
    for rule, flags in {
        "a": [],
        "b": ["--train.lr=2.5e-3"],
        "c": ["--train.lr=1e-2"],
        "d": ["--train.ema=null"],
        "x": [],
    }.items():
        config = canonical(build(given(["--config=configs/digits.yaml", *flags], "test")))
        mine = base.assign(run_id=base["run_id"] + rule)
        rows.append(mine if rule != "x" else mine.assign(n_basin_recovered=0))
        one = mine.drop_duplicates(["run_id", "images_seen"]).assign(
            config=config, rotate=int(rule == "x"), ema=np.nan if rule == "d" else 0.05, n_unique=256, **EVALUATED,
            width=mine["params"] / 1e4, n_memorized=mine["images_seen"] // 2_048,
        )  # fmt: skip
        evals.append(one)
    asked = pandas.concat(evals).drop(columns=["n_basin_recovered", "n_ideal_basin_recovered"])
    found = by_rule(validated(asked, "evals", where="evals")[0], pandas.concat(rows), 25_600)
    lines = found["rules"].strip().splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == [
        "the width rule",
        "half the rate",
        "double the rate",
        "raw weights",
    ]
    assert len({line.split("|", 2)[2] for line in lines}) == 1 and all(line.endswith("| 12 |") for line in lines)
    lo, hi = map(float, found["rule_copies"].split(" to "))
    assert lo == hi == pytest.approx(2, abs=0.2)
    one = asked[asked["run_id"].str.endswith("a")].assign(n_null_memorized=1)
    other = elsewhere(validated(one, "evals", where="evals")[0], rows[0], 25_600)
    assert other["elsewhere_runs"] == "12" and other["elsewhere_null"] == "12 of 3,072"
    for name in ("params", "copies", "images_seen", "onset", "memorized"):
        assert f" {other[f'elsewhere_{name}']} |" in lines[0], name


def planted(side: int, away: float, seed: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Runs on images of `side` pixels: logit = 2 ln(p / 4e4) + 2 ln(r / 8) + 2 ln(t / 5e4) + away, luck of a run."""
    rng, rows = np.random.default_rng(seed), []
    for size, draw in product((1e4, 4e4, 16e4), range(8)):
        luck = 0.2 * rng.standard_normal()
        for t, r in product((25_600, 51_200, 204_800), (1, 8, 64)):
            logit = 2 * np.log(size / 4e4) + 2 * np.log(r / 8) + 2 * np.log(t / 5e4) + away + luck
            back = rng.binomial(100, expit(logit))
            rows.append({"run_id": f"{side}{size:g}{draw}", "params": size, "seed": draw, "images_seen": t, "copies": r,
                         "n_ideal_basin_recovered": 100, "n_basin_recovered": back})  # fmt: skip
    strata = pandas.DataFrame(rows)
    runs = strata.drop_duplicates("run_id")[["run_id", "params", "seed"]]
    return runs.assign(n_unique=256, design="spectrum", rotate=0, image_size=side, channels=1), strata


def test_what_another_source_changes_is_told_at_equal_size_and_at_equal_size_per_pixel():
    """14x14 images 1 logit harder: -1 at equal size; at equal size per pixel -1 + 2 ln(196/64) = 1.24."""
    (evals, strata), (other, rows) = planted(8, 0.0, 1), planted(14, -1.0, 2)
    apart = evals.assign(
        run_id=lambda frame: frame["run_id"] + "x", rotate=1
    )  # another rotation: not of the comparison
    known = pandas.concat([strata, strata.assign(run_id=lambda frame: frame["run_id"] + "x", n_basin_recovered=0)])
    beside = Tables(other, rows, *[pandas.DataFrame()] * 3)
    found = offset(pandas.concat([evals, apart]), known, beside, 25_600)
    for key, truth in (("offset", -1.0), ("offset_per_pixel", -1 + 2 * np.log(196 / 64))):
        value, lo, hi = ends(found[f"elsewhere_{key}"])
        assert lo < truth < hi and abs(value - truth) < 0.3


def test_finer_sampling_is_compared_on_the_same_weights():
    """Two cells, one of them with a run of other weights beside it; the largest difference is of the second."""
    shared = {
        "images_seen": 100.0,
        "n_generated": 100,
        "n_basin": 50,
        "n_basin_recovered": 5,
        "kid": 0.1,
        "seen_loss": 0.5,
    }
    rows = [("a", "t1", 10, 1e4), ("b", "t2", 40, 1e5), ("c", "t3", 99, 1e6)]
    columns = ["run_id", "train_id", "n_memorized", "params"]
    evals = pandas.DataFrame(rows, columns=columns).assign(config='{"evaluate": {"sampler_steps": 18}}', **shared)
    again = {"run_id": ["d", "e"], "n_memorized": [10, 46], "config": '{"evaluate": {"sampler_steps": 40}}'}
    finer = evals[:2].assign(**again)
    found = by_steps(evals, finer)
    assert found["steps_copies"] == "6.0 %" and found["steps_recovered"] == found["steps_loss"] == "0 %"
    assert found["steps"].strip().splitlines()[2:] == [
        "| 10,000 | 10 % | 10 % | 10 % | 10 % | 0.10 | 0.10 |", "| 100,000 | 40 % | 46 % | 10 % | 10 % | 0.10 | 0.10 |",
    ]  # fmt: skip


def test_two_sources_are_drawn_at_the_last_evaluation_of_the_same_sizes_and_seeds():
    """3 sizes x 3 numbers of copies a source, the planted harder source lower at every middle of the S."""
    (evals, strata), (other, rows) = planted(8, 0.0, 1), planted(14, -1.0, 2)
    larger = strata.assign(run_id="big", params=64e4)  # a size that the other source has not
    known, of_all = pandas.concat([evals, evals.assign(run_id="big", params=64e4)]), pandas.concat([strata, larger])
    figure = other_images(known, of_all, Tables(other, rows, *[pandas.DataFrame()] * 3))
    rates = figure.data.pivot(index=["params", "copies"], columns="images", values="rate")
    assert len(rates) == 9 and rates.notna().all(axis=None)
    between = (rates.iloc[:, 1] > 0.1) & (rates.iloc[:, 1] < 0.9)
    assert between.any() and (rates[between].iloc[:, 0] < rates[between].iloc[:, 1]).all()
    last = strata[(strata["images_seen"] == 204_800) & (strata["params"] == 4e4) & (strata["copies"] == 8)]
    assert rates.loc[(4e4, 8)].iloc[1] == last["n_basin_recovered"].sum() / 800
