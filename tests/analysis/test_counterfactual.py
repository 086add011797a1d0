import json

import numpy as np
import pandas
import pytest
from scipy import stats
from scipy.special import logsumexp

from analysis.counterfactual import (
    difference,
    lme_difference,
    main,
    nearest_holdout,
    neighbor_scores,
    permuted,
    pooled,
    scores,
)
from analysis.per_image.folds import cells, halves, shared_training_sets
from analysis.per_image.quadrants import expected_above, kinds


def table(
    value: np.ndarray, inside: np.ndarray, *, holdout=None, copies=1, cell: str = "c", fold_of: int = 2, **columns
) -> pandas.DataFrame:
    """The images table of runs: value [R n], inside [R n], holdout [R m]; further columns one value or [R n]."""
    runs, n = value.shape
    held = np.empty((runs, 0)) if holdout is None else holdout
    role = np.concatenate([np.where(inside, "train", "left_out"), np.full(held.shape, "holdout")], axis=1)
    ids = [f"i{k:04d}" for k in range(n)] + [f"h{k:04d}" for k in range(held.shape[1])]
    width = len(ids)
    made = {
        "run_id": np.repeat([f"{cell}-r{k:03d}" for k in range(runs)], width), "cell_id": cell,
        "seed": np.repeat(np.arange(runs), width), "images_seen": 1000.0, "params": 2743.0, "draw": 0.0,
        "fold_index": 0.0, "fold_of": float(fold_of), "fold_split": np.repeat(np.arange(float(runs)), width),
        "image_id": np.tile(ids, runs), "role": role.ravel(),
        "copies": np.tile(np.append(np.broadcast_to(copies, n), np.zeros(held.shape[1])), runs),
        "in_training": np.concatenate([inside, np.zeros(held.shape, bool)], axis=1).ravel(),
        "log_density_bound": np.concatenate([value, held], axis=1).ravel(),
    }  # fmt: skip
    for name in ("nearest_train_distance", "distance_10", "leverage", "n_basin_recovered", "n_hits"):
        own = np.broadcast_to(columns.get(name, np.nan), value.shape).astype(float)
        made[name] = np.concatenate([own, np.full(held.shape, np.nan)], axis=1).ravel()
    return pandas.DataFrame(made)


def half_design(runs: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Membership [R n]: every image in half of the runs, at random."""
    return rng.permuted(np.tile(np.arange(runs) % 2 == 0, (n, 1)), axis=1).T


def fold_design(folds: int, seeds: int, n: int) -> np.ndarray:
    """Membership [K R, n] of K folds x R seeds: out of R runs."""
    return np.repeat(np.arange(n) % folds != np.arange(folds)[:, None], seeds, axis=0)


def gaussian_mean(images: np.ndarray, copies: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """L [R n] of images [n d] under N(mean of the run's rows, I): maximum likelihood, inside [R n]."""
    weight = inside * copies
    mean = weight @ images / weight.sum(1, keepdims=True)
    squared = ((images[None] - mean[:, None]) ** 2).sum(2)
    return -squared / 2 - images.shape[1] / 2 * np.log(2 * np.pi)


@pytest.mark.parametrize("r", [1, 3, 10])
def test_the_gaussian_mean_model_has_the_known_score(r):
    """K26: ||e||^2/(2 s^2) ((N/(N - r))^2 - 1), e the residual with the image in; here s = 1, one run each."""
    rng = np.random.default_rng(r)
    images, copies = rng.normal(size=(12, 5)), np.ones(12)
    copies[0] = r
    inside = np.ones((2, 12), bool)
    inside[1, 0] = False
    found = scores(table(gaussian_mean(images, copies, inside), inside, copies=copies)).iloc[0]
    N = 11 + r
    e = images[0] - copies @ images / N
    known = e @ e / 2 * ((N / (N - r)) ** 2 - 1)
    np.testing.assert_allclose([found["Mbar"], found["M"]], known, rtol=1e-11)
    assert found["m_in"] == found["m_out"] == 1 and np.isnan([found["se"], found["M_se"]]).all()


def test_k_folds_have_the_known_means():
    """K27: n 60, d 4, K 5, one seed: mean Mbar d K/(n (K - 1)) = .0833; mean M .0901, biased by 4 runs against 1.

    5,000 data sets beside each other, for a standard error of .0004; a table of the first of them says the same.
    """
    rng, inside = np.random.default_rng(0), fold_design(5, 1, 60)
    value = np.concatenate([gaussian_mean(rng.normal(size=(60, 4)), np.ones(60), inside) for _ in range(5000)], axis=1)
    member = np.tile(inside, 5000)
    Mbar, (M, _) = difference(value, member).value, lme_difference(value, member)
    assert Mbar.mean() == pytest.approx(4 * 5 / (60 * 4), abs=0.002)
    assert M.mean() == pytest.approx(0.0901, abs=0.002)
    first = scores(table(value[:, :60], inside, fold_of=5))
    np.testing.assert_allclose(first[["Mbar", "M"]], np.stack([Mbar, M], axis=1)[:60], rtol=1e-12)


@pytest.mark.parametrize(("s", "alone"), [(0.02, True), (0.4, False)])
def test_a_kernel_density_has_the_known_score(s, alone):
    """K28: ln(r_i/N) + ln(N - r_i) - logsumexp_{j != i}(ln r_j - d_ij^2/2s^2), for a small s.

    At any s the density with the image in is (r_i + sum_{j != i} r_j exp(-d_ij^2/2s^2))/N; K28 leaves out the sum.
    """
    rng = np.random.default_rng(4)
    images, copies = (
        np.mgrid[:3, :3].reshape(2, 9).T / 3 + 0.1 * rng.random((9, 2)),
        rng.integers(1, 5, 9).astype(float),
    )
    logits = -((images[:, None] - images) ** 2).sum(2) / (2 * s**2)
    inside = np.concatenate([np.ones((1, 9), bool), ~np.eye(9, dtype=bool)])
    with np.errstate(divide="ignore"):
        weight = np.log(inside * copies)  # [R n]
    value = logsumexp(weight[:, None] + logits, axis=2) - np.log((inside * copies).sum(1))[:, None]
    # A run for each image left out: the others are in there too, so only run 0 and its own run say what K28 does.
    for i in range(9):
        pair = [0, 1 + i]
        found = scores(table(value[pair][:, [i]], inside[pair][:, [i]], copies=copies[i])).iloc[0]
        N, rest = copies.sum(), logsumexp(np.delete(np.log(copies) + logits[i], i))
        own = np.log(copies[i]) if alone else np.logaddexp(np.log(copies[i]), rest)
        known = own - np.log(N) + np.log(N - copies[i]) - rest
        np.testing.assert_allclose([found["Mbar"], found["M"]], known, rtol=1e-9)


def test_halves_have_the_smaller_error():
    """measures.md 2.8: 30 runs as random halves against 10 folds x 3 seeds: the SE is 1.67 times smaller."""
    rng, n = np.random.default_rng(5), 4000
    spread, told = {}, {}
    for name, inside in (("halves", half_design(30, n, rng)), ("folds", fold_design(10, 3, n))):
        found = scores(table(rng.normal(size=(30, n)), inside))
        spread[name], told[name] = found["Mbar"].std(), np.sqrt((found["se"] ** 2).mean())
        assert told[name] == pytest.approx(spread[name], rel=0.05)
    assert spread["folds"] / spread["halves"] == pytest.approx(1.667, rel=0.04)


@pytest.mark.parametrize("design", ["halves", "folds", "six runs"])
def test_the_null_exceeds_two_errors_as_often_as_expected(design):
    """Normal values without effect: P(Mbar > 2 se) is 2.8 % for halves of 30 runs, 7.1 % for 10 folds x 3 seeds."""
    rng, n = np.random.default_rng(6), 6000
    designs = {"halves": half_design(30, n, rng), "folds": fold_design(10, 3, n), "six runs": half_design(6, n, rng)}
    found = scores(table(rng.normal(size=designs[design].shape), designs[design]))
    ratio, m = found["Mbar"] / found["se"], (found["m_in"], found["m_out"])
    for c in (1, 1.701, 2, 3):
        assert (ratio > c).mean() == pytest.approx(expected_above(*m, c), abs=3 * np.sqrt(0.08 * 0.92 / n))
    if design != "folds":  # as many runs on both sides: Student's t, 90 % between its 5 % ends
        freedom = {"halves": 28, "six runs": 4}[design]
        assert expected_above(*m) == pytest.approx(stats.t.sf(2, freedom), abs=3e-4)
        assert (ratio.abs() < stats.t.ppf(0.95, freedom)).mean() == pytest.approx(0.90, abs=0.012)
    else:
        assert expected_above(*m) == pytest.approx(0.0711, abs=3e-4)


def test_permuted_memberships_score_nothing():
    """The null: hold-out images that share each run's luck, mean 0, spread = SE; whatever the pool memorized."""
    rng = np.random.default_rng(7)
    inside = half_design(20, 300, rng)
    luck = 3 * rng.normal(size=(20, 1))
    images = table(
        rng.normal(size=inside.shape) + 50 * inside + luck, inside, holdout=rng.normal(size=(20, 400)) + luck
    )
    found = permuted(images, rng)
    assert len(found) == 400 and (found["m_in"] == 10).all()
    assert abs(found["Mbar"].mean()) < 4 * found["se"].mean() / np.sqrt(400)
    assert found["Mbar"].std() == pytest.approx(np.sqrt((found["se"] ** 2).mean()), rel=0.1)
    again = permuted(images, np.random.default_rng(8))["Mbar"]
    np.testing.assert_array_equal(again, permuted(images, np.random.default_rng(8))["Mbar"])


def test_the_null_shuffles_even_what_hold_out_images_learned():
    """One pool image lifts every hold-out image by 10: its own membership lent to them would be no null."""
    rng = np.random.default_rng(8)
    inside = half_design(12, 1, rng)
    found = permuted(table(10.0 * inside, inside, holdout=10 * inside + rng.normal(size=(12, 200))), rng)
    assert abs(found["Mbar"].mean()) < 4 * found["se"].mean() / np.sqrt(200)


def test_planted_memories_are_told_from_planted_lessons():
    """Images 0-39 gain 8 alone, 40-79 give their 3 neighbours 6, 80-119 nothing; the SE of a score is 0.4."""
    rng, n, runs = np.random.default_rng(9), 120, 24
    inside = half_design(runs, n, rng)
    value = rng.normal(size=(runs, n)) + 2 * rng.normal(size=(runs, 1))
    value[:, :80] += 8 * inside[:, :80]
    holdout = rng.normal(size=(runs, 3 * n)) + 2 * rng.normal(size=(runs, 1))
    holdout += np.repeat(np.where(np.arange(n)[None] // 40 == 1, 6 * inside, 0), 3, axis=1)
    images = table(value, inside, holdout=holdout)
    neighbors = {f"i{k:04d}": [f"h{3 * k + j:04d}" for j in range(3)] for k in range(n)}
    found = scores(images).merge(neighbor_scores(images, neighbors), on=["cell_id", "image_id"])
    kind, truth = kinds(found), np.repeat(["memorized", "learned", "neither"], 40)
    assert [np.mean(kind[truth == k] == k) >= 0.85 for k in ("memorized", "learned", "neither")] == [True] * 3
    assert found["neighbor"][40:80].mean() == pytest.approx(6, abs=0.5)
    assert abs(found["neighbor"][:40].mean()) < 0.5
    np.testing.assert_allclose(found["excess"], found["Mbar"] - found["neighbor"], atol=1e-12)


def test_the_neighbours_error_is_clustered_by_run():
    """20 neighbours that move together in a run say as much as one: the spread over images is the SE told."""
    rng, n, runs = np.random.default_rng(10), 400, 16
    inside = half_design(runs, n, rng)
    luck = rng.normal(size=(runs, 1))  # of the run: all hold-out images share it
    images = table(rng.normal(size=(runs, n)), inside, holdout=luck + 0.1 * rng.normal(size=(runs, 20)))
    ids = [f"h{k:04d}" for k in range(20)]
    found = neighbor_scores(images, {f"i{k:04d}": ids for k in range(n)})
    assert found["neighbor"].std() == pytest.approx(np.sqrt((found["neighbor_se"] ** 2).mean()), rel=0.1)


def test_the_jackknife_is_that_of_its_definition():
    """Leave out each run, in and out apart; values so far apart that one run is nearly all of the LME."""
    rng = np.random.default_rng(11)
    value, inside = 300 * rng.normal(size=(9, 40)), half_design(9, 40, rng)
    value[rng.random(value.shape) < 0.1] = np.nan
    M, M_se = lme_difference(value, inside)
    for i in range(40):
        total, lme = 0.0, []
        for side in (inside[:, i], ~inside[:, i]):
            v = value[side & ~np.isnan(value[:, i]), i]
            m = len(v)
            lme.append(logsumexp(v) - np.log(m) if m else np.nan)
            left = np.array([logsumexp(np.delete(v, j)) - np.log(m - 1) for j in range(m)]) if m > 1 else [np.nan]
            total += (m - 1) / max(m, 1) * np.sum((left - np.mean(left)) ** 2)
        np.testing.assert_allclose([M[i], M_se[i]], [lme[0] - lme[1], np.sqrt(total)], rtol=1e-9)


def test_means_and_errors_are_those_of_the_definition():
    rng = np.random.default_rng(12)
    value, inside = rng.normal(size=(8, 30)) - 1e6, half_design(8, 30, rng)
    value[rng.random(value.shape) < 0.2] = np.nan
    found = difference(value, inside)
    for i in range(30):
        a, b = (value[side & ~np.isnan(value[:, i]), i] for side in (inside[:, i], ~inside[:, i]))
        if min(len(a), len(b)) < 2:
            assert np.isnan(found.se[i])
            continue
        assert found.value[i] == pytest.approx(a.mean() - b.mean(), abs=1e-8)
        assert found.se[i] == pytest.approx(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)), rel=1e-6)


def test_one_sided_images_are_left_empty():
    """Image 0 never left out, 1 never in, 2 out once, 3 without a value: no score, no score, no error, no score."""
    inside = np.array([[1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0]], bool)
    value = np.arange(16.0).reshape(4, 4)
    value[:, 3] = np.nan
    found = scores(table(value, inside))
    assert np.isnan(found.loc[[0, 1, 3], ["Mbar", "M", "se"]]).all(axis=None)
    assert found["Mbar"][2] == pytest.approx((2 + 6 + 14) / 3 - 10)
    assert np.isnan(found.loc[2, ["se", "M_se"]].astype(float)).all()
    assert found["m_out"].tolist() == [0, 4, 1, 0] and found["m_in"].tolist() == [4, 0, 3, 0]
    assert np.isnan(found.loc[0, "mean_out"]) and found.loc[0, "mean_in"] == 6


def test_runs_without_a_fold_do_not_count():
    """A grid's ordinary run trained on all images, another size of training set."""
    rng = np.random.default_rng(13)
    inside = half_design(6, 10, rng)
    images = table(rng.normal(size=(6, 10)), inside)
    plain = table(100 + rng.normal(size=(1, 10)), np.ones((1, 10), bool)).assign(run_id="plain", fold_of=np.nan)
    pandas.testing.assert_frame_equal(scores(pandas.concat([images, plain], ignore_index=True)), scores(images))


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(14)
    images = table(rng.normal(size=(6, 20)), half_design(6, 20, rng), holdout=rng.normal(size=(6, 5)))
    shuffled = images.iloc[rng.permutation(len(images))]
    pandas.testing.assert_frame_equal(scores(shuffled), scores(images))


def test_cells_pool_by_inverse_variance():
    rng = np.random.default_rng(15)
    frames = [
        table(rng.normal(0, scale, (10, 8)) + scale, half_design(10, 8, rng), cell=cell)
        for cell, scale in (("a", 1.0), ("b", 3.0), ("d", 0.5))
    ]
    single = scores(pandas.concat(frames, ignore_index=True))
    single.loc[0, "se"] = np.nan
    found = pooled(single).set_index("image_id")
    for image, part in single.groupby("image_id"):
        part = part[part["se"].notna()]
        weight = 1 / part["se"] ** 2
        row = found.loc[image]
        for name in ("Mbar", "mean_in", "mean_out"):
            assert row[name] == pytest.approx(np.average(part[name], weights=weight))
        assert row["se"] == pytest.approx(weight.sum() ** -0.5) and row["n_cells"] == len(part)
        every = single[single["image_id"] == image]
        assert row["M"] == pytest.approx(np.average(every["M"], weights=every["M_se"] ** -2))


def test_pooling_keeps_other_copies_apart():
    rng, inside = np.random.default_rng(16), half_design(8, 2, np.random.default_rng(0))
    frames = [
        table(rng.normal(size=(8, 2)), inside, cell=cell, copies=copies)
        for cell, copies in (("a", [1, 4]), ("b", [4, 1]), ("d", [1, 4]))
    ]
    found = pooled(scores(pandas.concat(frames)))
    assert found[["image_id", "copies", "n_cells"]].to_numpy().tolist() == [
        ["i0000", 1, 2], ["i0000", 4, 1], ["i0001", 1, 1], ["i0001", 4, 2],
    ]  # fmt: skip


def test_halves_deal_every_run_once():
    rng = np.random.default_rng(17)
    images = table(rng.normal(size=(9, 5)), half_design(9, 5, rng), holdout=rng.normal(size=(9, 2)))
    (a,), (b,) = halves(cells(images), rng)
    assert (len(a.value), len(b.value)) == (4, 5)
    whole = cells(images)[0]
    np.testing.assert_allclose(np.sort(np.concatenate([a.value, b.value]), axis=0), np.sort(whole.value, axis=0))
    np.testing.assert_allclose(a.value.sum(0) + b.value.sum(0), whole.value.sum(0))


def test_nearest_holdout_is_brute_force():
    rng = np.random.default_rng(18)
    pixels = rng.integers(0, 256, (60, 3, 5, 5)).astype(np.uint8)
    pixels[7], pixels[33] = pixels[41], pixels[42]  # equal to hold-out images: distance 0
    ids = [f"{k:016x}" for k in range(60)]
    found = nearest_holdout(ids, pixels, set(ids[40:]), k=4)
    assert set(found) == set(ids[:40]) and found[ids[7]][0] == ids[41] and found[ids[33]][0] == ids[42]
    for k in range(40):
        squared = ((pixels[k].astype(int) - pixels[40:].astype(int)) ** 2).sum((1, 2, 3))
        assert found[ids[k]] == [ids[40 + j] for j in np.argsort(squared, kind="stable")[:4]]


def test_seeds_of_one_training_set_are_said():
    """A Gaussian mean model has no luck of the seed: three seeds of each split tell one thing three times.

    Then SE^2 = s^2/m over runs is too small by (3 m - 1)/(m - 1), m training sets on a side: here 14/4 = 3.5.
    """
    rng, n = np.random.default_rng(19), 60
    inside = np.concatenate([(half := half_design(5, n, rng)), ~half])
    value = gaussian_mean(rng.normal(size=(n, 4)), np.ones(n), inside)
    once = table(value, inside)
    thrice = table(np.repeat(value, 3, axis=0), np.repeat(inside, 3, axis=0)).assign(
        fold_split=np.repeat(np.repeat(np.arange(10.0), 3), n)
    )
    assert shared_training_sets(once) == ""
    assert "30 runs have 10 different training sets" in shared_training_sets(thrice)
    np.testing.assert_allclose(scores(once)["se"] ** 2 / scores(thrice)["se"] ** 2, 3.5, rtol=1e-6)


def broken(change) -> pandas.DataFrame:
    rng = np.random.default_rng(20)
    images = table(rng.normal(size=(4, 6)), half_design(4, 6, rng), holdout=rng.normal(size=(4, 3)))
    return change(images.astype({"in_training": object}))


def placed(images: pandas.DataFrame, row: int, **values) -> pandas.DataFrame:
    images.loc[row, list(values)] = list(values.values())
    return images


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(fold_of=np.nan), "no run leaves images out .* train with data.fold.of=2"),
        (lambda t: t.assign(log_density_bound=np.nan), "evaluate.measures must hold density"),
        (lambda t: t.drop(columns="log_density_bound"), "evaluate.measures must hold density"),
        (lambda t: t.assign(draw=t["seed"]), "cell c mixes draws 0, 1, 2, 3: .* give data.draw"),
        (lambda t: t.assign(fold_of=np.where(t["seed"] == 1, 10, 2)), "folds of 2 and 10 parts.*--where fold_of==2"),
        (lambda t: t.assign(images_seen=np.where(t["seed"] == 1, 20, 1000)), "run c-r001 stands at images_seen=20"),
        (lambda t: placed(t, 0, copies=7), "image i0000 has 1 and 7 copies"),
        (lambda t: placed(t, 2, cell_id=None), "cell_id is empty in row 2"),
        (lambda t: placed(t, 3, in_training=None), "in_training is empty in row 3"),
        (lambda t: pandas.concat([t, t.iloc[:1]]), "run c-r000 has image i0000 twice"),
        (lambda t: t.drop(columns="role"), "no column role"),
        (lambda t: placed(t, 0, log_density_bound=np.inf), "row 0 is infinite"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_line(change, says):
    with pytest.raises(ValueError, match=says) as error:
        scores(broken(change))
    assert "\n" not in str(error.value)


def test_other_refusals_name_their_remedy():
    images = broken(lambda t: t)
    with pytest.raises(ValueError, match="runs must measure leverage"):
        scores(images, value="leverage")
    with pytest.raises(ValueError, match="i0001, a neighbour of i0000, is no hold-out image"):
        neighbor_scores(images, {"i0000": ["h0000", "i0001"]})
    with pytest.raises(ValueError, match="no hold-out image is measured"):
        permuted(images.assign(log_density_bound=images["log_density_bound"].where(images["role"] != "holdout")), None)
    with pytest.raises(ValueError, match="3 hold-out images have pixels, 5 neighbours"):
        nearest_holdout(["a", "b", "c", "d"], np.zeros((4, 1, 2, 2), np.uint8), {"b", "c", "d"})
    single = scores(images)
    with pytest.raises(ValueError, match="cell c, image i0003: se is 0"):
        pooled(single.assign(se=single["se"].where(single.index != 3, 0.0)))


def write_study(folder, cell_count: int = 2):
    """TABLES of runs that memorize images of 8 copies, with pixels: evals, images, gallery.npz."""
    rng, frames, n, m = np.random.default_rng(21), [], 48, 12
    copies = np.tile([1, 8], n // 2)
    for cell in range(cell_count):
        inside = half_design(12, n, rng)
        value = rng.normal(size=inside.shape) + 10 * inside * (copies == 8)
        frames.append(
            table(
                value, inside, holdout=rng.normal(size=(12, m)), copies=copies, cell=f"c{cell}",
                nearest_train_distance=rng.random(n), distance_10=1 + rng.random(n), leverage=rng.random(n),
                n_basin_recovered=2 * inside * (copies == 8),
            )
        )  # fmt: skip
    images = pandas.concat(frames, ignore_index=True)
    images.to_parquet(folder / "images.parquet")
    images.drop_duplicates("run_id")[["run_id", "cell_id", "images_seen", "params"]].to_parquet(
        folder / "evals.parquet"
    )
    ids = images["image_id"].unique()
    pixels = rng.integers(0, 256, (len(ids), 1, 8, 8)).astype(np.uint8)
    np.savez(folder / "gallery.npz", image_ids=ids.astype("U"), image_pixels=pixels)
    return folder


def test_the_command_writes_scores_summary_and_figures(tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(write_study(tmp_path)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "24 runs in 2 cells" in printed and "above 2 standard errors" in printed
    frame = pandas.read_parquet(out / "counterfactual.parquet")
    assert len(frame) == 96 and (frame.loc[frame["copies"] == 8, "kind"] == "memorized").mean() > 0.8
    answer = json.loads((out / "counterfactual.json").read_text())
    assert [cell["n_runs"] for cell in answer["cells"]] == [12, 12] and answer["message"] == ""
    whole = answer["pooled"]
    assert 0.5 <= whole["above_2_se"]["share"] < 0.6 and whole["above_2_se"]["expected"] is None
    assert whole["kinds"]["memorized"] >= 20 and whole["null"]["above_2_se"]["share"] < 0.3
    assert {entry["copies"]: round(entry["mean"]) for entry in whole["by_copies"]} == {1: 0, 8: 10}
    high = {(q["high"], q["recovered"]): 0 for q in whole["quadrants"]}
    for q in whole["quadrants"]:
        high[q["high"], q["recovered"]] += q["n"]
    assert high[True, True] == 24 and high[False, True] == 0 and sum(high.values()) == 48
    assert sorted(path.stem for path in out.glob("*.png")) == [
        "most_memorized", "quadrants", "score_and_neighbors", "score_by_copies", "score_by_leverage",
        "score_by_nearest_train_distance",
    ]  # fmt: skip


def test_the_command_repeats_itself_to_the_byte(tmp_path, capsys):
    write_study(tmp_path, cell_count=1)
    for out in ("a", "b"):
        assert main([str(tmp_path), "--out", str(tmp_path / out), "--seed", "3"]) == 0
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_without_pixels_the_neighbours_are_said_to_be_left_out(tmp_path, capsys):
    (write_study(tmp_path, cell_count=1) / "gallery.npz").unlink()
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "neighbour scores and kinds are left out" in capsys.readouterr().out
    answer = json.loads((tmp_path / "out" / "counterfactual.json").read_text())
    assert answer["pooled"] is None and answer["cells"][0]["kinds"] is None
    assert "kind" not in pandas.read_parquet(tmp_path / "out" / "counterfactual.parquet")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--where", "cell_id==nowhere"], "no run leaves images out"),
        (["--level", "95"], "between 0 and 1"),
        (["--where", "colour==red"], "no column colour"),
    ],
)
def test_bad_requests_end_in_one_line(tmp_path, capsys, arguments, says):
    assert main([str(write_study(tmp_path)), "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_damaged_gallery_is_refused(tmp_path, capsys):
    write_study(tmp_path)
    np.savez(tmp_path / "gallery.npz", image_ids=np.array(["i0000"]))
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "1 image_ids for 0 image_pixels" in capsys.readouterr().err
