"""Laws in competition on planted counts: the planted one is best, those without a variable that matters are told."""

from itertools import product

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.studies.competing import RIVALS, competing

WORDS = {short: words for short, (words, *_) in RIVALS.items()}


def planted(time: float) -> pandas.DataFrame:
    """logit f = -3 + 1.5 ln(p/n/100) + 2 ln(exposures/100) + `time` ln(t/1e5), with luck of each run.

    Where all trials hit, three more do: the ceiling is an ideal denoiser's, which a network may pass.
    """
    rng, rows = np.random.default_rng(3), []
    for size, n, draw in product((1e4, 2e4, 4e4, 8e4, 16e4), (128, 256, 512), range(2)):
        luck = 0.2 * rng.standard_normal()
        for t, r in product((25_600, 51_200, 204_800), (1, 8, 64)):
            exposures = t * r / (4 * n)
            logit = -3 + 1.5 * np.log(size / n / 100) + 2 * np.log(exposures / 100) + time * np.log(t / 1e5) + luck
            rows.append({"run_id": f"{size}{n}{draw}", "params": size, "n_unique": n, "images_seen": t, "copies": r,
                         "n_train": 4 * n, "exposures": exposures, "trials": 100,
                         "hits": rng.binomial(100, expit(logit))})  # fmt: skip
    frame = pandas.DataFrame(rows)
    return frame.assign(hits=frame["hits"].replace(100, 103))


def by_law(found: dict[str, str], key: str = "x") -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in found[f"{key}_laws"].strip().splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def low(text: str) -> float:
    return float(text.split("(")[1].split(" to ")[0])


@pytest.fixture(scope="module")
def timed() -> dict[str, str]:
    return competing(planted(1.0), "hits", "trials", "x")


def test_the_planted_law_is_best_and_those_that_lack_something_are_told(timed):
    """All rivals are scored; each that ignores size, images, copies or time is worse beyond chance."""
    rows = by_law(timed)
    assert timed["x_lag_quotients"] == "best" and rows[WORDS["quotients"]][:1] == ["3"]
    assert set(rows) == set(WORDS.values())
    for short in ("no_time", "no_images", "no_size", "no_copies"):
        assert low(timed[f"x_lag_{short}"]) > 0 and rows[WORDS[short]][2] == timed[f"x_lag_{short}"], short


def test_exposures_suffice_where_they_do_and_laws_of_missing_columns_do_not_compete():
    """Without time the short law is best or as good: its difference holds 0, and so does that of the law with time."""
    found = competing(planted(0.0).drop(columns=["copies", "n_train"]), "hits", "trials", "x")
    told = [found[f"x_lag_{short}"] for short in ("quotients", "no_time")]
    assert all(text == "best" or low(text) <= 0.002 for text in told)
    assert len(by_law(found)) == len(RIVALS) - 1 and "x_lag_five" not in found
