"""The geometry of boundaries against the definition, closed forms and the numbers of measures.md (K47, K49)."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.boundary.front import BLOCK, default_reference, front, hypervolume, knee

K47 = np.array([(1, 5), (2, 3), (3, 4), (4, 1), (4, 1)], float)
TRIANGLE = np.array([(1, 2, 3), (2, 1, 3), (3, 3, 1)], float)


def brute_front(points: np.ndarray) -> np.ndarray:
    """By the definition: no other row is <= everywhere and < somewhere."""
    return np.array([not any(np.all(q <= p) and np.any(q < p) for q in points) for p in points], bool)


def tables(cells):
    """Few values, so that ties and equal rows are common."""
    return st.tuples(st.integers(1, 25), st.integers(1, 5)).flatmap(lambda shape: arrays(float, shape, elements=cells))


@settings(max_examples=300, deadline=None)
@given(tables(st.integers(-2, 3)))
def test_the_front_is_that_of_the_definition(points):
    np.testing.assert_array_equal(front(points), brute_front(points))


@settings(max_examples=100, deadline=None)
@given(tables(st.sampled_from([-0.0, 0.0, 1.0, np.inf, -np.inf])))
def test_signed_zeros_are_equal_and_infinite_values_have_a_place(points):
    np.testing.assert_array_equal(front(points), brute_front(points))


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_beyond_one_block_of_rows_too(columns):
    rng = np.random.default_rng(columns)
    for points in (rng.integers(0, 9, (3 * BLOCK + 5, columns)).astype(float), rng.dirichlet(np.ones(columns), 250)):
        np.testing.assert_array_equal(front(points), brute_front(points))


def test_known_fronts_and_volumes():
    """K47; and a second implementation (moocore 0.3.2) on 200 rows of a Dirichlet law, default_rng(7), up to 1.1."""
    assert np.flatnonzero(front(K47)).tolist() == [0, 1, 3, 4] and front(TRIANGLE).all()
    assert hypervolume(K47, np.array([5, 6])) == 12 and hypervolume(TRIANGLE, np.array([4, 4, 4])) == 10
    rng = np.random.default_rng(7)
    for columns, volume in ((2, 0.7048732801224995), (3, 1.1111697715522562), (4, 1.3437865677514838)):
        points = rng.dirichlet(np.ones(columns), 200)
        assert hypervolume(points, np.full(columns, 1.1)) == pytest.approx(volume, rel=1e-12)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_the_volume_is_the_number_of_dominated_cells(columns):
    """On integers: count the unit cells whose lower corner some row dominates."""
    rng = np.random.default_rng(columns)
    cells = np.stack(np.meshgrid(*[np.arange(5)] * columns), axis=-1).reshape(-1, columns)
    for _ in range(40):
        points = rng.integers(0, 6, (rng.integers(1, 12), columns)).astype(float)
        dominated = (points[None] <= cells[:, None]).all(axis=2).any(axis=1)
        assert hypervolume(points, np.full(columns, 5.0)) == dominated.sum()


def test_rows_beyond_the_reference_and_dominated_rows_add_nothing():
    assert hypervolume(np.array([[1.0, 9.0], [2.0, 2.0]]), np.array([3.0, 3.0])) == 1
    assert hypervolume(np.array([[3.0, 1.0]]), np.array([3.0, 3.0])) == 0
    assert hypervolume(np.array([[2.0, 2.0], [2.5, 2.5], [2.0, 2.0]]), np.array([3.0, 3.0])) == 1


def test_independent_columns_give_a_front_of_the_known_size():
    """K49, the null of no trade-off: 100 uniform rows: sum 1/k = 5.187 in two columns; 14.272 in three."""
    rng = np.random.default_rng(0)
    for columns, size, sd in ((2, 5.187, 1.9), (3, 14.272, 3.4)):
        found = np.mean([front(rng.random((100, columns))).sum() for _ in range(300)])
        assert found == pytest.approx(size, abs=3 * sd / np.sqrt(300))


def test_the_front_does_not_change_under_a_monotone_map():
    points = np.random.default_rng(1).random((200, 3)) + 0.1
    np.testing.assert_array_equal(front(points), front(np.log(points)))


def test_the_knee_of_a_curve_is_the_known_one():
    """K49: (t, (1 - sqrt t)^2) turns at (.25, .25)."""
    t = np.linspace(0, 1, 401)
    points = np.stack([t, (1 - np.sqrt(t)) ** 2], axis=1)
    np.testing.assert_allclose(points[knee(points)], [0.25, 0.25], atol=1e-9)
    with_constant = np.insert(points, 1, 7.0, axis=1)
    assert knee(with_constant) == knee(points)


def test_the_knee_of_a_surface_is_its_middle():
    """x y z = 1 within [1/4, 4]: the mean of the three is at least their geometric mean, so (1, 1, 1) is the lowest."""
    x, y = np.meshgrid(2.0 ** np.arange(-2, 3), 2.0 ** np.arange(-2, 3))
    points = np.stack([x.ravel(), y.ravel(), 1 / (x * y).ravel()], axis=1)
    points = points[(points[:, 2] >= 1 / 4) & (points[:, 2] <= 4)]
    np.testing.assert_array_equal(points[knee(points)], [1, 1, 1])


STRAIGHT = np.stack([np.linspace(0, 1, 30), 1 - np.linspace(0, 1, 30)], axis=1)


@pytest.mark.parametrize(
    "points", [[[1.0, 1.0]], [[1.0, 3.0], [1.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.0]] * 3, STRAIGHT]
)
def test_without_a_line_to_be_below_there_is_no_knee(points):
    """One point, a constant column, two points, equal rows, a straight front: the null of no knee."""
    assert knee(np.array(points)) is None


def test_no_rows_a_missing_value_and_constant_columns():
    assert front(np.empty((0, 2))).shape == (0,)
    assert front(np.ones((4, 3))).all() and front(np.array([[1.0, 2.0]])).all()
    assert front(np.array([[1.0, 2.0, 0.0], [1.0, 1.0, 0.0]])).tolist() == [False, True]
    with pytest.raises(ValueError, match="row 1 lacks a value"):
        front(np.array([[1.0, 2.0], [np.nan, 1.0]]))


def test_the_default_reference_leaves_the_extremes_a_volume():
    np.testing.assert_allclose(default_reference(K47), [4.3, 5.4])
    assert hypervolume(np.array([[2.0, 2.0]]), default_reference(np.array([[2.0, 2.0]]))) == pytest.approx(0.01)


def test_ten_thousand_rows_take_well_under_a_second():
    rng = np.random.default_rng(0)
    uniform, all_front = rng.random((10_000, 3)), rng.dirichlet(np.ones(3), 10_000)
    start = time.perf_counter()
    assert front(uniform).sum() < 200 and front(all_front).all()
    assert time.perf_counter() - start < 2.0  # 0.1 to 0.2 s on one core; all rows on the front is the worst case
