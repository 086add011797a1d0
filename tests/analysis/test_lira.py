import json
from math import exp, log, pi, sqrt

import numpy as np
import pandas
import pytest
import torch
from scipy.stats import norm

from analysis.lira import FORMS, attack, lira, main, offline, online, reference
from scaling.memorization.membership import membership

Array = np.ndarray


def halves(runs: int, n: int, rng: np.random.Generator) -> Array:
    """Membership [R n]: every image in half of the runs, at random."""
    return rng.permuted(np.tile(np.arange(runs) % 2 == 0, (n, 1)), axis=1).T


def pairs(splits: int, n: int, rng: np.random.Generator) -> Array:
    """Both halves of each of several random splits [2 splits, n], first the one part of each."""
    first = rng.random((splits, n)) < 0.5
    return np.concatenate([first, ~first])


def judged_by(out: int, into: int, n: int, rng: np.random.Generator) -> Array:
    """A target run with each image in or out by a coin, then runs so that `out` lack it and `into` have it."""
    others = rng.permuted(np.tile(np.arange(out + into) >= out, (n, 1)), axis=1).T
    return np.concatenate([rng.random((1, n)) < 0.5, others])


def table(scores: Array, inside: Array, *, cell: str = "c", **columns) -> pandas.DataFrame:
    """The images table: scores, inside [R n]; more columns one value each, fold_split [R]; 2 hold-out images a run."""
    runs, n = scores.shape
    run, image = np.divmod(np.arange(runs * (n + 2)), n + 2)
    pool = image < n
    made = {
        "run_id": [f"{cell}-r{k:03d}" for k in run], "cell_id": cell, "seed": run, "images_seen": 1000.0, "params": 9.0,
        "draw": 0.0, "fold_index": 0.0, "fold_of": 2.0, "fold_split": run.astype(float),
        "image_id": [f"i{k:04d}" for k in image], "copies": pool.astype(float),
    }  # fmt: skip
    if "fold_split" in columns:
        columns["fold_split"] = np.asarray(columns["fold_split"], float)[run]
    told = np.concatenate([inside, np.zeros((runs, 2), bool)], axis=1).ravel()
    made["role"] = np.where(pool, np.where(told, "train", "left_out"), "holdout")
    made["in_training"] = told
    made["membership_score"] = np.concatenate([scores, np.zeros((runs, 2))], axis=1).ravel()
    return pandas.DataFrame({**made, **columns}).sample(frac=1, random_state=0, ignore_index=True)


def test_difficulty_hides_members_from_the_threshold_and_not_from_lira():
    """K20: members score 1 higher, images differ by sd 5; 16 other runs without each image. 8 simulated targets."""
    rng, n, found = np.random.default_rng(0), 5000, []
    for _ in range(8):
        inside = judged_by(16, 16, n, rng)
        scores = inside + rng.normal(size=inside.shape) + 5 * rng.normal(size=n)
        of = (scores[0], offline(scores, inside, 0), online(scores, inside, 0))
        found.append([attack(values[inside[0]], values[~inside[0]]).auc for values in of])
    threshold, off, on = np.mean(found, axis=0)
    assert threshold == pytest.approx(0.555, abs=0.01)
    assert off == pytest.approx(0.754, abs=0.01)
    assert (norm.cdf(1 / sqrt(52)), norm.cdf(1 / sqrt(2 + 2 / 16))) == pytest.approx((0.555, 0.754), abs=5e-4)
    assert 0.74 < on < norm.cdf(1 / sqrt(2))  # K17: what no reference can exceed


def test_a_table_of_k20_gives_the_same_in_rows():
    """32 runs as halves: a left-out image has 15 other runs without it, a training image 16: AUC .753."""
    rng, n = np.random.default_rng(1), 2000
    inside = halves(32, n, rng)
    found = lira(table(inside + rng.normal(size=inside.shape) + 5 * rng.normal(size=n), inside))
    known = norm.cdf(1 / sqrt(2 + 1 / 15 + 1 / 16))
    assert found["offline_auc"].mean() == pytest.approx(known, abs=0.004)
    assert found["threshold_auc"].mean() == pytest.approx(norm.cdf(1 / sqrt(52)), abs=0.01)
    # An error of all runs together is not known; of one run it is DeLong's.
    assert ((found["offline_auc"] - known).abs() < 1.96 * found["offline_auc_se"]).mean() >= 0.8
    assert (found["n_in"] + found["n_out"] == n).all() and (found["n_without"] == 0).all()
    assert (found["n_runs"] == 31).all() and found["run_id"].is_unique


def test_online_is_the_ratio_of_two_normal_densities():
    """By the definition, image by image; unequal spreads, so that its square terms matter; one score is missing."""
    rng = np.random.default_rng(2)
    inside = halves(12, 9, rng)
    scores = np.where(inside, 3 * rng.normal(size=inside.shape) + 2, rng.normal(size=inside.shape))
    scores[3, 4] = np.nan
    for target in (0, 5):
        sides = {}
        for side in (True, False):
            others = [r for r in range(12) if r != target]
            of = [[r for r in others if inside[r, i] == side and not np.isnan(scores[r, i])] for i in range(9)]
            lists = [[scores[r, i] for r in of[i]] for i in range(9)]
            mean = [sum(v) / len(v) for v in lists]
            squares = sum((x - mu) ** 2 for v, mu in zip(lists, mean, strict=True) for x in v)
            sides[side] = mean, sqrt(squares / sum(len(v) - 1 for v in lists))
        (mu_in, s_in), (mu_out, s_out) = sides[True], sides[False]

        def density(x: float, mu: float, s: float) -> float:
            return exp(-(((x - mu) / s) ** 2) / 2) / (s * sqrt(2 * pi))

        s = scores[target]
        known = [log(density(s[i], mu_in[i], s_in) / density(s[i], mu_out[i], s_out)) for i in range(9)]
        np.testing.assert_allclose(online(scores, inside, target), known, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(offline(scores, inside, target), [(s[i] - mu_out[i]) / s_out for i in range(9)])


@pytest.mark.parametrize("runs", [5, 9])
def test_pooled_spreads_are_unbiased_with_few_runs(runs):
    """True sd .5 with the image, 2 without, whatever the images' own level."""
    rng, n = np.random.default_rng(runs), 20_000
    inside = judged_by(runs // 2, runs - 1 - runs // 2, n, rng)
    scores = np.where(inside, 0.5, 2) * rng.normal(size=inside.shape) + 30 * rng.normal(size=n)
    assert reference(scores, inside, 0, True).sd == pytest.approx(0.5, rel=0.02)
    assert reference(scores, inside, 0, False).sd == pytest.approx(2, rel=0.02)


def test_the_target_never_enters_what_it_is_judged_by():
    rng = np.random.default_rng(3)
    inside = halves(8, 30, rng)
    scores = rng.normal(size=inside.shape)
    other_scores, other_inside = scores.copy(), inside.copy()
    other_scores[2], other_inside[2] = 1e6 * rng.normal(size=30), ~inside[2]
    for side in (True, False):
        was, now = reference(scores, inside, 2, side), reference(other_scores, other_inside, 2, side)
        np.testing.assert_array_equal(was.mean, now.mean)
        assert was.sd == now.sd
        assert not np.array_equal(was.mean, reference(scores, inside, 3, side).mean)


@pytest.mark.parametrize("luck", [0.0, 2.0])
def test_exchangeable_scores_give_one_half(luck):
    """The null: images differ (sd 5), runs differ (sd `luck`), membership says nothing; 4 splits, both parts of each.

    Judged by its own split too, the target's errors would be 5 times DeLong's at luck 1, online .49 at luck 0.
    """
    rng, z = np.random.default_rng(4), []
    for _ in range(60):
        inside = pairs(4, 200, rng)
        scores = rng.normal(size=inside.shape) + 5 * rng.normal(size=200) + luck * rng.normal(size=(8, 1))
        found = lira(table(scores, inside, fold_split=np.arange(8) % 4)).iloc[0]
        assert found["n_runs"] == 6 and found["n_splits"] == 4
        z.append([(found[f"{form}_auc"] - 0.5) / found[f"{form}_auc_se"] for form in FORMS])
    z = np.array(z)
    assert (np.abs(z.mean(axis=0)) < 3 / sqrt(60)).all()
    np.testing.assert_allclose(z.std(axis=0), 1, atol=3 / sqrt(120))
    assert (np.abs(z) < 1.96).mean() > 0.9


def test_images_without_another_run_are_counted_and_left_out():
    """Image 0 is in every run, image 1 in the target alone, image 2 unmeasured in the target, image 3 out of all."""
    rng = np.random.default_rng(5)
    inside = np.tile(np.array([[True], [True], [False], [True], [False], [False]]), (1, 40))
    inside[:, 20:] = ~inside[:, 20:]
    inside[:, 0], inside[:, 1], inside[:, 3] = True, np.arange(6) == 0, False
    scores = rng.normal(size=inside.shape)
    scores[0, 2] = np.nan
    assert np.flatnonzero(np.isnan(online(scores, inside, 0))).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(np.isnan(offline(scores, inside, 0))).tolist() == [0, 2]
    row = lira(table(scores, inside)).iloc[0]
    assert (row["n_in"], row["n_out"], row["n_without"]) == (16, 20, 3)
    # Compared on the same images: the threshold too.
    known = membership(torch.tensor(scores[0, 4:20]), torch.tensor(scores[0, 20:]))
    assert (row["threshold_auc"], row["threshold_auc_se"]) == pytest.approx(known[:2], abs=1e-12)
    assert np.isnan(row["online_tpr_at_1pct_fpr"])


@pytest.mark.parametrize("values", [4, 10**6])
def test_the_attack_is_that_of_the_runs_own_instrument(values):
    """scaling.memorization.membership, which sorts where this one ranks; K19."""
    rng = np.random.default_rng(values)
    for n, m in ((3, 2), (30, 98), (5000, 99), (41, 230), (5000, 230)):
        members, others = rng.integers(values, size=n) + values // 4, rng.integers(values, size=m)
        known = membership(torch.tensor(members), torch.tensor(others))
        found = attack(members, others)
        assert found[:2] == pytest.approx(known[:2], abs=1e-12)
        assert np.isnan(found.tpr) if known.tpr is None else found.tpr == pytest.approx(known.tpr, abs=1e-12)
    assert attack(np.arange(1.0, 5), np.array([0, 1.5, 2.5]))[:2] == pytest.approx((0.75, 0.21517), abs=1e-5)
    assert np.isnan(attack(np.ones(0), np.ones(2))).all()


def test_runs_are_judged_within_their_cell():
    """Two cells in one table give the rows each gives alone, though images and levels are shared."""
    rng = np.random.default_rng(6)
    parts = []
    for cell, level in (("a", 0), ("b", 100)):
        inside = halves(4, 250, rng)
        parts.append(table(inside + rng.normal(size=inside.shape) + level, inside, cell=cell))
    together = lira(pandas.concat(parts, ignore_index=True))
    pandas.testing.assert_frame_equal(together, pandas.concat([lira(p) for p in parts], ignore_index=True))
    assert together["online_tpr_at_1pct_fpr"].notna().all()


def test_scores_that_do_not_vary_between_runs_judge_nothing():
    """A spread of rounding (.1 + .1 + .1 is not .3) would make likelihoods of 1e16."""
    inside = halves(8, 20, np.random.default_rng(7))
    scores = np.tile(np.linspace(0.1, 0.7, 20), (8, 1))
    assert np.isnan(online(scores, inside, 0)).all()
    assert lira(table(scores, inside))["n_without"].tolist() == [20] * 8


def test_the_f1_law_of_morris_gives_the_published_rates():
    """K20b (Morris et al. 2025), with c2 and c3 exchanged against the print: a check of the page, not of our code."""
    parameters = 1.556e9
    for tokens, found, published in ((170.7e6, 0.550, 0.55), (76.8e6, 0.752, 0.75), (18.85e6, 0.951, 0.95)):
        f1 = (1 + 1.34 / (1 + exp(33.14 * (tokens / parameters - 0.034)))) / 2
        assert f1 == pytest.approx(found, abs=1e-3) and round(f1, 2) == published


def refused() -> dict[str, tuple[pandas.DataFrame, str]]:
    rng = np.random.default_rng(8)
    inside = halves(4, 20, rng)
    whole = table(rng.normal(size=inside.shape), inside)
    none = whole.assign(fold_index=np.nan, fold_of=np.nan, fold_split=np.nan)
    without = whole.assign(membership_score=np.where(whole["role"] == "holdout", 1.0, np.nan))
    lost = whole.assign(membership_score=whole["membership_score"].where(whole["seed"] < 2))
    return {
        "no folds": (none, r"fold_of is empty\): train with data\.fold\.of=2"),
        "no score": (without, r"evaluate\.measures must hold membership"),
        "no column": (whole.drop(columns="membership_score"), r"evaluate\.measures must hold membership"),
        "two runs": (whole[whole["seed"] < 2], r"cell c: 2 runs .* needs 3 .* --where cell_id!=c"),
        "two measured": (lost, r"cell c: 2 runs with a membership_score"),
        "two sizes": (whole.assign(fold_of=2.0 + whole["seed"] % 2), "mixes folds of 2 and 3 parts"),
    }


@pytest.mark.parametrize("case", refused())
def test_what_cannot_be_judged_is_refused_in_a_line(case):
    images, says = refused()[case]
    with pytest.raises(ValueError, match=says) as raised:
        lira(images)
    assert "\n" not in str(raised.value)


def write(folder, images: pandas.DataFrame) -> str:
    images.to_csv(folder / "images.csv", index=False)
    images.drop_duplicates("run_id")[["run_id", "images_seen", "params"]].to_csv(folder / "evals.csv", index=False)
    return str(folder)


def test_the_command_prints_a_row_a_run_and_writes_them(tmp_path, capsys):
    rng = np.random.default_rng(9)
    inside = halves(6, 60, rng)
    tables, out = write(tmp_path, table(inside + rng.normal(size=inside.shape), inside)), tmp_path / "new" / "lira.json"
    assert main([tables, "--out", str(out)]) == 0
    printed, answer = capsys.readouterr().out, json.loads(out.read_text())
    assert len(answer["runs"]) == 6 and answer["message"] == ""
    row = answer["runs"][0]
    assert row["run_id"] == "c-r000" and row["online_tpr_at_1pct_fpr"] is None and isinstance(row["n_in"], int)
    assert all(f"{row[f'{form}_auc']:.3f} +- {row[f'{form}_auc_se']:.3f}" in printed for form in FORMS)
    assert main([tables, "--where", "seed<5"]) == 0
    assert "c-r005" not in capsys.readouterr().out


def test_the_command_says_what_one_fold_each_lacks(tmp_path, capsys):
    """Three folds of one split: no left-out image has another run without it."""
    rng = np.random.default_rng(10)
    inside = np.arange(30) % 3 != np.arange(3)[:, None]
    images = table(rng.normal(size=inside.shape), inside, fold_of=3.0, fold_split=np.zeros(3))
    assert main([write(tmp_path, images.assign(fold_index=images["seed"])), "--out", str(tmp_path / "l.json")]) == 0
    printed = capsys.readouterr().out
    assert "3 of 3 runs are left empty" in printed and "one split in c: members and non-members" in printed
    row = json.loads((tmp_path / "l.json").read_text())["runs"][0]
    assert row["threshold_auc"] is None and row["n_without"] == 30


def test_a_bad_request_ends_in_one_line(tmp_path, capsys):
    assert main([write(tmp_path, refused()["two runs"][0])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analysis.lira: cell c: 2 runs") and error.count("\n") == 1
    assert main([str(tmp_path / "nowhere")]) == 2


def test_online_is_left_empty_where_all_runs_are_of_one_split():
    """There how many judges have an image tells whether the target has it; offline and the raw score stand."""
    rng = np.random.default_rng(3)
    inside = np.tile(pairs(1, 200, rng), (4, 1))
    images = table(rng.normal(size=inside.shape), inside, fold_split=np.zeros(8))
    found = lira(images)
    assert found["online_auc"].isna().all() and found["online_auc_se"].isna().all()
    assert found["offline_auc"].notna().all() and found["threshold_auc"].notna().all()
