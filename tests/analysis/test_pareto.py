import json

import numpy as np
import pytest

from analysis.pareto import boundary, front, hypervolume, knee, main

K47 = np.array([(1, 5), (2, 3), (3, 4), (4, 1), (4, 1)], float)


def brute_front(points: np.ndarray) -> np.ndarray:
    """By the definition: no other row is <= everywhere and < somewhere."""
    return np.array([not any(np.all(q <= p) and np.any(q < p) for q in points) for p in points])


def test_ties_stay_on_the_known_front():
    """K47."""
    assert np.flatnonzero(front(K47)).tolist() == [0, 1, 3, 4]
    assert front(np.array([(1, 2, 3), (2, 1, 3), (3, 3, 1)], float)).all()


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_the_front_is_that_of_the_definition(columns):
    rng = np.random.default_rng(columns)
    for _ in range(60):
        points = rng.integers(0, 6, (rng.integers(1, 30), columns)).astype(float)
        np.testing.assert_array_equal(front(points), brute_front(points))


def test_volumes_are_the_known_ones():
    """K47."""
    assert hypervolume(K47, np.array([5, 6])) == 12
    assert hypervolume(np.array([(1, 2, 3), (2, 1, 3), (3, 3, 1)]), np.array([4, 4, 4])) == 10


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_the_volume_is_the_number_of_dominated_cells(columns):
    """On integers: count the unit cells whose lower corner some row dominates."""
    rng = np.random.default_rng(columns)
    cells = np.stack(np.meshgrid(*[np.arange(5)] * columns), axis=-1).reshape(-1, columns)
    for _ in range(20):
        points = rng.integers(0, 6, (rng.integers(1, 12), columns)).astype(float)
        dominated = (points[None] <= cells[:, None]).all(axis=2).any(axis=1)
        assert hypervolume(points, np.full(columns, 5.0)) == dominated.sum()


def test_rows_beyond_the_reference_add_nothing():
    assert hypervolume(np.array([[1.0, 9.0], [2.0, 2.0]]), np.array([3.0, 3.0])) == 1


def test_a_missing_value_raises():
    with pytest.raises(ValueError, match="row 1 lacks a value"):
        front(np.array([[1.0, 2.0], [np.nan, 1.0]]))


def test_independent_columns_give_a_front_of_the_known_size():
    """K49: 100 uniform rows: sum 1/k = 5.187 in two columns; 14.272 in three."""
    rng = np.random.default_rng(0)
    for columns, size, sd in ((2, 5.187, 1.9), (3, 14.272, 3.4)):
        found = np.mean([front(rng.random((100, columns))).sum() for _ in range(300)])
        assert found == pytest.approx(size, abs=3 * sd / np.sqrt(300))


def test_the_knee_of_a_curve_is_the_known_one():
    """K49: (t, (1 - sqrt t)^2) turns at (.25, .25)."""
    t = np.linspace(0, 1, 401)
    points = np.stack([t, (1 - np.sqrt(t)) ** 2], axis=1)
    np.testing.assert_allclose(points[knee(points)], [0.25, 0.25], atol=1e-9)


@pytest.mark.parametrize("points", [[[1.0, 1.0]], [[1.0, 3.0], [1.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]])
def test_without_a_line_to_be_below_there_is_no_knee(points):
    assert knee(np.array(points)) is None


def test_membership_of_two_rows_is_the_known_one():
    """K48: unit errors; equal means .75 each; (0,0) and (1,1): .9425, .4220."""
    for points, known in (([[0, 0], [0, 0]], [0.75, 0.75]), ([[0, 0], [1, 1]], [0.9425, 0.4220])):
        found = boundary(np.array(points, float), se=np.ones((2, 2)), draws=3000).membership
        np.testing.assert_allclose(found, known, atol=0.03)


def test_resampled_clusters_judge_a_row_where_it_is_drawn():
    """Two clusters: a dominated row is on the front exactly when the other cluster is not drawn: 1/3 of its draws."""
    found = boundary(np.array([[0.0, 0.0], [1.0, 1.0]]), cluster=np.array(["a", "b"]), draws=3000)
    np.testing.assert_allclose(found.membership, [1, 1 / 3], atol=0.03)


def test_without_errors_or_clusters_membership_is_not_told():
    found = boundary(K47)
    assert found.membership is None and found.volume_lo is None
    np.testing.assert_allclose(found.reference, [4.3, 5.4])


def write(folder, text: str) -> str:
    (folder / "t.csv").write_text(text)
    return str(folder / "t.csv")


def test_the_command_writes_the_contract(tmp_path):
    table = write(tmp_path, "a,b,run,s\n1,5,r1,.1\n2,3,r1,.1\n3,4,r2,.1\n,1,r2,.1\n4,1,r3,.1\n4,1,r3,.1\n")
    out = tmp_path / "f.json"
    arguments = ["--minimize", "a", "--minimize", "b", "--se", "a=s", "--cluster", "run", "--draws", "50"]
    assert main([table, *arguments, "--reference", "a=5", "--reference", "b=6", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["n"] == 5 and found["front"] == [0, 1, 4, 5]
    assert len(found["membership"]) == 6 and found["membership"][3] is None
    assert found["hypervolume"]["value"] == 12 and found["hypervolume"]["reference"] == {"a": 5, "b": 6}
    assert found["knee"] == 1 and 0 <= found["knee_membership"] <= 1
    assert "1 of 6 rows lack a value" in found["message"] and "repeat another row" in found["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--minimize", "a", "--minimize", "c"], "no column c"),
        (["--minimize", "a"], "at least two"),
        (["--minimize", "a", "--minimize", "run"], "is no number"),
        (["--minimize", "a", "--minimize", "b", "--where", "a>9"], "no complete row"),
        (["--minimize", "a", "--minimize", "b", "--reference", "a=1"], "one value for each"),
        (["--minimize", "a", "--minimize", "b", "--se", "c=b"], "one of a, b"),
    ],
)
def test_bad_requests_end_in_one_line(tmp_path, capsys, arguments, says):
    assert main([write(tmp_path, "a,b,run\n1,5,x\n2,3,y\n"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
