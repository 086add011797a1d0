"""The commands that an audit prints at its end, run as they are printed on a study with a planted answer."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from analysis import ask, pareto
from scaling import schema
from scaling.audit import main
from tests.analysis.asked_study import study
from tests.scaling.audits.planted import HELD, TRAIN, digits, planted_samples, save

DATA = {"b_0": 1.0, "params": 0.5, "n_unique": -1.6}  # logit F = b_0 + sum b ln v
PLANS = tuple((n, (1,)) for n in (64, 256, 1024, 4096))
PARAMS = 10_405


@pytest.fixture
def printed(tmp_path, capsys) -> list[list[str]]:
    """The words of each command, TABLES replaced by the folder of `write`; ten of the samples are training images."""
    save(tmp_path / "train", digits()[TRAIN])
    save(tmp_path / "samples", planted_samples(range(10)))
    save(tmp_path / "held", digits()[HELD])
    words = [str(tmp_path / "samples"), "--data", f"folder:{tmp_path / 'train'}", "--params", f"{PARAMS}"]
    assert main([*words, "--holdout-data", f"folder:{tmp_path / 'held'}", "--out", str(tmp_path / "audit")]) == 0
    said = capsys.readouterr().out
    commands = [shlex.split(line) for line in said.splitlines() if line.startswith("  python -m analysis.")]
    return [[str(tmp_path / "tables") if word == "TABLES" else word for word in command] for command in commands]


def write(folder: Path, kid: float = 1.0) -> None:
    """A study of the audit's images, one copy each: size and n_unique set the memorized share, all have this KID."""
    made = study(np.random.default_rng(0), truth=DATA, plans=PLANS, luck=0.0, samples=20_000)
    evals = made.evals.assign(dataset=f"folder:{folder.parent / 'train'}", kid=kid, kid_se=0.001)
    folder.mkdir()
    for name in schema.TABLES:
        (evals if name == "evals" else getattr(made, name)).to_parquet(folder / f"{name}.parquet")


def test_how_many_images_are_enough_is_answered_with_the_planted_number(printed, tmp_path, capsys):
    """logit .01 = b_0 + .5 ln p - 1.6 ln n, solved for n."""
    write(tmp_path / "tables")
    (words,) = [command for command in printed if command[2] == "analysis.ask"]
    assert words[:3] == ["python", "-m", "analysis.ask"] and ask.main([*words[3:], "--draws", "40"]) == 0
    answer = json.loads(capsys.readouterr().out)
    exact = np.exp((DATA["b_0"] + DATA["params"] * np.log(PARAMS) + np.log(99)) / -DATA["n_unique"])
    assert answer["answerable"] and answer["lo"] < exact < answer["hi"], answer["why"]
    assert answer["value"] == pytest.approx(exact, rel=0.05) and not answer["extrapolated"]


@pytest.mark.parametrize(("kid", "dominated"), [(-1.0, True), (1.0, False)])
def test_the_audited_samples_are_placed_on_the_boundary_or_behind_it(printed, tmp_path, capsys, kid, dominated):
    """A KID lies far from 1 on either side: of studies that memorize less, that of lower KID dominates."""
    write(tmp_path / "tables", kid)
    (words,) = [command for command in printed if command[2] == "analysis.pareto"]
    assert pareto.main(words[3:]) == 0
    (model,) = json.loads(capsys.readouterr().out)["placed"]
    assert model["p_dominated"] == pytest.approx(1.0 if dominated else 0.0, abs=0.02)
