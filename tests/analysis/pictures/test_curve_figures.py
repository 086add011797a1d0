"""The curves of memorized samples: what they compare has one number of unique images and one design."""

from pathlib import Path

import pytest

from analysis.pictures.curve_figures import duplication, memorized
from analysis.pictures.scales import study_scale
from analysis.plots import Ordered
from analysis.table import load
from tests.analysis.asked_study import of_rows
from tests.analysis.pictures.test_map_figures import cells

SIZE = Ordered((1000, 9000), "params")
RATES = {(1000, 64): 0.1, (1000, 128): 0.3, (9000, 64): 0.5, (9000, 128): 0.9}
OTHER = {(1000, 256): 0.7, (9000, 256): 0.8}  # at 128 unique images: rate 1/2 too
STUDY = Path(__file__).parents[3] / "results" / "memorization" / "parts"


def pooled(found) -> dict[tuple[float, float], float]:
    (figure,) = found
    rows = figure.data[figure.data["drawn"] == "pooled"]
    return {(row.params, row.duplication_rate): row.rate for row in rows.itertuples()}


def test_no_duplication_is_the_zero_of_a_design_and_other_training_sets_stay_out():
    tables = of_rows([*cells(RATES), *cells(OTHER, n_unique=128)])
    found = duplication(tables, SIZE, {}, 0.95)
    assert pooled(found) == {(p, 1 - 64 / n): rate for (p, n), rate in RATES.items()}
    assert "of the setting design uniform, n_unique 64" in found[0].caption and "n = 8 runs" in found[0].caption


def test_one_rate_at_each_number_of_unique_images_is_no_curve():
    rates = {(p, n): rate for (p, n), rate in RATES.items() if n == 128}
    said = duplication(of_rows([*cells(rates), *cells({(1000, 512): 0.2}, n_unique=128)]), SIZE, {}, 0.95)
    assert said == (
        "No figure against duplication_rate: it takes two or more values at one number of unique images and one "
        "design, the runs have at most 1."
    )


@pytest.mark.parametrize(("part", "values"), [("rate", [0, 0.2, 0.5, 0.8, 0.95]), ("spectrum", None)])
def test_the_rates_of_the_study_are_compared_at_256_unique_images(part, values):
    tables = load(STUDY / part)
    found = duplication(tables, study_scale(tables, "params"), {}, 0.95)
    if values is None:
        assert isinstance(found, str)
        return
    last = tables.evals[tables.evals["images_seen"] == 204_800].query("n_unique == 256")
    sums = last.groupby(["params", "duplication_rate"])[["n_memorized", "n_generated"]].sum()
    assert pooled(found) == pytest.approx((sums["n_memorized"] / sums["n_generated"]).to_dict())
    assert sorted({rate for _, rate in pooled(found)}) == pytest.approx(values)


def test_sizes_are_compared_at_one_number_of_unique_images():
    """As many copies at 64 and at 128 images: the rates of one training set, not those of both added up."""
    rates = {key: rate for key, rate in RATES.items() if key[1] == 128}
    (found,) = memorized(of_rows([*cells(rates), *cells(OTHER, n_unique=128)]), SIZE, {}, 0.95)
    pooled = found.data[found.data["drawn"] == "pooled"]
    assert dict(zip(pooled["params"], pooled["rate"], strict=True)) == {1000: 0.3, 9000: 0.9}
    assert "n = 4 runs of the setting design uniform, n_unique 64" in found.caption
