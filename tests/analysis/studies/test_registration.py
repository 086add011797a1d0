"""Study 1's predictions were committed before their runs were trained, and nobody touched them since."""

import shutil
import subprocess
from pathlib import Path

import pandas
import pytest

from analysis.registered import RESPONSES, main

ROOT = Path(__file__).resolve().parents[3]
STUDY = ROOT / "results" / "memorization"
REGISTERED = STUDY / "parts" / "registered" / "evals.parquet"


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def commit() -> str:
    """The one commit that has written the predictions."""
    if git("rev-parse", "--is-inside-work-tree").returncode:
        pytest.skip("no repository: the order of commits cannot be told from files")
    (found,) = git("log", "--format=%H", "--", "results/memorization/prediction.csv").stdout.split()
    return found


def test_the_file_is_the_one_that_was_registered(commit):
    at_that_commit = git("rev-parse", f"{commit}:results/memorization/prediction.csv").stdout.strip()
    assert git("hash-object", str(STUDY / "prediction.csv")).stdout.strip() == at_that_commit != ""


def test_every_record_was_made_by_that_commit_or_a_descendant(commit):
    """No record of an unclean tree, and no training that was there before under another configuration."""
    evals = pandas.read_parquet(REGISTERED)
    assert evals["commit"].notna().all() and len(evals) > 100
    for made in evals["commit"].unique():
        assert not made.endswith("+") and not git("merge-base", "--is-ancestor", commit, made).returncode, made
    before = [path for path in STUDY.glob("parts/*/evals.parquet") if path != REGISTERED]
    known = {train for path in before for train in pandas.read_parquet(path, columns=["train_id"])["train_id"]}
    assert known and not known & set(evals["train_id"])


def test_every_predicted_run_was_trained():
    """25 cells, each with its strata; whatever came out."""
    prediction, evals = pandas.read_csv(STUDY / "prediction.csv"), pandas.read_parquet(REGISTERED)
    assert set(prediction["run_id"]) == set(evals["run_id"]) and prediction["cell_id"].nunique() == 25
    assert set(prediction["response"]) == {one.name for one in RESPONSES}


def test_study_2_was_trained_after_its_windows_were_registered(commit):
    """Every record descends from the commit that first wrote the windows, and is of a clean tree."""
    page = "results/double_descent/README.md"
    (first,) = git("log", "--diff-filter=A", "--format=%H", "--", page).stdout.split()
    assert "windows fixed here" in git("show", f"{first}:{page}").stdout
    made = {one for path in (ROOT / "results" / "double_descent").glob("parts/*/evals.parquet")
            for one in pandas.read_parquet(path, columns=["commit"])["commit"].unique()}  # fmt: skip
    assert made and not any(one.endswith("+") for one in made)
    assert not [one for one in made if git("merge-base", "--is-ancestor", first, one).returncode]


@pytest.mark.slow
def test_the_predictions_are_made_again_from_what_was_known_before(tmp_path):
    """By today's code, from the four parts of before: the file to its last digit."""
    for part in ("spectrum", "rate", "subset", "robust"):
        shutil.copytree(STUDY / "parts" / part, tmp_path / "parts" / part)
    made = tmp_path / "prediction.csv"
    assert main(["predict", str(tmp_path), str(STUDY / "registered" / "rows.csv"), "--out", str(made)]) == 0
    assert made.read_text() == (STUDY / "prediction.csv").read_text()
