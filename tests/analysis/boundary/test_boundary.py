"""Membership, volume and knee under errors: closed forms (K48), and simulated studies whose truth is known."""

import time

import numpy as np
import pytest
from scipy.stats import norm

from analysis.boundary.boundary import boundary, boundary_of
from analysis.boundary.cell_means import cell_means
from analysis.boundary.front import front, hypervolume
from analysis.boundary.redraw import Rows

K47 = np.array([(1, 5), (2, 3), (3, 4), (4, 1), (4, 1)], float)


def test_membership_of_two_rows_is_the_known_one():
    """K48: unit errors; equal means .75 each; (0,0) and (1,1): .9425, .4220."""
    for points, known in (([[0, 0], [0, 0]], [0.75, 0.75]), ([[0, 0], [1, 1]], [0.9425, 0.4220])):
        found = boundary(np.array(points, float), se=np.ones((2, 2)), draws=10_000).membership
        np.testing.assert_allclose(found, known, atol=0.01)


def test_exchangeable_rows_share_the_front_of_the_known_size():
    """20 equal rows with errors: each draw is independent columns, so memberships sum to sum 1/k (K49): 3.598."""
    found = boundary(np.zeros((20, 2)), se=np.ones((20, 2)), draws=4000).membership
    assert found.sum() == pytest.approx(np.sum(1 / np.arange(1, 21)), abs=0.1)


def test_resampled_clusters_judge_a_row_where_it_is_drawn():
    """Two clusters: a dominated row is on the front exactly when the other cluster is not drawn: 1/3 of its draws."""
    found = boundary(np.array([[0.0, 0.0], [1.0, 1.0]]), cluster=np.array(["a", "b"]), draws=3000)
    np.testing.assert_allclose(found.membership, [1, 1 / 3], atol=0.03)
    assert found.volume_bias is None  # resampling alone adds no noise


def test_without_errors_or_clusters_membership_is_not_told():
    found = boundary(K47)
    assert found.membership is None and found.volume_lo is None and found.knees is None
    np.testing.assert_allclose(found.reference, [4.3, 5.4])


def test_counts_are_drawn_from_their_posterior():
    """0 of 10 against 0 of 1000, the other column equal: the second is lower with the probability of two Betas."""
    hits, trials = np.array([[0, np.nan], [0, np.nan]]), np.array([[10, np.nan], [1000, np.nan]])
    found = boundary_of(Rows(np.zeros((2, 2)), hits=hits, trials=trials), draws=2000).membership
    a, b = (np.random.default_rng(5).beta(0.5, n + 0.5, 200_000) for n in (10, 1000))
    np.testing.assert_allclose(found, [np.mean(a < b), np.mean(b < a)], atol=0.02)


def test_a_mean_of_runs_moves_with_the_standard_error_of_a_mean():
    """Cells of 3, 2 and 1 runs: covariance S/m, between columns too; the single run takes the pooled covariance."""
    rng = np.random.default_rng(3)
    cell = np.array(["a", "a", "a", "b", "b", "c"])
    x = rng.standard_normal((6, 2)) @ np.array([[1, 0.8], [0, 0.3]])
    drawn, there = cell_means(Rows(x), cell).draw(40_000, rng)
    assert there.all()
    np.testing.assert_allclose(drawn.mean(0), [x[:3].mean(0), x[3:5].mean(0), x[5]], atol=0.03)
    s_a, s_b = np.cov(x[:3].T), np.cov(x[3:5].T)
    for k, known in enumerate((s_a / 3, s_b / 2, (2 * s_a + s_b) / 3)):
        np.testing.assert_allclose(np.cov(drawn[:, k].T), known, atol=0.03 * np.abs(known).max())


def test_a_seed_shared_by_cells_moves_them_together():
    """Seed i adds the same to every cell: differences between cells are exact, whatever the seeds do."""
    luck = np.array([0.0, 5.0, -3.0])[[0, 1, 2, 0, 1, 2]]
    x = np.stack([luck, luck], axis=1) + np.repeat([[0.0, 0.0], [1.0, 1.0]], 3, axis=0)
    shared = cell_means(Rows(x, cluster=np.array(list("012012"))), np.repeat(["a", "b"], 3))
    assert boundary_of(shared, draws=500).membership.tolist() == [1, 0]
    assert boundary_of(cell_means(Rows(x), np.repeat(["a", "b"], 3)), draws=500).membership[1] > 0.2


def test_rows_of_one_run_in_a_cell_count_once():
    x = np.array([[0.0, 1], [0, 1], [0, 1], [2, 3]])
    found = cell_means(Rows(x, cluster=np.array(["r", "r", "r", "s"])), np.array(["a"] * 4))
    np.testing.assert_allclose(found.value, [[1, 2]])
    assert found.n_runs.tolist() == [2]


def test_equal_counts_in_three_runs_do_not_make_a_mean_exact():
    hits, trials = np.array([[0.0, np.nan]] * 3), np.array([[50.0, np.nan]] * 3)
    x = np.array([[0.0, 1.0], [0.0, 1.1], [0.0, 1.2]])
    made = cell_means(Rows(x, hits=hits, trials=trials), np.array(["a"] * 3))
    drawn, _ = made.draw(20_000, np.random.default_rng(0))
    assert drawn[:, 0, 0].mean() == pytest.approx(0.5 / 151, rel=0.05)  # Beta(1/2, 150 1/2)
    assert drawn[:, 0, 1].std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)


def test_cells_of_one_run_without_errors_raise():
    with pytest.raises(ValueError, match="2 cells of one run each"):
        cell_means(Rows(np.zeros((2, 2))), np.array(["a", "b"]))


def test_small_errors_move_the_volume_as_the_formula_says():
    """Points far apart: dV = sum over the corners of h_k dx_k + w_k dy_k, so the arm is 1.96 sd of that sum."""
    points, reference, s = np.array([(0.0, 2), (1, 1), (2, 0)]), np.array([3.0, 3]), 0.01
    found = boundary(points, se=np.full((3, 2), s), reference=reference, draws=4000)
    assert found.volume == 6  # 1 x 1 + 1 x 2 + 1 x 3; each point stands free over an edge of length 1 both ways
    sd = s * np.sqrt(6)
    assert found.volume_hi - found.volume == pytest.approx(1.96 * sd, rel=0.1)
    assert found.volume - found.volume_lo == pytest.approx(1.96 * sd, rel=0.1)
    assert abs(found.volume_bias) < 0.1 * sd


def test_where_points_crowd_the_interval_leaves_the_inflated_volume():
    """40 points above a curve, errors of 10 %: the volume as measured is too large by 0.22; 90 % intervals cover."""
    hits, above, studies = 0, 0, 20
    for study in range(studies):
        rng = np.random.default_rng([2, study])
        points, reference = truth("above a curve", 40, rng), np.full(2, 1.5)
        measured = points + 0.1 * rng.standard_normal(points.shape)
        found = boundary(measured, se=np.full(points.shape, 0.1), reference=reference, draws=80, level=0.9, seed=study)
        hits += found.volume_lo <= hypervolume(points, reference) <= found.volume_hi
        above += found.volume > found.volume_hi
        assert found.volume_bias > 0
    assert hits >= 15 and above >= 5


def test_the_knees_share_the_draws():
    """A clear corner keeps the knee; two mirrored corners share it."""
    clear = np.array([(0.0, 10), (1, 1), (10, 0)])
    found = boundary(clear, se=np.full((3, 2), 0.2), draws=400)
    assert found.knee == 1 and found.knee_membership > 0.95
    twin = np.array([(0.0, 10), (1, 3), (3, 1), (10, 0)])
    found = boundary(twin, se=np.full((4, 2), 0.5), draws=2000)
    np.testing.assert_allclose(found.knees[1:3], [0.5, 0.5], atol=0.05)


def test_the_same_seed_gives_the_same_answer_and_no_rows_raise():
    a, b = (boundary(K47, se=np.full(K47.shape, 0.3), draws=50, seed=4) for _ in range(2))
    np.testing.assert_array_equal(a.membership, b.membership)
    assert (a.volume_lo, a.volume_hi) == (b.volume_lo, b.volume_hi)
    with pytest.raises(ValueError, match="no rows"):
        boundary(np.empty((0, 2)))


def test_a_thousand_draws_of_five_hundred_rows_take_seconds():
    points = np.random.default_rng(0).random((500, 3))
    start = time.perf_counter()
    boundary(points, se=np.full(points.shape, 0.05))
    assert time.perf_counter() - start < 4  # about 0.7 s on one idle core


def truth(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Points of a study: all on one curve, scattered above it, without a trade-off, or above a plane in 3 columns."""
    if kind == "no trade-off":
        return rng.random((n, 2))
    if kind == "3 columns":
        return rng.dirichlet(np.ones(3), n) + rng.exponential(0.1, (n, 1))
    t = rng.random(n)
    curve = np.stack([t, (1 - np.sqrt(t)) ** 2], axis=1)
    return curve if kind == "on a curve" else curve + rng.exponential(0.1, (n, 1))


@pytest.mark.slow
def test_the_volume_interval_covers_the_true_volume(keep_table):
    """90 % intervals, 300 studies a line (standard error 1.7 %); the errors are 2 % and 10 % of the columns' range."""
    rows, studies = [], 300
    for kind in ("on a curve", "above a curve", "no trade-off", "3 columns"):
        for n, s in ((10, 0.02), (40, 0.02), (10, 0.1), (40, 0.1)):
            rng, hits, bias, left = np.random.default_rng(n), 0, 0.0, 0.0
            for study in range(studies):
                points = truth(kind, n, rng)
                reference = np.full(points.shape[1], 1.5)
                true = hypervolume(points, reference)
                measured = points + s * rng.standard_normal(points.shape)
                found = boundary(
                    measured, se=np.full(points.shape, s), reference=reference, draws=150, level=0.9, seed=study
                )
                hits += found.volume_lo <= true <= found.volume_hi
                bias += (found.volume - true) / studies
                left += ((found.volume_lo + found.volume_hi) / 2 - true) / studies
            rows.append({
                "points": kind, "n": n, "error": s, "studies": studies, "coverage of 90 %": f"{hits / studies:.3f}",
                "bias of the volume as measured": f"{bias:.4f}", "of the middle of the interval": f"{left:.4f}",
            })  # fmt: skip
    rows += [cell_coverage(n_runs) for n_runs in (2, 3, 5)]
    keep_table("pareto_volume", "Does the interval of the volume cover?", rows, "the study's number")
    covered = [float(row["coverage of 90 %"]) for row in rows]
    assert min(covered) >= 0.82 and max(covered) <= 0.99 and 0.86 <= np.mean(covered) <= 0.95


def cell_coverage(n_runs: int, *, n: int = 20, s: float = 0.05, studies: int = 300) -> dict:
    """Means of `n_runs` runs a cell, nothing said about the runs' scatter but the runs themselves."""
    rng, hits, bias, left = np.random.default_rng(n_runs), 0, 0.0, 0.0
    reference, cell = np.full(2, 1.5), np.repeat(np.arange(n), n_runs)
    for study in range(studies):
        points = truth("above a curve", n, rng)
        true = hypervolume(points, reference)
        runs = points[cell] + s * rng.standard_normal((len(cell), 2))
        found = boundary_of(cell_means(Rows(runs), cell), reference=reference, draws=150, level=0.9, seed=study)
        hits += found.volume_lo <= true <= found.volume_hi
        bias += (found.volume - true) / studies
        left += ((found.volume_lo + found.volume_hi) / 2 - true) / studies
    return {
        "points": f"above a curve, means of {n_runs} runs", "n": n, "error": s, "studies": studies,
        "coverage of 90 %": f"{hits / studies:.3f}", "bias of the volume as measured": f"{bias:.4f}",
        "of the middle of the interval": f"{left:.4f}",
    }  # fmt: skip


@pytest.mark.slow
def test_membership_is_a_probability(keep_table):
    """Truth flat, as the prior: of the rows with membership near m, about the share m is on the front."""
    said, true, raw = [], [], []
    for study in range(300):
        rng = np.random.default_rng([11, study])
        points = rng.random((30, 2))
        measured = points + 0.05 * rng.standard_normal(points.shape)
        found = boundary(measured, se=np.full(points.shape, 0.05), draws=200, seed=study)
        said.append(found.membership)
        true.append(front(points))
        raw.append(front(measured))
    said, true, raw = map(np.concatenate, (said, true, raw))
    rows = []
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (said >= low) & (said < high)
        rows.append({
            "membership": f"{low:g} to {min(high, 1):g}", "rows": int(inside.sum()),
            "mean": f"{said[inside].mean():.3f}",
            "truly on the front": f"{true[inside].mean():.3f}",
        })  # fmt: skip
        assert abs(said[inside].mean() - true[inside].mean()) < 0.13, rows[-1]
    rows.append({"membership": "on the raw front", "rows": int(raw.sum()), "mean": f"{said[raw].mean():.3f}",
                 "truly on the front": f"{true[raw].mean():.3f}"})  # fmt: skip
    keep_table("pareto_membership", "Is membership a probability?", rows, "11, the study's number")


def test_normal_probability_of_a_crossing():
    """Exact first column, unit errors in the second at distance d: the worse row stays with Phi(-d/sqrt 2)."""
    found = boundary(np.array([[0.0, 0.0], [1.0, 1.5]]), se=np.array([[0.0, 1.0], [0.0, 1.0]]), draws=3000)
    assert found.membership[0] == 1
    assert found.membership[1] == pytest.approx(norm.cdf(-1.5 / np.sqrt(2)), abs=0.02)
