"""The command: its JSON is the contract of design.md 6, its mistakes are one line. The numbers are tested in
test_front.py, test_boundary.py and test_place.py."""

import json

import numpy as np
import pandas
import pytest

from analysis.boundary.boundary import boundary
from analysis.pareto import main
from scaling import schema

AB = ["--minimize", "a", "--minimize", "b"]


def run(capsys, *arguments: str) -> dict:
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def write(folder, text: str) -> str:
    (folder / "t.csv").write_text(text)
    return str(folder / "t.csv")


def test_the_command_writes_the_contract(tmp_path):
    table = write(tmp_path, "a,b,run,s\n1,5,r1,.1\n2,3,r1,.1\n3,4,r2,.1\n,1,r2,.1\n4,1,r3,.1\n4,1,r3,.1\n")
    out = tmp_path / "f.json"
    arguments = ["--se", "a=s", "--cluster", "run", "--draws", "50"]
    assert main([table, *AB, *arguments, "--reference", "a=5", "--reference", "b=6", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert list(found) == [
        "n", "front", "membership", "message", "hypervolume", "knee", "knee_membership", "knees", "placed"
    ]  # fmt: skip
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
        ([*AB, "--se", "c=b"], "one of a, b"),
        ([*AB, "--se", "a=b", "--se", "a=b"], "a was given already"),
        ([*AB, "--minimize", "a"], "at least two different"),
        ([*AB, "--cell", "run"], "2 cells of one run each"),
        ([*AB, "--cluster", "ruin"], "did you mean run?"),
        ([*AB, "--reference", "a=x", "--reference", "b=1"], "--reference a='x'"),
        ([*AB, "--at", "soon"], "holdout_min or a number"),
        ([*AB, "--design", "a"], "needs --place"),
        ([*AB, "--place", "nowhere.csv"], "no such file"),
        ([*AB, "--draws", "0"], "draws are 1 or more"),
        (["--minimize", "a", "--minimize", "f", "--rate", "f=a/b/"], "no column b/"),
        (["--minimize", "a", "--minimize", "f", "--rate", "f=a"], "NAME=HITS/TRIALS"),
        (["--minimize", "a", "--minimize", "f", "--rate", "f=b/a"], "5 hits of 1 trials"),
        ([*AB, "--rate", "b=a/b"], "choose another name"),
        ([*AB, "--se", "a=n"], "column n, row 1 is negative"),
    ],
)
def test_bad_requests_end_in_one_line(tmp_path, capsys, arguments, says):
    assert main([write(tmp_path, "a,b,run,n\n1,5,x,1\n2,3,y,-1\n"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_rates_are_made_from_counts(tmp_path, capsys):
    table = write(tmp_path, "hits,trials,loss\n0,100,2\n50,100,1\n60,100,1.5\n,100,1\n0,0,1\n")
    found = run(capsys, table, "--minimize", "f", "--minimize", "loss", "--rate", "f=hits/trials", "--draws", "200")
    assert found["front"] == [0, 1] and found["membership"][:2] == [1, 1] and found["membership"][3:] == [None, None]
    assert 0 < found["membership"][2] < 0.2  # 60 of 100 lies below 50 of 100 in some draws
    assert found["hypervolume"]["reference"] == pytest.approx({"f": 0.66, "loss": 2.1})
    assert "2 of 5 rows lack a value" in found["message"]


def test_without_errors_it_says_what_cannot_be_told(tmp_path, capsys):
    found = run(capsys, write(tmp_path, "a,b\n1,1\n2,1\n"), *AB)
    assert found["front"] == [0] and found["knee"] is None and found["membership"] == [None, None]
    assert found["hypervolume"]["lo"] is None
    assert "b is constant" in found["message"] and "cannot be told" in found["message"]


def test_cells_are_the_points(tmp_path, capsys):
    table = write(tmp_path, "cell,a,b,seen\nx,0,9,1\ny,3,3,5\nx,2,9,8\nx,1,9,1\nz,9,0,3\ny,3.2,3,5\n")
    found = run(capsys, table, *AB, "--cell", "cell", "--draws", "100", "--place", table, "--design", "seen")
    assert found["n"] == 3 and found["front"] == [0, 1, 2] and found["knee"] == 1 and len(found["membership"]) == 3
    assert [cell["rows"] for cell in found["cells"]] == [[0, 2, 3], [1, 5], [4]]
    assert found["cells"][0] == {"cell": "x", "rows": [0, 2, 3], "n_runs": 3, "mean": {"a": 1, "b": 9}}
    assert "1 of 3 cells hold one run" in found["message"]
    (way,) = found["placed"][2]["dominating"]  # the row (2, 9) against the mean of its own cell, (1, 9)
    assert way["row"] == 0 and way["changes"]["seen"] == pytest.approx(8 ** (1 / 3) / 8)
    assert "seen varies within 1 cells" in found["message"]


def test_a_model_from_elsewhere_is_placed(tmp_path, capsys):
    table = write(tmp_path, "a,b,s,copies,seen\n1,5,.1,8,100\n2,3,.1,2,100\n4,1,.1,8,50\n")
    models = tmp_path / "models.csv"
    models.write_text("b,a,copies,seen\n4,3,8,100\n,3,8,100\n0,0,8,100\n5,1,8,100\n")
    found = run(capsys, table, *AB, "--se", "a=s", "--place", str(models), "--design", "copies,seen", "--draws", "200")
    first, best, equal = found["placed"]
    assert list(first) == ["row", "p_front", "p_dominated", "by", "by_share", "moves", "dominating"]
    assert (first["row"], first["p_dominated"], first["by"], first["by_share"]) == (0, 1, [1], [1])
    assert first["dominating"][0]["words"] == "fewer copies (copies x1/4)"
    assert first["moves"][0].keys() == {"column", "by", "to", "lo", "hi", "of_range"}
    assert (best["row"], best["p_front"]) == (2, 1) and equal["row"] == 3
    for said in ("has no column s", "1 of 4 rows of", "1 rows of", "equal a row of the table"):
        assert said in found["message"]


def test_rows_of_other_data_or_features_are_not_placed(tmp_path, capsys):
    """Of three better rows one is of other images and one of other features; where no row is left, one line says so."""
    table = write(tmp_path, "dataset,feature_space,kid,b\ndigits,pixels,1,5\ndigits,pixels,2,3\n")
    models = tmp_path / "models.csv"
    models.write_text("dataset,feature_space,kid,b\nphotos,pixels,0,0\ndigits,pixels,0,1\ndigits,inception,0,0\n")
    columns = ["--minimize", "kid", "--minimize", "b", "--place", str(models)]
    found = run(capsys, table, *columns)
    assert [one["row"] for one in found["placed"]] == [1]
    assert "row 0 of" in found["message"] and "its data set is photos, that of the boundary digits" in found["message"]
    assert "row 2 of" in found["message"] and "features of its kid: inception" in found["message"]
    models.write_text("dataset,feature_space,kid,b\nphotos,pixels,0,0\n")
    assert main([table, *columns]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analysis.pareto: --place: no row can be placed; row 0 of") and error.count("\n") == 1


def test_row_numbers_stay_those_of_the_table(tmp_path, capsys):
    """After a filter and a missing value, front, membership and by still count the rows as read."""
    table = write(tmp_path, "a,b,k\n0,0,1\n,1,0\n1,2,0\n2,1,0\n3,3,0\n")
    models = tmp_path / "models.csv"
    models.write_text("a,b\n2,3\n")
    found = run(capsys, table, *AB, "--where", "k==0", "--place", str(models))
    assert found["n"] == 3 and found["front"] == [2, 3]
    assert found["placed"][0]["by"] == [2, 3]
    assert [way["row"] for way in found["placed"][0]["dominating"]] == [2, 3]


def test_a_folder_is_read_at_the_holdout_minimum_and_at_fixed_images(runs_folder, capsys):
    """Of the simulated study: the same front as from the run's lowest row, chosen here by a loop over the runs."""
    rates = ["--minimize", "f", "--minimize", "holdout_loss", "--rate", "f=n_memorized/n_generated"]
    found = run(capsys, str(runs_folder), *rates, "--at", "holdout_min", "--se", "holdout_loss=holdout_loss_se")
    lowest = []
    for folder in sorted(runs_folder.iterdir()):
        rows = [row for row in schema.rows(folder)["evals"] if row["images_seen"] > 0]
        lowest.append(min(rows, key=lambda row: row["holdout_loss"]))
    points = np.array([(row["n_memorized"] / row["n_generated"], row["holdout_loss"]) for row in lowest])
    assert found["n"] == len(lowest)
    assert found["front_run_id"] == [lowest[row]["run_id"] for row in boundary(points).front]
    last = max(row["images_seen"] for row in lowest)
    falling = sum(row["images_seen"] == last for row in lowest)
    assert falling > 0 and f"{falling} of {len(lowest)} runs still fall" in found["message"]
    fixed = run(capsys, str(runs_folder), *rates, "--at", str(last))
    assert fixed["n"] == len(lowest)
    assert "several evaluations" in run(capsys, str(runs_folder), *rates, "--draws", "5")["message"]


def test_a_table_with_semicolons_and_a_mark_reads_the_same(tmp_path, capsys):
    frame = pandas.DataFrame({"a": [1.5, 2.5], "b": [2.0, 1.0]})
    frame.to_csv(tmp_path / "s.csv", sep=";", decimal=",", index=False, encoding="utf-8-sig")
    assert run(capsys, str(tmp_path / "s.csv"), *AB)["front"] == [0, 1]
