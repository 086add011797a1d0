from math import comb

import numpy as np
import pandas
import pytest

from analysis.emission import emission_efficiency
from analysis.richness import budget_curves, by_stratum, chao1, copier, rarefaction, rarefaction_se

K12 = np.repeat([1, 2, 4, 8], 8)  # copies of the 32 digits of the copier
SPECTRUM = np.repeat(2 ** np.arange(8), 32)


def attack(copies: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Hits of `budget` samples of the perfect copier."""
    return rng.multinomial(budget, copies / copies.sum())


def test_rarefaction_gives_the_known_values():
    """K14."""
    found = rarefaction(np.array([5, 3, 2, 1, 1, 0, 0]), 12, np.array([1, 3, 6, 12]))
    np.testing.assert_allclose(found, [1, 2.41364, 3.67424, 5], atol=5e-6)


def test_rarefaction_is_the_mean_over_subsets_of_the_samples():
    """By binomials of whole numbers, with samples that hit nothing (20 drawn, 9 hits)."""
    hits, at = np.array([4, 3, 1, 1, 0]), np.arange(21)
    exact = [sum(1 - comb(20 - h, b) / comb(20, b) for h in hits.tolist()) for b in range(21)]
    np.testing.assert_allclose(rarefaction(hits, 20, at), exact, atol=1e-12)


def test_rarefaction_holds_at_large_budgets():
    """One hit in a million samples: b / B; nothing overflows."""
    assert rarefaction(np.array([1, 0]), 1_000_000, np.array([250_000]))[0] == pytest.approx(0.25, rel=1e-6)


def test_the_copier_finds_what_is_known():
    """K13: the copier of K12, and of 256 images alike."""
    known = [11.586, 17.624, 23.578, 28.223, 30.951]
    np.testing.assert_allclose(copier(K12, np.array([16, 32, 64, 128, 256])), known, atol=5e-4)
    known = [56.725, 162.007, 251.348]
    np.testing.assert_allclose(copier(np.ones(256), np.array([64, 256, 1024])), known, atol=5e-4)


def test_a_simulated_copier_agrees():
    """K13 by simulation, 3 SE, and its rarefied curve is unbiased at a quarter of the budget."""
    rng = np.random.default_rng(0)
    found = np.array([rarefaction(attack(K12, 64, rng), 64, np.array([16, 64])) for _ in range(400)])
    error = found.std(0, ddof=1) / 20
    np.testing.assert_array_less(np.abs(found.mean(0) - [11.586, 23.578]), 3 * error)


def test_the_share_extracted_by_a_perfect_copier_looks_like_a_law_in_copies():
    """The TRAP of measures.md 2.4: spectrum L 8, n 256, B 1,000, r 1 2 4 8 16 32."""
    share = [1 - (1 - r / SPECTRUM.sum()) ** 1000 for r in (1, 2, 4, 8, 16, 32)]
    np.testing.assert_allclose(share, [0.115, 0.217, 0.388, 0.625, 0.860, 0.980], atol=5e-4)
    assert copier(SPECTRUM, np.array([1000]))[0] == pytest.approx(32 * (sum(share) + 2), abs=0.02)


def test_chao1_gives_the_known_value():
    """K14; the interval by hand from Chao 1987: T .5, f1 2, f2 1: V = 16/4 + 8 + 4/2 = 14."""
    found = chao1(np.array([5, 3, 2, 1, 1, 0, 0]))
    assert found.value == pytest.approx(5.5, abs=1e-12) and not found.flagged
    g = np.exp(1.959964 * np.sqrt(np.log(1 + 14 / 0.25)))
    np.testing.assert_allclose([found.lo, found.hi], [5 + 0.5 / g, 5 + 0.5 * g], rtol=1e-6)


def test_chao1_without_images_hit_twice():
    """f2 = 0, f1 = 3, S = 4: T = 3; V = 3 2/2 + 3 25/4 - 81/(4 7)."""
    found, v = chao1(np.array([5, 1, 1, 1])), 3 + 18.75 - 81 / 28
    g = np.exp(1.959964 * np.sqrt(np.log(1 + v / 9)))
    np.testing.assert_allclose(found[:3], [7, 4 + 3 / g, 4 + 3 * g], rtol=1e-6)


@pytest.mark.parametrize("hits", [[3, 2, 2, 0], [3, 2, 1, 0], [0, 0, 0]])
def test_a_saturated_attack_is_flagged(hits):
    found, seen = chao1(np.array(hits)), sum(h > 0 for h in hits)
    assert found == (seen, seen, seen, True)


def test_strata_are_capped_at_their_images():
    """Four images hit once each: Chao1 is 10, there are 4; a stratum of a saturated attack adds its 2."""
    found = by_stratum(np.array([1, 1, 1, 1, 3, 3, 0]), np.array([1, 1, 1, 1, 2, 2, 2]))
    assert found.value == 6 and found.hi == 6 and found.flagged


def test_chao1_covers_what_it_is_known_to_cover():
    """K14b: mean 29.3 for a truth of 32, coverage .956 pooled, .43 by stratum summed; 3 SE."""
    rng, n = np.random.default_rng(1), 1500
    drawn = [attack(K12, 64, rng) for _ in range(n)]
    pooled, strata = [chao1(h) for h in drawn], [by_stratum(h, K12) for h in drawn]
    values = np.array([c.value for c in pooled])
    assert np.mean(values) == pytest.approx(29.3, abs=0.05 + 3 * values.std() / np.sqrt(n))
    assert np.mean([c.lo <= 32 <= c.hi for c in pooled]) == pytest.approx(0.956, abs=3 * 0.0053 + 0.0005)
    assert np.mean([c.lo <= 32 <= c.hi for c in strata]) == pytest.approx(0.43, abs=3 * 0.0128 + 0.005)


def test_the_interval_of_the_curve_covers_a_new_attack():
    """Wider than needed (multinomial hits exclude each other), never narrower: uniform copier of 100 images."""
    rng, at, n = np.random.default_rng(2), np.array([30, 60]), 400
    truth, covered = copier(np.ones(100), at), np.zeros(2)
    for _ in range(n):
        hits = attack(np.ones(100), 120, rng)
        covered += np.abs(rarefaction(hits, 120, at) - truth) <= 1.96 * rarefaction_se(hits, 120, at)
    assert np.all(covered / n > 0.93)


def test_the_standard_error_at_the_whole_budget_is_closed_form():
    """S (1 - S/Chao1) with S = 5, Chao1 = 5.5 (K14)."""
    found = rarefaction_se(np.array([5, 3, 2, 1, 1, 0, 0]), 12, np.array([12]))
    assert found[0] == pytest.approx(np.sqrt(5 * (1 - 5 / 5.5)))


def test_a_saturated_attack_has_no_interval_at_its_own_budget():
    assert np.isnan(rarefaction_se(np.array([3, 2]), 5, np.array([5]))).all()
    assert np.isnan(rarefaction_se(np.array([0, 0]), 5, np.array([1, 5]))).all()


def tables(hits: np.ndarray, copies: np.ndarray, budget: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    same = {"run_id": "a", "cell_id": "c", "seed": 0, "images_seen": 640, "n_unique": len(hits), "n_generated": budget}
    images = pandas.DataFrame({**same, "in_training": np.array([True] * len(hits), object), "copies": copies})
    images["n_hits"] = hits.astype(float)
    held = images.head(2).assign(in_training=False, copies=0, n_hits=np.nan)
    evals = pandas.DataFrame([{**same, "n_extracted": float((hits > 0).sum())}])
    return pandas.concat([images, held], ignore_index=True), evals


def test_curves_of_a_run_stand_beside_the_copier_s():
    hits = attack(K12, 100, np.random.default_rng(0))
    found = budget_curves(*tables(hits, K12, 100))
    assert found["b"].tolist() == [1, 2, 4, 8, 16, 32, 64, 100]
    np.testing.assert_allclose(found["copier"], copier(K12, found["b"].to_numpy()))
    np.testing.assert_allclose(found["found"], rarefaction(hits, 100, found["b"].to_numpy()))
    assert found["found"].iloc[-1] == (hits > 0).sum()
    assert found["chao1"].eq(chao1(hits).value).all() and found["chao1_strata"].eq(by_stratum(hits, K12).value).all()
    known = found["lo"].notna()
    assert (
        (found["lo"] < found["found"])[known].all() and (found["found"] < found["hi"])[known].all() and known.sum() > 5
    )


def test_a_run_without_hits_has_a_curve_of_zeros_and_one_never_measured_none():
    images, evals = tables(np.zeros(32), K12, 64)
    found = budget_curves(images, evals)
    assert found["found"].eq(0).all() and found["lo"].isna().all()
    assert budget_curves(images.assign(n_hits=np.nan), evals).empty


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i, e: (i.assign(n_unique=33), e), "32 of n_unique=33"),
        (lambda i, e: (i, e.assign(n_extracted=3.0)), "not of one evaluation"),
        (lambda i, e: (i, e.assign(images_seen=1)), "0 rows at images_seen=640"),
        (lambda i, e: (i.assign(n_hits=i["n_hits"].where(i.index != 5)), e), "1 of 32 images lack n_hits"),
    ],
)
def test_tables_that_disagree_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        budget_curves(*change(*tables(attack(K12, 64, np.random.default_rng(0)), K12, 64)))


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="hits one image at most"):
        rarefaction(np.array([3, 3]), 5, np.array([1]))
    with pytest.raises(ValueError, match=r"0\.\.5"):
        rarefaction(np.array([3]), 5, np.array([6]))
    with pytest.raises(ValueError, match="whole numbers"):
        chao1(np.array([1, np.nan]))


def strata(copies: np.ndarray, hits: np.ndarray, budget: int) -> pandas.DataFrame:
    r = np.unique(copies)
    return pandas.DataFrame(
        {
            "run_id": "a", "images_seen": 1, "copies": r, "exposures": 1.0, "n_train": copies.sum(),
            "n_generated": budget, "n_images": [(copies == k).sum() for k in r],
            "n_hits": [hits[copies == k].sum() for k in r], "n_null_memorized": 0,
        }
    )  # fmt: skip


@pytest.mark.parametrize("budget", [64, 4096])
def test_the_copier_s_emission_efficiency_is_1_whatever_the_budget(budget):
    """E_r within its 95 % interval of 1 in about 95 %: 300 attacks, 4 strata."""
    rng = np.random.default_rng(budget)
    made = pandas.concat([emission_efficiency(strata(K12, attack(K12, budget, rng), budget)) for _ in range(300)])
    means = made.groupby("copies")["value"].mean()
    share = np.array([8, 16, 32, 64]) / 120
    np.testing.assert_array_less(np.abs(means - 1), 3 * np.sqrt((1 - share) / (share * budget * 300)))
    assert 0.92 <= np.mean((made["lo"] <= 1) & (made["hi"] >= 1)) <= 0.985
    assert made["null"].eq(0).all()


def test_without_samples_there_is_no_efficiency_and_without_hits_an_upper_end():
    frame = strata(K12, np.zeros(32), 64)
    assert emission_efficiency(frame.assign(n_generated=0)).loc[:, ["value", "lo", "hi"]].isna().all(axis=None)
    found = emission_efficiency(frame)
    assert found["value"].eq(0).all() and found["hi"].gt(0).all()
