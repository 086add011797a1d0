"""The Pareto figures: front, knee, membership and ways out of points whose answer is known by hand."""

import numpy as np
import pandas
import pytest

from analysis.pictures.boundary_figures import boundaries, placed_alone
from analysis.plots import Ordered
from tests.analysis.plain_study import tables

MANY = 10**7
POINTS = {"a": (1.0, 0.8), "b": (2.0, 0.2), "c": (5.0, 0.1), "d": (4.0, 0.9)}  # d is dominated by a and b
SIZE = Ordered([1000], "params")


def rows(points=None, *, se: float = 1e-6, n: int = MANY, replicates: int = 1, **changed) -> list[dict]:
    return [
        {"run_id": f"{name}{k}", "cell_id": name, "images_seen": 1000, "params": 1000, "holdout_loss": x + 0.01 * k,
         "holdout_loss_se": se, "n_generated": n, "n_memorized": round(y * n)} | changed
        for name, (x, y) in (points or POINTS).items() for k in range(replicates)
    ]  # fmt: skip


def one(found, name: str = "boundary_holdout_last"):
    return next(figure for figure in found if figure.name == name)


def star(figure):
    (found,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    return found.get_xydata()[0]


def test_front_and_knee_are_the_known_ones():
    """Scaled, b is .619 below the line from a to c; the front steps from a to b to c."""
    found = one(boundaries(tables(rows()), SIZE, {}, 0.95))
    np.testing.assert_allclose(star(found.figure), POINTS["b"])
    step = next(line for line in found.figure.axes[0].lines if line.get_drawstyle() == "steps-post")
    np.testing.assert_allclose(step.get_xydata()[:3], [POINTS[name] for name in "abc"])
    knee = next(mark for mark in found.marks if "the knee" in mark.said)
    assert (knee.x, knee.y, knee.runs) == (*POINTS["b"], ("b0",))
    assert "3 of 4 runs that no other dominates, 3 of which stay so" in found.caption
    assert "Knee (in 100 % of draws)" in found.caption and "hold-out loss 2, 20 %" in found.caption


def test_every_point_has_its_mark_with_interval_and_runs():
    found = one(boundaries(tables(rows(se=0.1)), SIZE, {}, 0.95))
    assert {mark.runs: (mark.x, mark.y) for mark in found.marks} == {(f"{n}0",): xy for n, xy in POINTS.items()}
    a = found.data.set_index("cell_id").loc["a"]
    assert (a["x_lo"], a["x_hi"]) == pytest.approx((1 - 1.959964 * 0.1, 1 + 1.959964 * 0.1))
    assert next(m for m in found.marks if m.runs == ("a0",)).said.startswith(
        "hold-out loss 1 (0.804 to 1.196), rate 80 %"
    )


def test_the_way_out_is_the_smallest_change_of_the_range():
    """d must reach a's loss (3 of a range of 4) or b's rate (.7 of .8): the first is less."""
    found = one(boundaries(tables(rows()), SIZE, {}, 0.95))
    (arrow,) = [text for text in found.figure.axes[0].texts if text.arrow_patch is not None]
    np.testing.assert_allclose((*arrow.xyann, *arrow.xy), (4, 0.9, 1, 0.9))
    assert "on the boundary if its hold-out loss fell by 3" in next(m for m in found.marks if m.runs == ("d0",)).said


def test_a_point_does_not_compete_with_itself():
    """Against (2, 2) alone (1, 1) is never dominated; against a second draw of itself it would be in a quarter."""
    errors = pandas.DataFrame({"x_se": [0.1, 0.1], "y_se": [0.1, 0.1]})
    (found,) = placed_alone(np.array([[1.0, 1.0], [2.0, 2.0]]), errors, 0, 0.95)
    assert found.p_dominated == 0


def test_equal_points_are_each_dominated_in_a_quarter_of_the_draws():
    found = one(boundaries(tables(rows({"a": (1.0, 0.5), "b": (1.0, 0.5)}, se=0.1, n=100)), SIZE, {}, 0.95))
    for mark in found.marks:
        said = float(mark.said.split("probability ")[1].split(",")[0].split(";")[0])
        assert said == pytest.approx(0.75, abs=0.07)  # 500 draws: one standard error is .02


def test_runs_of_a_cell_are_one_point_at_their_mean():
    found = one(boundaries(tables(rows(replicates=3)), SIZE, {}, 0.95))
    a = next(mark for mark in found.marks if mark.runs == ("a0", "a1", "a2"))
    assert (a.x, a.y) == pytest.approx((1.01, 0.8)) and len(found.marks) == 4
    assert "3 of 4 cells (means of their runs)" in found.caption and "n = 12 runs" in found.caption
    low, high = found.data.set_index("cell_id").loc["a", ["x_lo", "x_hi"]]
    assert (high - low) / 2 == pytest.approx(1.959964 * 0.01 / np.sqrt(3))  # the runs' scatter: they differ by .01


def test_each_reading_point_has_its_figure():
    """Loss 3, 2, 4 with counts 1, 2, 3 of 10: read at the minimum, at the common images_seen and at the end."""

    def run(name: str, seen, shift: float) -> list[dict]:
        return [
            {"run_id": name, "cell_id": name, "images_seen": t, "params": 1000, "holdout_loss": loss + shift,
             "holdout_loss_se": 0.1, "kid": 0.1, "kid_se": 0.01, "n_generated": 10, "n_memorized": hits}
            for t, loss, hits in zip(seen, (3, 2, 4), (1, 2, 3), strict=False)
        ]  # fmt: skip

    found = boundaries(tables(run("a", (10, 20, 40), 0) + run("b", (10, 20), 5)), SIZE, {}, 0.95)
    read = {figure.name: {mark.runs[0]: (mark.x, mark.y) for mark in figure.marks} for figure in found}
    assert read["boundary_holdout_minimum"] == {"a": (2, 0.2), "b": (7, 0.2)}
    assert read["boundary_holdout_common"] == {"a": (2, 0.2), "b": (7, 0.2)}
    assert read["boundary_holdout_last"] == {"a": (4, 0.3), "b": (7, 0.2)}
    assert read["boundary_kid_last"] == {"a": (0.1, 0.3), "b": (0.1, 0.2)}
    said = {figure.name: figure.caption for figure in found}
    assert "1 of 2 runs still falling" in said["boundary_holdout_minimum"]
    assert "after 20 images seen" in said["boundary_holdout_common"]


def test_losses_without_an_error_are_said_to_count_as_exact():
    found = one(boundaries(tables([*rows()[:3], rows()[3] | {"holdout_loss_se": None}]), SIZE, {}, 0.95))
    assert "1 run without an error of hold-out loss, taken as exact" in found.caption


def test_rates_of_zero_have_a_boundary_of_one_point():
    found = one(boundaries(tables(rows(n_memorized=0)), SIZE, {}, 0.95))
    assert "The boundary has no knee" in found.caption and "1 of 4 runs" in found.caption


@pytest.mark.parametrize("some", [rows()[:1], rows(n_memorized=None), rows(holdout_loss=None)])
def test_one_run_or_nothing_measured_is_said(some):
    assert "it takes two runs" in boundaries(tables(some), SIZE, {}, 0.95)


def test_kid_in_other_features_is_no_point_of_the_boundary():
    """Three runs in pixels, one in other features whose KID would win: it is left out, and said."""
    measured = [row | {"kid": row["holdout_loss"], "kid_se": 0.1, "feature_space": "pixels"} for row in rows()]
    other = [*measured[:3], measured[3] | {"kid": 0.001, "feature_space": "efficientnet_lite0"}]
    found = one(boundaries(tables(other), SIZE, {}, 0.95), "boundary_kid_last")
    assert {mark.runs for mark in found.marks} == {("a0",), ("b0",), ("c0",)}
    assert "1 run with KID in other features (efficientnet_lite0) left out" in found.caption
    assert found.figure.axes[0].get_xlabel() == "KID (features: pixels)"
