"""The example on somebody else's table: its csv are the planted ones, and its answers hold what was planted."""

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LOSS = {"E": 0.30, "A": 12.0, "B": 40.0, "alpha": 0.35, "beta": 0.30}
RATE = {"b_0": -14.0, "b_weights": 0.8, "b_copies": 1.0}
LUCK = 0.15  # sd of a run's logit
PEAK = 16_000  # weights, with frozen noise


def logistic(weights: float, copies: float, luck: float = 0.0) -> float:
    at = RATE["b_0"] + RATE["b_weights"] * np.log(weights) + RATE["b_copies"] * np.log(copies) + luck
    return 1 / (1 + np.exp(-at))


def planted() -> dict[str, list[list[object]]]:
    """Both tables with their heads; numpy's generator gives the same everywhere, logarithms to the digits written."""
    rng = np.random.default_rng(7)
    runs: list[list[object]] = [["run", "weights", "images", "seed", "copies", "val_loss", "regenerated", "tried"]]
    for n in (10_000, 40_000, 160_000, 640_000, 2_560_000):
        for d in (50_000, 200_000, 800_000):
            for seed in (0, 1):
                law = LOSS["E"] + LOSS["A"] / n ** LOSS["alpha"] + LOSS["B"] / d ** LOSS["beta"]
                loss, luck = law * np.exp(0.01 * rng.normal()), LUCK * rng.normal()
                name = f"run{1 + (len(runs) - 1) // 3:02d}"
                for r in (1, 4, 16):
                    runs.append([name, n, d, seed, r, f"{loss:.5f}", rng.binomial(200, logistic(n, r, luck)), 200])
    ladder: list[list[object]] = [["noise", "weights", "seed", "val_loss"]]
    for noise, height in (("frozen", 0.25), ("fresh", 0.0)):
        for seed in range(5):
            for n in 1_000 * 2 ** np.arange(8):
                hill = height * np.exp(-((np.log(n / PEAK)) ** 2) / (2 * 0.6**2))
                ladder.append([noise, n, seed, f"{0.4 + 2.0 * n**-0.35 + hill + 0.02 * rng.normal():.5f}"])
    return {"runs": runs, "ladder": ladder}


@pytest.mark.parametrize("name", ["runs", "ladder"])
def test_the_tables_are_the_planted_ones(name):
    with open(EXAMPLES / "data" / f"{name}.csv", newline="") as file:
        assert list(csv.reader(file)) == [[str(cell) for cell in row] for row in planted()[name]]


@pytest.fixture(scope="module")
def ran() -> dict:
    return runpy.run_path(str(EXAMPLES / "somebody_elses_table.py"))


@pytest.mark.parametrize(("answer", "truth"), [("loss", LOSS), ("rate", RATE)])
def test_the_intervals_hold_what_was_planted(ran, answer, truth):
    params = ran[answer]["params"]
    for name, value in truth.items():
        assert params[name]["lo"] < value < params[name]["hi"], name


def test_the_planted_law_is_chosen(ran):
    assert ran["laws"]["chosen"] == "chinchilla"


def test_the_unseen_run_is_foretold(ran):
    assert ran["predicted"]["lo"] < logistic(1_280_000, 4) < ran["predicted"]["hi"]


def test_no_row_of_the_front_is_beaten(ran):
    """By brute force over the 30 rows of 16 copies; and mine is beaten by rows with less of both."""
    with open(EXAMPLES / "data" / "runs.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["copies"] == "16"]
    points = [(int(row["regenerated"]), float(row["val_loss"])) for row in rows]
    beaten = [any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]
    assert len(ran["boundary"]["front"]) == beaten.count(False) < 30
    assert any(a < 80 and b < 1.97 for a, b in points) and ran["placed"]["p_dominated"] > 0.9


def test_the_peak_is_seen_where_it_is_and_not_where_it_is_not(ran):
    found = {group["group"]: group for group in ran["descent"]["groups"]}
    assert found["frozen"]["verdict"] == "present"
    assert found["frozen"]["peak_lo"] <= PEAK <= found["frozen"]["peak_hi"]
    assert found["fresh"]["verdict"] != "present"
