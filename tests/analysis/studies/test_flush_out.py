"""Study 4's page: every change of its sweep has a name that a reader knows, and no two have the same."""

import json
from pathlib import Path

import pandas
import pytest

from analysis.questions.interventions import changes, flat, single_changes
from analysis.studies.flush_out import Change, named
from scaling.identity import canonical
from scaling.sweep.grid import expand

SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "flush_out.yaml"


def said(change: dict) -> str:
    return ", ".join(f'{key}: "{a}" -> "{b}"' for key, (a, b) in change.items())


def test_every_change_of_the_sweep_has_a_name_of_its_own(monkeypatch):
    monkeypatch.chdir(SWEEP.parents[1])
    configs = {cell.run_id: flat(json.loads(canonical(cell.config))) for cell in expand(SWEEP).cells}
    distinct = list({str(sorted(one.items(), key=str)): one for one in configs.values()}.values())
    base = next(k for k, one in enumerate(distinct) if sum(len(changes(one, other)) == 1 for other in distinct) > 10)
    single, _ = single_changes(distinct, base)
    names = [named(said(one)) for one in single.values()]
    assert len(set(names)) == len(names) == 16


@pytest.mark.parametrize(
    ("change", "name"),
    [("model.width: 16 -> 8", "half the width"),
     ('model.family: "unet" -> "mlp", model.width: 16 -> 256', "MLP"),
     ('model.blocks: 1 -> 3, model.family: "unet" -> "dit", model.width: 16 -> 64', "transformer (DiT)"),
     ("early stop: the base at its hold-out minimum", "early stop at the hold-out minimum")],
)  # fmt: skip
def test_a_change_of_several_keys_is_called_by_the_one_that_matters(change, name):
    assert named(change) == name


def test_a_change_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r"train.lr: 1 -> 2: no name for it"):
        named("train.lr: 1 -> 2")


def test_a_share_is_as_uncertain_as_its_runs_differ():
    """1, 18 and 62 % of 256 samples: samples alone would say 24 to 30 %. Of equal runs the samples are what is left."""
    runs = pandas.DataFrame({"n_memorized": [3, 46, 160], "n_generated": 256})
    mean, ends = Change("early", {}, runs).memorized.split(" % (")
    lo, hi = map(float, ends.strip(")").split(" to "))
    assert mean == "27" and lo == 0 and hi == 100  # Student's interval of three is wider than a share can be
    assert Change("equal", {}, runs.assign(n_memorized=64)).memorized == "25 % (22 to 28)"
