"""Faults at instants that a random storm seldom meets, each placed there; the run ends as an undisturbed one."""

import json
import shutil

import pytest

from scaling.checkpoints import Checkpoints
from scaling.config import load
from scaling.schema import RECORDS
from scaling.store import RunStore
from scaling.training.run import train
from tests.faults.grid import content, records

TINY = [
    "--model.width=2", "--train.images=256", "--train.batch_size=16", "--train.warmup_images=0", "--data.n_unique=16",
    "--data.holdout=16", "--evaluate.at=[64]", "--evaluate.samples=8", "--evaluate.sampler_steps=4",
    "--evaluate.draws=2", "--evaluate.measures=[loss,neighbors]", "--runtime.checkpoint_every=1e-9",
]  # fmt: skip


class Cut(BaseException):
    """The process ends here."""


def go(out):
    config = load([*TINY, f"--runtime.out={out}"])
    with RunStore.open(config) as store:
        train(config, store)
    return store.folder


def cut_after_checkpoint(patch, step):
    """Ends the run right after its last checkpoint of this step."""
    save = Checkpoints.save

    def save_and_end(self, tensors, meta):
        save(self, tensors, meta)
        if meta["step"] == step and (step != 4 or meta["measured"]):
            raise Cut

    patch.setattr(Checkpoints, "save", save_and_end)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return go(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def ended(undisturbed, tmp_path):
    """A copy of the finished run, to be spoiled."""
    return shutil.copytree(undisturbed, tmp_path / undisturbed.name)


def unfinished(folder):
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"state": "running"}))


def same(folder, undisturbed):
    assert records(folder) == records(undisturbed)
    assert content(folder) == content(undisturbed)


def test_killed_after_its_last_record_a_run_ends_without_training_again(ended, undisturbed, monkeypatch):
    """Its checkpoints may be gone already; model/ holds what was measured, not a network that was just made."""
    unfinished(ended)
    shutil.rmtree(ended / "model")
    (ended / "model.tmp").mkdir()
    monkeypatch.setattr("scaling.training.run._fit", lambda *_: pytest.fail("trained again"))
    same(go(ended.parent), undisturbed)


@pytest.mark.parametrize("step", [4, 5, 10])
def test_a_lost_record_is_measured_again_though_checkpoints_are_beyond_it(tmp_path, undisturbed, step):
    """The record is that of step 4, where a checkpoint is written before it is measured, and one after it."""
    with pytest.raises(Cut), pytest.MonkeyPatch.context() as patch:
        cut_after_checkpoint(patch, step)
        go(tmp_path)
    folder = tmp_path / undisturbed.name
    first, second, rest = (folder / RECORDS).read_bytes().split(b"\n")
    assert rest == b"" and list((folder / "checkpoints").glob("*.json"))
    (folder / RECORDS).write_bytes(first + b"\n" + second[: len(second) // 2])
    same(go(tmp_path), undisturbed)


def test_a_finished_run_whose_last_record_is_torn_is_not_finished(ended, undisturbed):
    """A copy that was broken off: its status came along, the end of its records did not."""
    whole = (ended / RECORDS).read_bytes()
    (ended / RECORDS).write_bytes(whole[:-100])
    assert RunStore.finished(load([*TINY, f"--runtime.out={ended.parent}"])) is None
    same(go(ended.parent), undisturbed)


def test_without_its_status_a_run_goes_on_from_its_records(ended, undisturbed):
    (ended / "status.json").unlink()
    same(go(ended.parent), undisturbed)
