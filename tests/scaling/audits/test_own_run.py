"""A run of ours under audit finds what its own last evaluation recorded."""

import json
from pathlib import Path

import pytest

from analysis import pareto
from analysis.table import load as load_tables
from scaling import collect
from scaling.audit import main
from scaling.config import load
from scaling.schema import rows
from scaling.store import RunStore

TINY = [
    "--model.width=2", "--train.images=1024", "--train.batch_size=32", "--train.warmup_images=0", "--data.n_unique=12",
    "--data.holdout=24", "--data.draw=0", "--evaluate.at=1", "--evaluate.samples=24", "--evaluate.sampler_steps=6",
    "--evaluate.draws=8", "--evaluate.measures=[loss,membership,ideal,neighbors,cliques,quality,basin]",
    "--runtime.progress=false", "--data.duplication.design=spectrum", "--data.duplication.levels=3",
]  # fmt: skip
SAME = (
    "n_memorized", "n_memorized_12", "n_null_memorized", "n_calibrated", "n_null_calibrated", "n_extracted",
    "n_flagged", "n_basin", "n_basin_recovered", "n_ideal_basin_recovered", "n_null_basin_recovered", "seen_loss",
    "seen_loss_se", "holdout_loss", "membership_auc", "ideal_distance", "kid", "kid_se", "frechet", "images_seen",
    "params", "lr", "design",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    from scaling.training.run import train

    config = load([*TINY, f"--runtime.out={tmp_path_factory.mktemp('runs')}"])
    with RunStore.open(config) as store:
        train(config, store)
    return store.folder


def test_an_audit_repeats_the_runs_own_evaluation(run, tmp_path):
    assert main([str(run), "--samples", "24", "--out", str(tmp_path), "--threads", "1"]) == 0
    mine, own = load_tables(tmp_path), rows(run)
    evals, recorded = mine.evals.iloc[0], own["evals"][-1]
    assert {name: evals[name] for name in SAME} == pytest.approx({name: recorded[name] for name in SAME})
    last = [row for row in own["strata"] if row["images_seen"] == recorded["images_seen"]]
    for name in ("copies", "n_images", "n_hits", "n_basin_recovered", "seen_loss"):
        assert mine.strata[name].tolist() == pytest.approx([row[name] for row in last])
    assert evals.run_id != recorded["run_id"]
    assert evals.commit == recorded["commit"] and evals.code_version == recorded["code_version"]  # of one checkout


def test_an_audit_is_placed_on_the_boundary_of_the_study_it_comes_from(run, tmp_path):
    """The study's tables, and its own last evaluation again: a step of rounding from the boundary, and no further."""
    assert collect.main([str(run.parent), "--out", str(tmp_path / "tables")]) == 0
    assert main([str(run), "--samples", "24", "--out", str(tmp_path / "audit"), "--threads", "1"]) == 0
    words = [str(tmp_path / "tables"), "--minimize", "memorized", "--rate", "memorized=n_memorized/n_generated",
             "--minimize", "holdout_loss", "--place", str(tmp_path / "audit" / "evals.csv"),
             "--out", str(tmp_path / "placed.json")]  # fmt: skip
    assert pareto.main(words) == 0
    (placed,) = json.loads((tmp_path / "placed.json").read_text())["placed"]
    assert [move["by"] for move in placed["moves"]] == pytest.approx([0, 0], abs=1e-6)
    assert 0 not in placed["by"]  # the untrained network is worse


def test_a_run_on_other_images_keeps_none_of_its_own_design(run, tmp_path):
    assert main([str(run), "--data", "digits", "--holdout", "1780", "--samples", "8", "--basin-images", "0",
                 "--out", str(tmp_path)]) == 0  # fmt: skip
    evals = load_tables(tmp_path).evals.iloc[0]
    assert (evals.n_unique, evals.n_holdout, evals.images_seen) == (17, 1780, 1024)
    assert evals.design is None and evals.config is None


def test_labels_are_refused(tmp_path, capsys):
    from scaling.training.run import train

    config = load(
        [
            *TINY,
            "--data.conditioning=class",
            "--train.images=32",
            "--evaluate.measures=[loss]",
            f"--runtime.out={tmp_path}",
        ]
    )
    with RunStore.open(config) as store:
        train(config, store)
    assert main([str(store.folder)]) == 2
    assert "data.conditioning=class" in capsys.readouterr().err
