"""The two walk-throughs of the documentation from their first line, shortened: photographs, and an audit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from analysis.report import main as report
from analysis.table import load
from scaling.audit import main as audit

ROOT = Path(__file__).resolve().parents[1]
SMALL = (  # of the study on own images: what one core measures in a few seconds a run
    "--evaluate.samples=16", "--evaluate.sampler_steps=6", "--evaluate.draws=2", "--evaluate.at=3", "--data.holdout=32",
    "--evaluate.measures=[loss, neighbors, basin]", "--evaluate.basin_images=8",
)  # fmt: skip

pytestmark = pytest.mark.slow


def run(*words: str, folder: Path = ROOT) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    made = subprocess.run([sys.executable, *words], cwd=folder, env=environment, text=True, capture_output=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


def test_a_folder_of_photographs_becomes_advice(tmp_path):
    """The committed sweep file with two sizes, fewer images and a fortieth of its length."""
    photos, runs = tmp_path / "photos", tmp_path / "runs"
    run("examples/photo_tiles.py", str(photos))
    assert len(list(photos.glob("*.png"))) == 520
    sweep = yaml.safe_load((ROOT / "sweeps" / "own_images.yaml").read_text())
    sweep["parameters"] |= {"model.width": {"values": [2, 8]}, "train.images": {"value": 2560}}
    sweep["parameters"] |= {"data.n_unique": {"values": [32, 128]}}
    del sweep["parameters"]["evaluate.at"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    source = f"--data.source=folder:{photos}"
    said = run(
        "-m", "scaling.sweep", str(tmp_path / "sweep.yaml"), source, f"--runtime.out={runs}", "--workers=1", *SMALL
    )
    assert "8 done, 0 failed, 0 left" in said
    assert report([str(runs), "--out", str(tmp_path / "out"), "--bootstrap", "20"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    (section,) = re.findall(r'<section id="recommendation">(.*?)</section>', page, re.S)
    advice = dict(re.findall(r'<tr><td class="text">([^<]*)</td><td class="text">([^<]*)</td>', section))
    assert list(advice) == ["How many copies?", "How many images?", "Which size?", "When to stop?"]
    assert re.search(r"\d parameters \([\d.]+ at its lowest point", advice["Which size?"])  # a loss was measured
    assert all(len(said) > 20 for said in advice.values())


def test_the_audit_of_the_walk_through_finds_the_copies(tmp_path, monkeypatch):
    """Half of the training steps of docs/audit.md are enough to be told from chance; the null stays the null."""
    text = (ROOT / "docs" / "audit.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert "range(3000)" in code
    (tmp_path / "made.py").write_text(code.replace("range(3000)", "range(1500)"))
    run("made.py", folder=tmp_path)
    (command,) = re.findall(r"^python -m scaling\.audit (model .*)$", text, re.M)
    monkeypatch.chdir(tmp_path)
    assert audit(command.replace("--samples 256", "--samples 64").split()) == 0
    tables = load(tmp_path / "audit")
    evals, strata = tables.evals.iloc[0], tables.strata.set_index("copies")
    assert evals["n_memorized"] > 16 and evals["n_null_memorized"] <= 2
    assert strata["n_images"].to_dict() == {1: 28, 8: 4} and evals["n_train"] == 60
    rate = strata["n_hits"] / strata["n_images"]
    assert rate[8] > 2 * rate[1]  # the model emits images as often as it saw them
