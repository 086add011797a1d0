"""The command: a study of tiny runs, one of them again; a doctored table; what is refused in a line."""

import json
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from scaling import train
from scaling.collect import collect
from scaling.reproduce.__main__ import main
from tests.scaling.tiny_run import trained

ROOT = Path(__file__).resolve().parents[3]
SEEDS = 4
FLAGS = ("--train.images=256", "--data.draw=0")
KEPT = ("run_id", "cell_id", "seed", "config", "train_id")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def handlers():
    """The command takes the signals of its process."""
    kept = {signum: signal.getsignal(signum) for signum in train.STOPS}
    yield
    for signum, handler in kept.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The tables of four replicates."""
    folder = tmp_path_factory.mktemp("study")
    for seed in range(SEEDS):
        trained(folder / "runs", f"--seed={seed}", *FLAGS)
    collect([folder / "runs"], folder / "tables")
    return folder / "tables"


def rows(tables: Path) -> list[dict]:
    return parquet.read_table(tables / "evals.parquet").to_pylist()


def written(folder: Path, changed: list[dict], like: Path) -> Path:
    folder.mkdir(parents=True)
    schema = parquet.read_schema(like / "evals.parquet")
    parquet.write_table(pa.Table.from_pylist(changed, schema=schema), folder / "evals.parquet")
    return folder


def test_a_run_again_has_the_same_bits_and_twice_is_not_trained_twice(study, tmp_path, capfd):
    command = [str(study), "--out", str(tmp_path / "again")]
    assert main(command) == 0
    said = capfd.readouterr().out
    assert "why this one: the cheapest of 4 runs in 1 cells of 3 replicates or more" in said
    assert " equal bits" in said and " agrees" not in said and "largest difference 0 s" in said
    assert main(command) == 0
    assert "is done: 256 images seen" in capfd.readouterr().out


def test_parts_are_one_study(study, tmp_path, capfd):
    parts = [("a", range(2)), ("b", range(2, SEEDS))]
    for name, seeds in parts:
        written(tmp_path / "parts" / name, [row for row in rows(study) if row["seed"] in seeds], study)
    run = next(row["run_id"] for row in rows(study) if row["seed"] == 2)
    assert main([str(tmp_path), "--run", run, "--out", str(tmp_path / "again")]) == 0
    assert f"run {run} of" in capfd.readouterr().out


def test_a_row_of_another_learning_rate_is_refused(study, tmp_path, capfd):
    """What the table says of seed 0 comes from a run that went astray; its name and configuration stay."""
    astray = tmp_path / "astray"
    trained(astray / "runs", "--seed=0", *FLAGS, "--train.lr=1")
    collect([astray / "runs"], astray / "tables")
    own = {row["images_seen"]: row for row in rows(study) if row["seed"] == 0}
    foreign = [{**row, **{name: own[row["images_seen"]][name] for name in KEPT}} for row in rows(astray / "tables")]
    tables = written(tmp_path / "tables", [*foreign, *(row for row in rows(study) if row["seed"])], study)
    run = foreign[0]["run_id"]
    assert main([str(tables), "--run", run, "--out", str(tmp_path / "again")]) == 1
    assert " miss" in capfd.readouterr().out


def doctored(tables: Path, folder: Path, **change) -> Path:
    return written(folder, [{**row, **change} for row in rows(tables)], tables)


def test_a_configuration_of_another_run_is_refused(study, tmp_path, capsys):
    config = json.loads(rows(study)[0]["config"])
    config["train"]["lr"] *= 2
    tables = doctored(study, tmp_path / "tables", config=json.dumps(config))
    assert main([str(tables), "--out", str(tmp_path / "again")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "its configuration is that of run" in line and not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": "[1]"}, "no mapping"),
        ({"config": None}, "config is missing or empty in a row"),
        ({"data_sha256": "0" * 64}, "data.source=digits: other images than those of run"),
        ({"schema_version": 99}, "schema_version 99 is newer than"),
        ({"images_seen": 7}, "at images_seen=7 is there twice"),
    ],
)
def test_a_wrong_table_ends_with_one_line(change, says, study, tmp_path, capsys):
    assert main([str(doctored(study, tmp_path / "tables", **change)), "--out", str(tmp_path / "again")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scaling.reproduce: ") and says in line


def test_no_table_ends_with_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds neither evals.parquet nor parts/*/evals.parquet" in line


def test_a_run_that_other_code_made_is_no_run_again(study, tmp_path, capsys, monkeypatch):
    command = [str(study), "--out", str(tmp_path / "again")]
    assert main(command) == 0
    capsys.readouterr()
    monkeypatch.setattr("scaling.reproduce.__main__.code_version", lambda: "0123456789ab")
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is there already, made by code" in line and "give another --out" in line


def made(*arguments: str) -> str:
    command = ["make", "--dry-run", "--assume-old=.venv/installed", "reproduce", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_takes_every_study_with_tables_or_the_one_named():
    with_tables = {file.relative_to(ROOT).parts[1] for file in (ROOT / "results").rglob("evals.parquet")}
    (line,) = [line for line in made().splitlines() if "for study in" in line]
    assert set(line.partition("for study in ")[2].partition(";")[0].split()) == with_tables >= {"memorization"}
    assert "for study in counterfactual;" in made("STUDY=counterfactual")
