"""Bad tables through every table command: a right answer, or one clear line and exit 2; never a warning or a traceback.

The tables are made here, so that what is wrong with each is known; an answer must be that of the table made whole.
"""

import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis import ask, compare, double_descent, fit, pareto, simulate

pytestmark = pytest.mark.filterwarnings("error")

LOGISTIC = ["--law", "logistic", "--x", "params=params", "--y", "hits", "--trials", "trials"]
COMMANDS = {
    "fit": (fit, ["--law", "power", "--x", "x=params", "--y", "loss"]),
    "compare": (compare, ["--law", "power", "--law", "log_linear", "--x", "x=params", "--y", "loss"]),
    "pareto": (pareto, ["--minimize", "params", "--minimize", "loss"]),
    "double_descent": (double_descent, ["--x", "params", "--y", "loss", "--draws", "200"]),
}
every_command = pytest.mark.parametrize("command", COMMANDS)


def table(n: int = 24, **columns) -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    params = np.repeat(np.geomspace(1e3, 1e6, n // 3).round(), 3)
    rate = 1 / (1 + np.exp(5 - 0.5 * np.log(params)))
    made = {"run_id": [f"r{k}" for k in range(n)], "params": params, "hits": rng.binomial(100, rate), "trials": 100}
    made |= {"loss": 2 + 30 * params**-0.4 + rng.normal(0, 0.02, n), "cluster": np.arange(n) % 6}
    return pandas.DataFrame(made | columns)


def changed(row: int, name: str, value: object) -> pandas.DataFrame:
    made = table()
    made[name] = made[name].astype(object)
    made.loc[row, name] = value
    return made


def written(folder: Path, frame: pandas.DataFrame | str | bytes, name: str = "table.csv") -> str:
    path = folder / name
    if isinstance(frame, pandas.DataFrame):
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    else:
        path.write_bytes(frame.encode() if isinstance(frame, str) else frame)
    return str(path)


@pytest.fixture
def answer(capsys):
    def run(module, *argv: object) -> dict:
        assert module.main([str(word) for word in argv]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def refused(capsys):
    def run(module, *argv: object) -> str:
        assert module.main([str(word) for word in argv]) == 2
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) == 1
        return err

    return run


TWINS = "params,loss,loss\n" + "1000,2.5,3\n" * 6
WIDER = "params,loss\n" + "".join(f"{k},{3 - k / 10},9\n" for k in range(1, 9))
REFUSED = {
    "missing column": (table().rename(columns={"loss": "los"}), "no column loss; did you mean los?"),
    "text": (changed(5, "loss", "abc"), "column loss, row 5 holds 'abc'"),
    "thousands": (changed(5, "loss", "1,000"), "row 5 holds '1,000'"),
    "truth among numbers": (changed(5, "loss", "True"), "row 5 holds 'True'"),
    "infinite": (changed(3, "loss", np.inf), "column loss, row 3 is infinite"),
    "overflow": (changed(3, "loss", "1e400"), "column loss, row 3 is infinite"),
    "huge": (table(loss=table().loss * 1e300), "beyond 1e-100 to 1e+100"),
    "tiny": (table(loss=table().loss * 1e-300), "beyond 1e-100 to 1e+100"),
    "empty file": ("", "not a readable table"),
    "header only": ("params,loss\n", "row left"),
    "two columns of one name": (TWINS, "names column loss more than once"),
    "more fields than names": (WIDER, "more fields than its header has names"),
    "other encoding": ("params,löss\n1,2\n".encode("latin1"), "not a readable table"),
}


@every_command
@pytest.mark.parametrize("case", REFUSED)
def test_a_damaged_table_is_refused_in_one_line(command, case, tmp_path, refused):
    module, words = COMMANDS[command]
    content, says = REFUSED[case]
    path = written(tmp_path, content)
    said = refused(module, path, *words)
    assert (says in said and path.rsplit("/", 1)[0] in said) or "beyond" in said


@every_command
def test_dates_are_no_numbers(command, tmp_path, refused):
    module, words = COMMANDS[command]
    path = written(tmp_path, table(params=pandas.date_range("2020", periods=24)), "table.parquet")
    assert "column params holds datetime64" in refused(module, path, *words)


def _semicolons(frame: pandas.DataFrame) -> bytes:
    return b"\xef\xbb\xbf" + frame.to_csv(index=False, sep=";", decimal=",").encode()


def _exponents(frame: pandas.DataFrame) -> str:
    frame = frame.assign(loss=[f"{v:.17e}".replace(".", ",") for v in frame.loss], params=frame.params.astype(int))
    return frame.to_csv(index=False, sep=";")


def _late(frame: pandas.DataFrame) -> str:
    """The first decimal comma stands beyond the twentieth line."""
    blank = pandas.DataFrame({"params": [""] * 30, "loss": [""] * 30})
    rows = frame.assign(loss=[repr(v).replace(".", ",") for v in frame.loss], params=frame.params.astype(int))
    return pandas.concat([blank, rows[["params", "loss"]]]).to_csv(index=False, sep=";")


SAME = {
    "byte-order mark, semicolons, decimal commas": _semicolons,
    "decimal commas with exponents": _exponents,
    "decimal commas late in the file": _late,
    "quoted numbers": lambda frame: frame.astype(str).to_csv(index=False, quoting=1),
    "blanks after the commas": lambda frame: frame.to_csv(index=False).replace(",", ", "),
    "unsorted": lambda frame: frame.sample(frac=1, random_state=1),
    "infinite where another row is read": lambda frame: frame.assign(other=np.inf),
}


@every_command
@pytest.mark.parametrize("case", SAME)
def test_other_ways_to_write_a_table_give_the_same_answer(command, case, tmp_path, answer):
    module, words = COMMANDS[command]
    plain = answer(module, written(tmp_path, table()), *words)
    found = answer(module, written(tmp_path, SAME[case](table()), "other.csv"), *words)
    assert _numbers_of(found) == pytest.approx(_numbers_of(plain), rel=1e-6)


def _numbers_of(found: dict) -> list[float]:
    if "params" in found:
        return [found["params"][name][end] for name in found["params"] for end in ("value", "lo", "hi")]
    if "rows" in found:
        return [row["aicc"] for row in found["rows"]]
    return [found["hypervolume"]["value"]] if "hypervolume" in found else [found["groups"][0]["prominence"]]


@every_command
def test_nullable_numbers_of_parquet_are_read_and_missing_ones_said(command, tmp_path, answer):
    module, words = COMMANDS[command]
    frame = table().astype({"params": "Int64", "loss": "Float64"})
    frame.loc[4, "params"] = pandas.NA
    frame["lists"] = [[1, 2]] * len(frame)  # a column nobody asked for
    found = answer(module, written(tmp_path, frame, "table.parquet"), *words)
    said = found["message"] if "message" in found else found["groups"][0]["why"]
    assert "1 of 24 rows lack a value" in said or "1 row left out" in said


@every_command
def test_a_condition_leaves_damaged_rows_out(command, tmp_path, answer):
    module, words = COMMANDS[command]
    whole = answer(module, written(tmp_path, table().drop(3)), *words)
    found = answer(module, written(tmp_path, changed(3, "loss", np.inf), "other.csv"), *words, "--where", "loss<10")
    assert _numbers_of(found) == pytest.approx(_numbers_of(whole), rel=1e-9)


@every_command
def test_no_row_left_names_the_condition_and_a_later_row_keeps_its_number(command, tmp_path, refused):
    module, words = COMMANDS[command]
    path = written(tmp_path, changed(20, "loss", "abc"))
    assert "row left by --where params>1e9" in refused(module, path, *words, "--where", "params>1e9")
    assert "did you mean params?" in refused(module, path, *words, "--where", "parms>1")
    assert "row 20 holds 'abc'" in refused(module, path, *words, "--where", "params>5e4")


@every_command
def test_repeated_rows_and_one_row_are_said(command, tmp_path, answer):
    module, words = COMMANDS[command]
    twice = answer(module, written(tmp_path, pandas.concat([table(), table()[:4]])), *words)
    assert "4 rows repeat another row" in (twice["message"] if "message" in twice else twice["groups"][0]["why"])
    one = answer(module, written(tmp_path, table()[:1]), *words)
    told = one.get("status") or one.get("chosen") or one.get("groups", [{}])[0].get("verdict")
    assert told in ("not_identifiable", None, "cannot_tell")


@every_command
def test_a_seed_below_zero_is_refused(command, tmp_path, refused):
    module, words = COMMANDS[command]
    assert "--seed -1: a seed is 0 or more" in refused(module, written(tmp_path, table()), *words, "--seed", -1)


@pytest.mark.parametrize(
    ("module", "words", "says"),
    [
        (fit, [*COMMANDS["fit"][1], "--bootstrap", 50, "--cluster", "one"], "one cluster"),
        (pareto, [*COMMANDS["pareto"][1], "--cluster", "one"], "one cluster"),
        (compare, [*COMMANDS["compare"][1], "--cluster", "holes"], "column holes, row 2 is empty"),
        (pareto, [*COMMANDS["pareto"][1], "--cluster", "holes"], "column holes, row 2 is empty"),
        (fit, [*COMMANDS["fit"][1], "--fix", "b=inf"], "fixed b=inf is outside"),
        (fit, ["--law", "power", "--x", "x=zero", "--y", "loss"], "x: row 3 is 0; power takes its logarithm"),
        (fit, ["--law", "power", "--x", "x=params", "--y", "zero", "--loss", "lsq_log"], "y: row 3 is 0; the loss"),
        (double_descent, ["--x", "zero", "--y", "loss", "--log-x"], "row 3 holds 0, which has no logarithm"),
        (fit, [*LOGISTIC[:-1], "few"], "row 3 has"),
        (pareto, ["--minimize", "loss", "--minimize", "f", "--rate", "f=hits/few"], "row 3 has"),
        (fit, [*LOGISTIC[:-1], "few", "--holdout", "few<5"], "held-out rows: row 0 has"),
        (fit, ["--law", "logistic", "--x", "x=params", "--y", "share", "--trials", "trials"], "counts, not rates"),
    ],
)  # fmt: skip
def test_values_no_formula_can_take_are_refused(module, words, says, tmp_path, refused):
    frame = table(one=1, holes=table().cluster.where(np.arange(24) != 2), share=table().hits / 100)
    frame["zero"] = frame.params.where(np.arange(24) != 3, 0)
    frame["few"] = frame.trials.where(np.arange(24) != 3, 1)
    assert says in refused(module, written(tmp_path, frame), *words)


def test_constant_and_collinear_columns_are_said(tmp_path, answer):
    path = written(tmp_path, table(flat=5.0, flops=6 * table().params))
    two = ["--x", "params=params", "--x", "flops=flops", "--y"]
    assert "y is constant (5)" in answer(fit, path, *COMMANDS["fit"][1][:-1], "flat")["message"]
    assert "move together" in answer(fit, path, "--law", "log_linear", *two, "loss")["message"]
    said = answer(compare, path, "--law", "log_linear@params", "--law", "log_linear", *two, "loss")["message"]
    assert "log_linear: params, flops move together" in said
    one = answer(compare, written(tmp_path, table(one=1)), *COMMANDS["compare"][1], "--cluster", "one")
    assert "one cluster" in one["message"] and one["chosen"] is None


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"params": []}, "no row to predict"),
        ({"params": [1e4, -1.0]}, "column params, row 1 is -1"),
        ({"params": [1e4, np.inf]}, "row 1 is infinite"),
        ({"parms": [1e4]}, "did you mean parms"),
        ({"params": [1e4], "trials": [0]}, "trials, row 0 is 0"),
    ],
)
def test_rows_that_cannot_be_predicted_are_refused(rows, says, tmp_path, refused):
    rows = written(tmp_path, pandas.DataFrame(rows), "rows.csv")
    assert says in refused(fit, written(tmp_path, table()), *LOGISTIC, "--predict", rows)


def test_predictions_mark_what_is_extrapolated_and_say_what_is_missing(tmp_path, answer):
    rows = written(tmp_path, pandas.DataFrame({"params": [1e2, 1e5, np.nan, 1e8]}), "rows.csv")
    found = answer(fit, written(tmp_path, table()), *COMMANDS["fit"][1], "--predict", rows)
    assert [row["extrapolated"] for row in found["predictions"]] == [True, False, False, True]
    assert [row["value"] is None for row in found["predictions"]] == [False, False, True, False]
    assert "1 of 4 rows of --predict have no prediction" in found["message"]


def test_held_out_rows_without_a_value_are_said(tmp_path, answer):
    path = written(tmp_path, changed(22, "loss", ""))
    found = answer(fit, path, *COMMANDS["fit"][1], "--holdout", "params>5e5")
    assert found["holdout"]["n"] == 2 and "1 of 3 held-out rows" in found["message"]


@pytest.mark.parametrize(
    ("evals", "says"),
    [
        ("", "not a readable table"),
        ("run_id,images_seen,params\n", "no evaluation was recorded"),
        ("run_id,images_seen,parms\na,1,2\n", "no column params: did you mean parms"),
        ("run_id,images_seen,params\na,1,many\n", "column params, row 0 holds 'many'"),
        ("run_id,images_seen,params\na,1,inf\n", "column params, row 0 is infinite"),
        ("run_id,images_seen,params\na,1,2\na,1,2\n", "row 1 repeats run_id=a"),
    ],
)
def test_ask_refuses_damaged_tables(evals, says, tmp_path, refused):
    written(tmp_path, evals, "evals.csv")
    assert says in refused(ask, tmp_path, "max_copies")


@pytest.mark.parametrize("plan", ["", "just text", "a: [", "cells: 3\n"])
def test_simulate_refuses_what_is_no_plan(plan, tmp_path, refused):
    path = written(tmp_path, plan, "plan.yaml")
    assert "plan.yaml" in refused(simulate, path, "--out", tmp_path / "out")


@pytest.mark.slow
def test_a_table_of_100_megabytes_is_read_in_reasonable_time_and_memory(tmp_path, answer):
    """400,000 rows, 14 columns that nobody asked for; fit, boundary and verdict each under 60 s, 2.5 GB in all."""
    n = 400_000
    rng = np.random.default_rng(1)
    params = np.repeat(np.geomspace(1e3, 1e7, 200).round(), n // 200)
    frame = pandas.DataFrame({"params": params, "loss": 7 * params**-0.1 + rng.normal(0, 0.02, n), "config": "x" * 20})
    path = written(tmp_path, pandas.concat([frame, pandas.DataFrame(rng.normal(size=(n, 12))).add_prefix("c")], axis=1))
    assert Path(path).stat().st_size > 1e8
    for command in ("fit", "pareto", "double_descent"):
        module, words = COMMANDS[command]
        start = time.monotonic()
        found = answer(module, path, *words)
        assert time.monotonic() - start < 60
        if command == "fit":
            assert found["params"]["c"]["lo"] < -0.1 < found["params"]["c"]["hi"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2.5e6
