"""Placing a model: closed forms, the definition by brute force, and a design whose cheapest way is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from analysis.boundary.cell_means import cell_means
from analysis.boundary.front import front
from analysis.boundary.place import placed
from analysis.boundary.redraw import Rows

AB = ("a", "b")
TABLE = np.array([(1, 5), (2, 3), (4, 1), (5, 5)], float)


def one(points, model, **options):
    (found,) = placed(Rows(np.array(points, float)), Rows(np.array([model], float)), AB, **options)
    return found


def by_column(found):
    return {move.column: move for move in found.moves}


def test_a_dominated_model_and_its_moves():
    """(3, 4) is dominated by (2, 3) alone: it must fall to 2 in a, or to 3 in b."""
    found = one(TABLE, (3, 4))
    assert (found.p_front, found.p_dominated, found.by) == (0, 1, ((1, None),))
    moves = by_column(found)
    assert (moves["a"].by, moves["a"].to, moves["a"].of_range) == (1, 2, 0.25)
    assert (moves["b"].by, moves["b"].to, moves["b"].lo) == (1, 3, None)
    (way,) = found.dominating
    assert way.row == 1 and way.on_front and way.gains == {"a": 1, "b": 1} and way.words == ""


@pytest.mark.parametrize("model", [(0, 0), (1, 5), (0.5, 9), (3, 2)])
def test_on_the_boundary_nothing_has_to_move(model):
    found = one(TABLE, model)
    assert found.p_front == 1 and found.by == () and found.dominating == ()
    assert all(move.by == 0 for move in found.moves)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 4).flatmap(lambda c: st.tuples(
    arrays(float, st.tuples(st.integers(1, 12), st.just(c)), elements=st.integers(0, 5)),
    arrays(float, c, elements=st.integers(0, 5)))))  # fmt: skip
def test_by_the_definition(tables):
    """A little beyond a move the model is on the front of table and model together; a little before it is not."""
    points, model = tables
    names = [f"c{k}" for k in range(len(model))]
    (found,) = placed(Rows(points), Rows(model[None]), names)

    def on_front(at):
        return bool(front(np.vstack([points, at]))[-1])

    assert found.p_front == on_front(model)
    dominating = {int(k) for k, q in enumerate(points) if np.all(q <= model) and np.any(q < model)}
    assert {k for k, _ in found.by} <= dominating and len(found.by) == min(len(dominating), 10)
    for move in found.moves:
        step = np.zeros(len(model))
        step[names.index(move.column)] = 1
        assert on_front(model - (move.by + 0.5 * (not on_front(model))) * step)
        if move.by > 0:
            assert not on_front(model - (move.by - 0.5) * step)


def test_the_probability_is_that_of_two_normals():
    """One row at 0, a model at d, unit errors on both: dominated with Phi(d1/sqrt 2) Phi(d2/sqrt 2); (1, 1): K48."""
    for d in ((1, 1), (0, 2), (-1, 0.5)):
        points, model = Rows(np.zeros((1, 2)), np.ones((1, 2))), Rows(np.array([d], float), np.ones((1, 2)))
        (found,) = placed(points, model, AB, draws=20_000)
        known = np.prod(norm.cdf(np.array(d) / np.sqrt(2)))
        assert found.p_dominated == pytest.approx(known, abs=0.01) and found.p_front == 1 - found.p_dominated
        assert found.by[0][1] == pytest.approx(known, abs=0.01)


def test_the_models_own_errors_count_alone():
    """An exact row: Phi(d1) Phi(d2)."""
    (found,) = placed(Rows(np.zeros((1, 2))), Rows(np.array([[1.0, 0.5]]), np.ones((1, 2))), AB, draws=20_000)
    assert found.p_dominated == pytest.approx(norm.cdf(1) * norm.cdf(0.5), abs=0.01)


def test_the_interval_of_a_move_is_that_of_a_difference():
    """Far from the corner a is 5 above the only row: 5 ± 1.96 sqrt 2 x .1 in a."""
    points, model = Rows(np.zeros((1, 2)), np.full((1, 2), 0.1)), Rows(np.array([[5.0, 9.0]]), np.full((1, 2), 0.1))
    (found,) = placed(points, model, AB, draws=20_000)
    move = by_column(found)["a"]
    np.testing.assert_allclose([move.by, move.lo, move.hi], [5, 5 - 0.277, 5 + 0.277], atol=0.01)
    assert move.of_range is None  # one row has no range


def test_counts_of_the_model_are_drawn():
    """3 of 10 against an exact rate of .2, the other column equal: dominated where the Beta draw lies above .2."""
    points = Rows(np.array([[0.2, 1.0]]))
    model = Rows(np.array([[0.3, 1.0]]), None, np.array([[3, np.nan]]), np.array([[10, np.nan]]))
    (found,) = placed(points, model, AB, draws=20_000)
    assert found.p_dominated == pytest.approx(np.mean(np.random.default_rng(3).beta(3.5, 7.5, 10**6) > 0.2), abs=0.01)


def test_what_a_draw_does_not_hold_dominates_nothing():
    """Two clusters of one row, the first dominates: it is drawn with probability 3/4, and only then counts."""
    points = Rows(np.array([[0.0, 0.0], [9.0, 0.0]]), cluster=np.array(["r", "s"]))
    (found,) = placed(points, Rows(np.array([[1.0, 1.0]])), AB, draws=10_000)
    assert found.p_dominated == pytest.approx(0.75, abs=0.02)
    assert (by_column(found)["a"].lo, by_column(found)["a"].hi) == (
        0,
        1,
    )  # in a quarter of the draws nothing has to move


def test_cells_can_be_placed_against():
    cell = np.repeat(["x", "y"], 3)
    runs = np.array([[0, 0], [0.1, 0], [0, 0.1], [5, 5], [5, 5.1], [5.1, 5]], float)
    (found,) = placed(cell_means(Rows(runs), cell), Rows(np.array([[3.0, 3.0]])), AB, draws=200)
    assert found.by == ((0, 1.0),) and found.p_front == 0


def test_the_cheapest_way_changes_fewest_things_least():
    """Dominating rows: size and data changed (by less in all); 1/4 of the copies; 1/2 of them: cheapest; not known."""
    points = np.array([(0, 0), (0.5, 0.5), (0.6, 0.6), (0.7, 0.7), (9, 9)], float)
    design = {
        "copies": (np.array([8.0, 2, 4, np.nan, 8]), np.array([8.0])),
        "params": (np.array([50.0, 100, 100, 100, 100]), np.array([100.0])),
        "n_unique": (np.array([150.0, 100, 100, 100, 100]), np.array([100.0])),
    }
    found = one(points, (1, 1), design=design)
    assert [way.row for way in found.dominating] == [2, 1, 0, 3]
    best, second, both, unknown = found.dominating
    assert best.words == "fewer copies (copies x1/2)" and second.words == "fewer copies (copies x1/4)"
    assert both.words == "fewer parameters (params x1/2), more unique images (n_unique x1.5)" and both.n_changed == 2
    assert unknown.changes["copies"] is None and "copies not known" in unknown.words
    assert not best.on_front and both.on_front  # any dominating row is a better place, on the front or not


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="row 0 of the models lacks a value"):
        one(TABLE, (np.nan, 1))
    with pytest.raises(ValueError, match="same columns"):
        placed(Rows(TABLE), Rows(np.ones((1, 3))), AB)
    with pytest.raises(ValueError, match="design column copies holds 0"):
        one(TABLE, (3, 4), design={"copies": (np.zeros(4), np.ones(1))})
    with pytest.raises(ValueError, match="no boundary"):
        one(np.empty((0, 2)), (1, 1))
