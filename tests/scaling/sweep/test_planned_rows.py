"""The strata a sweep will have, held against a run that was really trained and against what counting by hand gives."""

import csv
from pathlib import Path

import pytest

from scaling import schema
from scaling.sweep.__main__ import main
from scaling.sweep.grid import expand
from scaling.sweep.planned_rows import planned_rows

ROOT = Path(__file__).resolve().parents[3]
SWEEP = """
method: grid
command: ["${env}", "${interpreter}", "-m", "scaling.train", "--config", "configs/digits.yaml", "${args}"]
parameters:
  data.n_unique: {value: 12}
  data.holdout: {value: 12}
  data.duplication.design: {value: strata}
  data.duplication.levels: {value: [[6, 1], [4, 3], [2, 9]]}
  train.images: {value: 100}
  train.batch_size: {value: 8}
  evaluate.at: {value: 1}
  evaluate.samples: {value: 6}
  evaluate.basin_images: {value: 8}
  evaluate.measures: {value: [loss, neighbors, basin]}
  model.width: {values: [2]}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


@pytest.mark.slow
def test_rows_are_those_that_the_run_records(sweep, tmp_path, capsys):
    """Every column against the strata and the evals row of the run itself; 100 images of batches of 8 end at 104."""
    out, rows = tmp_path / "runs", tmp_path / "rows.csv"
    assert main([str(sweep), "--dry-run", f"--rows={rows}", f"--runtime.out={out}"]) == 0
    assert "3 strata" in capsys.readouterr().out
    assert main([str(sweep), f"--runtime.out={out}", "--workers=1", "--pack=1"]) == 0
    (folder,) = [path.parent for path in out.glob("*/evals.jsonl")]
    found = schema.rows(folder)
    last = max(row["images_seen"] for row in found["evals"])
    strata = {row["copies"]: row for row in found["strata"] if row["images_seen"] == last}
    with rows.open() as file:
        planned = list(csv.DictReader(file))
    assert last == 104 and [int(row["copies"]) for row in planned] == sorted(strata) == [1, 3, 9]
    for row in planned:
        recorded = strata[int(row["copies"])]
        for name, text in row.items():
            assert text == str(recorded[name]) or float(text) == pytest.approx(recorded[name], rel=1e-12), name


def test_basin_chains_are_shared_out_as_equally_as_strata_allow(sweep):
    """8 images over strata of 6, 4 and 2: 3, 3 and 2, four chains each; 104 images seen of 36 in the training set."""
    rows = list(planned_rows(expand(sweep).cells))
    assert [row["n_basin"] for row in rows] == [12, 12, 8]
    assert [row["exposures"] for row in rows] == pytest.approx([104 / 36, 3 * 104 / 36, 9 * 104 / 36], rel=1e-12)


def test_what_is_not_measured_has_no_trials(sweep):
    rows = list(planned_rows(expand(sweep, ["--evaluate.measures=[loss]"]).cells))
    assert [(row["n_basin"], row["n_generated"], row["n_images"]) for row in rows] == [(0, 0, 6), (0, 0, 4), (0, 0, 2)]


def test_rows_without_a_dry_run_or_without_a_folder_are_refused(sweep, tmp_path, capsys):
    assert main([str(sweep), f"--rows={tmp_path / 'rows.csv'}"]) == 2
    assert "belongs to --dry-run" in capsys.readouterr().err
    assert main([str(sweep), "--dry-run", f"--rows={tmp_path / 'none' / 'rows.csv'}"]) == 2
    assert "cannot be written" in capsys.readouterr().err and not (tmp_path / "none").exists()
