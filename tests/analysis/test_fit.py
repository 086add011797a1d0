import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.fit import main

REFERENCE = Path(__file__).parents[1] / "reference"
BENCHMARK = str(REFERENCE / "extrapolation_benchmark/benchmark_nmt_lm.csv")
POWER = ["--law", "power", "--x", "x=Seen Examples", "--y", "Loss", "--loss", "lsq_log"]


def run(capsys, *arguments: str) -> dict:
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_score_comes_out_of_the_command(capsys):
    """M1 of 6 Enc, 6 Dec: c, beta, score -0.163143, 6.899327, 0.261869."""
    found = run(capsys, BENCHMARK, *POWER, "--where", "Model==6 Enc, 6 Dec", "--holdout", "Training==0")
    assert found["params"]["c"]["value"] == pytest.approx(-0.163143, abs=6e-7)
    assert found["params"]["b"]["value"] == pytest.approx(6.899327, abs=6e-7)
    assert found["holdout"]["rmse_log"] == pytest.approx(0.261869, abs=6e-7)
    assert found["holdout"]["n"] == 1


def test_the_answer_has_the_keys_of_the_contract(capsys):
    found = run(capsys, BENCHMARK, *POWER, "--where", "Model==Dec-only", "--level", ".9")
    assert list(found) == [
        "law", "formula", "n", "level", "objective", "params", "status", "message", "starts", "bootstrap", "holdout",
        "predictions",
    ]  # fmt: skip
    assert list(found["params"]["b"]) == ["value", "se", "lo", "hi", "identifiable"]
    assert found["level"] == 0.9 and found["status"] == "ok"
    assert found["objective"]["kind"] == "lsq_log"
    assert set(found["starts"]) == {"tried", "reached_best"}
    assert found["bootstrap"] == {"draws": 0, "failed": 0, "seed": None}
    assert found["holdout"] == {"n": 0, "rmse": None, "rmse_log": None}


def counts(folder: Path, **extra) -> str:
    rng = np.random.default_rng(0)
    run_, r = np.repeat(np.arange(8), 6), np.tile(2.0 ** np.arange(6), 8)
    p = np.repeat([1e3, 4e3, 2e4, 1e5], 12)
    f = 1 / (1 + np.exp(9 - 0.5 * np.log(p) - 0.8 * np.log(r)))
    frame = pandas.DataFrame({"run": run_, "p": p, "r": r, "hit": rng.binomial(64, f), "of": 64}).assign(**extra)
    frame.to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv")


LOGISTIC = ["--law", "logistic", "--x", "params=p", "--x", "copies=r", "--y", "hit", "--trials", "of"]


def test_counts_are_fitted_by_cluster_and_predicted(tmp_path, capsys):
    pandas.DataFrame({"p": [1e4, 1e9], "r": [8, 8], "of": [100, 100]}).to_csv(tmp_path / "new.csv", index=False)
    bootstrap = ["--bootstrap", "40", "--cluster", "run", "--seed", "3"]
    found = run(capsys, counts(tmp_path), *LOGISTIC, *bootstrap, "--predict", str(tmp_path / "new.csv"))
    assert found["objective"]["kind"] == "binomial" and found["objective"]["overdispersion"] >= 0
    assert found["bootstrap"] == {"draws": 40, "failed": 0, "seed": 3}
    assert found["params"]["b_params"]["lo"] < 0.5 < found["params"]["b_params"]["hi"]
    near, far = found["predictions"]
    assert (near["row"], near["extrapolated"], far["extrapolated"]) == (0, False, True)
    assert 0 <= near["lo"] <= near["value"] <= near["hi"] <= 1


def test_held_parameters_stay_and_the_answer_goes_to_a_file(tmp_path, capsys):
    out = tmp_path / "deep" / "f.json"
    arguments = ["--fix", "b_copies=1", "--out", str(out)]
    assert main([counts(tmp_path), *LOGISTIC, *arguments]) == 0
    assert json.loads(out.read_text())["params"]["b_copies"]["value"] == 1
    assert capsys.readouterr().out == ""


def test_repeated_rows_are_said(tmp_path, capsys):
    frame = pandas.read_csv(counts(tmp_path))
    pandas.concat([frame, frame.head(2)]).to_csv(tmp_path / "t.csv", index=False)
    assert "2 rows repeat another row" in run(capsys, str(tmp_path / "t.csv"), *LOGISTIC)["message"]


def test_five_points_do_not_determine_a_floor(capsys):
    """The loss attack on language models trained 1 to 13.75 epochs: five points identify no exponent well."""
    table = str(REFERENCE / "memorization_repetition/mimir_2b8_auc_vs_epochs.csv")
    law = ["--law", "power_offset", "--x", "x=epochs", "--y", "roc_auc", "--where", "attack==loss"]
    found = run(capsys, table, *law)
    assert found["n"] == 5 and found["status"] in {"at_bound", "not_identifiable"}
    assert not all(p["identifiable"] for p in found["params"].values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--law", "powr", "--x", "x=r", "--y", "hit"], "did you mean power"),
        (["--law", "power", "--x", "x=rr", "--y", "hit"], "no column rr"),
        (["--law", "power", "--x", "x", "--y", "hit"], "write NAME=COLUMN"),
        (["--law", "power", "--x", "x=r", "--x", "x=p", "--y", "hit"], "names a thing twice"),
        (["--law", "power", "--x", "x=word", "--y", "hit"], "which is no number"),
        (["--law", "power", "--x", "x=r", "--y", "hit", "--loss", "lsq_log"], "takes its logarithm"),
        ([*LOGISTIC, "--where", "p>1e9"], "no row left by --where p>1e9"),
        ([*LOGISTIC, "--holdout", "p>1"], "takes every row"),
        ([*LOGISTIC, "--cluster", "run"], "needs --bootstrap"),
        ([*LOGISTIC, "--cluster", "word", "--bootstrap", "5"], "one cluster"),
        ([*LOGISTIC, "--fix", "b_copies=x"], "is no number"),
        ([*LOGISTIC, "--predict", "not_there.csv"], "no such file"),
        ([*LOGISTIC[:-1], "few"], "row 0 has"),
    ],
)
def test_bad_requests_end_in_one_line(tmp_path, capsys, arguments, says):
    assert main([counts(tmp_path, word="w", few=-1), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_the_module_runs_as_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "analysis.fit", counts(tmp_path), *LOGISTIC], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["law"] == "logistic"
