import numpy as np
import pandas
import pytest

from analysis.per_image.quadrants import (
    above_median,
    axes,
    base_rate,
    by_stratum,
    covariates,
    expected_above,
    kinds,
    neighbor_share,
    quadrants,
    sentences,
    summary,
)
from analysis.per_image.rank_correlation import attenuated

NAN = float("nan")


def scored(n: int, rng: np.random.Generator, **columns) -> pandas.DataFrame:
    """A cell's scores of 30 runs, as `counterfactual.scores` and `covariates` give them; no effect unless given."""
    made = {
        "image_id": [f"i{k:05d}" for k in range(n)], "copies": 1, "Mbar": rng.normal(size=n), "se": 1.0, "m_in": 15,
        "m_out": 15, "mean_in": rng.normal(size=n), "mean_out": rng.normal(size=n),
        "nearest_train_distance": rng.random(n), "distance_10": rng.random(n), "leverage": rng.random(n),
        "recovered": 0.0,
    }  # fmt: skip
    return pandas.DataFrame(made | columns)


def paired(table: pandas.DataFrame, a=None, b=None) -> list[tuple[pandas.DataFrame, pandas.DataFrame]]:
    """Scores of two halves of the runs: the columns of `counterfactual.mean_scores`, the score replaced."""
    names = ["image_id", "copies", "Mbar", "se", "m_in", "m_out", "mean_in", "mean_out"]
    return [tuple(table[names].assign(Mbar=table["Mbar"] if half is None else half) for half in (a, b))]


@pytest.mark.parametrize(
    ("own", "neighbor", "excess", "kind"),
    [
        ((10, 1), (0, 1), (10, 1.4), "memorized"),
        ((10, 1), (6, 1), (4, 1.4), "learned"),
        ((10, 1), (9, 1), (1, 1.4), "learned"),
        ((1, 1), (0, 1), (1, 1.4), "neither"),
        ((-9, 1), (0, 1), (-9, 1.4), "neither"),
        ((10, 1), (6, 4), (4, 4.1), "undecided"),  # the neighbours' score is too noisy to say
        ((1, 1), (6, 1), (-5, 1.4), "undecided"),  # only the neighbours gained
        ((10, NAN), (0, 1), (10, 1.4), "undecided"),
        ((10, 1), (NAN, NAN), (NAN, NAN), "undecided"),
    ],
)
def test_kinds_are_told_at_two_standard_errors(own, neighbor, excess, kind):
    names = ["Mbar", "se", "neighbor", "neighbor_se", "excess", "excess_se"]
    assert kinds(pandas.DataFrame([[*own, *neighbor, *excess]], columns=names)).tolist() == [kind]


def test_medians_are_those_of_the_stratum():
    """Leverage grows with copies: over all images the many copies would be the high half."""
    found = above_median(np.array([1, 2, 3, 10, 20, 30, NAN]), np.array([1, 1, 1, 8, 8, 8, 8]))
    assert found.tolist() == [False, False, True, False, False, True, None]


def test_quadrants_count_by_hand():
    table = pandas.DataFrame(
        {
            "copies": 1,
            "Mbar": [9, 9, 0, 0, 9],
            "se": [1, 1, 1, 1, NAN],
            "recovered": [1, 0.5, 0, 0.4, 1],
            "distance_10": [0.1, 0.2, 0.3, 0.4, 0.5],
            "leverage": [4.0, 1.0, 3.0, 2.0, 9.0],
        }
    )
    found = quadrants(axes(table))
    filled = found[found["n"] > 0].to_numpy().tolist()
    assert len(found) == 16 and found["n"].sum() == 4  # the fifth has no standard error, but a place in the medians
    assert filled == [
        [True, True, True, True, 1],
        [True, True, True, False, 1],
        [False, False, False, False, 2],
    ]


def test_an_axis_nobody_measured_stays_unknown():
    found = quadrants(axes(scored(20, np.random.default_rng(0), recovered=NAN, leverage=NAN)))
    assert found["recovered"].isna().all() and found["high_leverage"].isna().all() and found["n"].sum() == 20
    assert len(found) == 4


def test_density_of_the_same_runs_finds_quadrants_in_noise():
    """measures.md 2.9: Mbar = in - out shares the noise of mean_out. From a disjoint half the density axis is fair."""
    rng, n = np.random.default_rng(1), 20_000
    truth, a, b, c = rng.normal(0, 1, n), *(rng.normal(0, 0.5, (3, n)))
    table = scored(n, rng, Mbar=a - b, se=0.5, mean_out=truth + b)
    share = {}
    for name, density in (("same", truth + b), ("disjoint", truth + c)):
        placed = axes(table, density)
        share[name] = (placed.loc[placed["high"] == True, "dense"] == True).mean()  # noqa: E712 (objects)
    assert share["same"] < 0.40  # seems to say: memorized images lie in sparse places
    assert share["disjoint"] == pytest.approx(0.5, abs=0.04)


def test_the_base_rate_is_ninety_percent():
    """Independent score and density: .90, inside the interval in 95 % of studies; planted outliers: far below."""
    rng, hits = np.random.default_rng(2), 0
    for _ in range(400):
        found = base_rate(rng.normal(size=1000), rng.normal(size=1000), 0.10, 0.95)
        hits += found["lo"] <= 0.90 <= found["hi"]
    assert found["n"] == 100 and found["base_rate"] == 0.90 and 0.92 <= hits / 400 <= 0.98
    density = rng.normal(size=1000)
    assert base_rate(np.abs(density), density, 0.05, 0.95)["share"] == 0
    assert base_rate(-np.abs(density), density, 0.05, 0.95)["share"] == 1


def test_the_base_rate_of_disjoint_halves_takes_score_and_density_apart():
    """A score that is all noise of mean_in: its highest are outliers in the runs that scored them, nowhere else."""
    table = scored(400, np.random.default_rng(9))
    table["mean_in"] = table["Mbar"]
    first, second = paired(table)[0]
    other = second.assign(mean_in=np.random.default_rng(10).normal(size=400))
    found = summary(table, [(first, other)], None, 0.95)["base_rates"]
    assert found["same_runs"][0]["share"] == 0
    assert found["disjoint_halves"][0]["lo"] < 0.90 < found["disjoint_halves"][0]["hi"]


def test_the_base_rate_of_few_images_is_empty():
    found = base_rate(np.array([1.0, NAN]), np.array([1.0, 2.0]), 0.05, 0.95)
    assert found["n"] == 0 and found["share"] is found["lo"] is None


def test_strata_of_copies_stand_apart():
    """Score and distance depend on copies and on nothing else: they correlate over all images, in no stratum."""
    rng, copies = np.random.default_rng(3), np.repeat([1, 4, 16], 300)
    x, y = (np.log(copies) + 0.3 * rng.normal(size=900) for _ in range(2))
    parts, over = by_stratum(x, y, copies, 0.95)
    assert np.corrcoef(x, y)[0, 1] > 0.8 and list(parts) == [1, 4, 16]
    assert over.n == 900 and over.lo < 0 < over.hi and over.hi - over.lo < 0.15


def test_the_summary_finds_the_planted_correlation_behind_the_noise():
    """The true score correlates .5 with the distance; the halves' scores have noise of its own size."""
    rng, n = np.random.default_rng(4), 4000
    distance, e = rng.normal(size=(2, n))
    truth = 0.5 * distance + np.sqrt(0.75) * e
    a, b = truth + rng.normal(size=(2, n))
    table = scored(n, rng, Mbar=(a + b) / 2, nearest_train_distance=distance)
    found = summary(table, paired(table, a, b), None, 0.95)
    assert found["reliability"]["value"] == pytest.approx(1 / 1.5, abs=0.03)
    rho = found["correlations"]["nearest_train_distance"]
    assert rho["over_strata"]["value"] == pytest.approx(attenuated(0.483, 1 / 1.5), abs=0.03)  # Spearman of .5
    assert rho["corrected"]["lo"] < 0.483 < rho["corrected"]["hi"]
    null = found["correlations"]["leverage"]["over_strata"]
    assert null["lo"] < 0 < null["hi"]


def test_the_summary_of_nothing_finds_nothing():
    """The null: 2.8 % above 2 standard errors, no correlation, no reliability, the base rate; nothing corrected."""
    rng, n = np.random.default_rng(5), 3000
    table = scored(n, rng)
    found = summary(table, paired(table, *rng.normal(size=(2, n))), scored(500, rng), 0.95)
    above = found["above_2_se"]
    assert above["lo"] < above["expected"] < above["hi"] and above["expected"] == pytest.approx(0.0276, abs=1e-3)
    assert found["null"]["spread"] == pytest.approx(1, abs=0.1) and found["null"]["above_2_se"]["n"] == 500
    for parts in found["correlations"].values():
        assert parts["over_strata"]["lo"] < 0 < parts["over_strata"]["hi"] and parts["corrected"]["value"] is None
    for rates in found["base_rates"].values():
        assert all(rate["lo"] <= 0.90 <= rate["hi"] for rate in rates)
    assert found["kinds"] is None and found["density_axis"] == "distance_10"


def test_the_summary_without_distances_takes_density_from_the_other_half():
    rng = np.random.default_rng(6)
    table = scored(200, rng, distance_10=NAN)
    found = summary(table, paired(table), None, 0.95)
    assert found["density_axis"] == "mean_out of the other half of the runs"
    assert all(cell["dense"] is not None for cell in found["quadrants"]) and found["null"] is None
    assert found["correlations"]["distance_10"]["over_strata"]["value"] is None


def test_images_without_a_score_are_counted():
    rng = np.random.default_rng(7)
    table = scored(10, rng)
    table.loc[0, ["m_in", "Mbar", "se"]] = [0, NAN, NAN]
    table.loc[1, ["m_out", "Mbar", "se"]] = [0, NAN, NAN]
    table.loc[2, ["m_out", "se"]] = [1, NAN]
    found = summary(table, paired(table), None, 0.95)
    names = ("n_images", "n_scored", "n_never_in", "n_never_out", "n_without_error")
    assert [found[name] for name in names] == [10, 7, 1, 1, 1]
    assert sentences(found)[0].startswith("7 of 10 images scored")
    assert sentences(found)[1] == "left empty: 1 never in, 1 never left out, 1 without a standard error"


def test_the_summary_of_single_runs_says_so():
    """One run a side, as 10 folds of one seed leave it: no standard error anywhere, nothing to divide by."""
    table = scored(12, np.random.default_rng(8), se=NAN, m_out=1)
    found = summary(table, paired(table), None, 0.95)
    assert found["n_scored"] == 0 and found["above_2_se"]["share"] is found["above_2_se"]["expected"] is None
    assert "none with a standard error" in sentences(found)[0] and found["by_copies"] == []


def test_covariates_are_means_over_the_right_runs():
    """Distances over all runs; leverage and recovery only with the image in training; no chains in the cell: hits."""
    rows = pandas.DataFrame(
        {
            "cell_id": ["a"] * 6 + ["b"] * 2,
            "image_id": ["x", "x", "x", "y", "y", "y", "x", "x"],
            "fold_of": 2.0,
            "role": ["train", "train", "left_out"] * 2 + ["train", "train"],
            "in_training": np.array([True, True, False] * 2 + [True, True], object),
            "nearest_train_distance": [1, 2, 6, 1, 1, 1, 4, 4.0],
            "distance_10": 5.0,
            "leverage": [0.2, 0.4, 9, 0.1, 0.1, NAN, 1, 1],
            "n_basin_recovered": [3, 0, 7, NAN, NAN, NAN, NAN, NAN],
            "n_hits": [0, 0, 0, 9, 9, 9, 2, 0.0],
        }
    )
    found = covariates(rows).set_index(["cell_id", "image_id"])
    assert found.loc[("a", "x")].tolist() == pytest.approx([3, 5, 0.3, 0.5])
    assert found.loc[("a", "y"), "leverage"] == pytest.approx(0.1) and np.isnan(found.loc[("a", "y"), "recovered"])
    assert found.loc[("b", "x"), "recovered"] == 0.5


def test_expected_share_averages_over_designs():
    assert expected_above([15, 27], [15, 3]) == pytest.approx((0.0276 + 0.0711) / 2, abs=2e-4)


def test_the_share_that_neighbours_gain_is_of_images_with_a_high_score():
    """By hand: scores 10, 20, 40 gain 1, 10, 40 around them; 5 +- 3 is not high, one image has no neighbours."""
    table = pandas.DataFrame(
        {"Mbar": [10.0, 20, 40, 5, 30], "se": [1.0, 1, 1, 3, 1], "neighbor": [1.0, 10, 40, 5, np.nan]}
    )
    found = neighbor_share(table)
    assert found == pytest.approx({"median": 0.5, "lower_quartile": 0.3, "upper_quartile": 0.75, "n": 3})
    assert neighbor_share(table.assign(Mbar=0.0)) == dict.fromkeys(["median", "lower_quartile", "upper_quartile"]) | {
        "n": 0
    }
    assert neighbor_share(table.drop(columns="neighbor")) is None
