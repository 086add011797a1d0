"""Runs trained side by side: the records of each alone, and the troubles of one are not the others'."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from scaling.config import load
from scaling.identity import run_id
from scaling.store import RunStore
from scaling.training.request import Request
from scaling.training.run import train, train_together
from scaling.training.watch import Diverged, Watch

TINY = [
    "--model.width=2", "--train.images=2048", "--train.batch_size=32", "--train.warmup_images=0", "--data.n_unique=12",
    "--data.holdout=24", "--evaluate.at=3", "--evaluate.samples=24", "--evaluate.sampler_steps=6", "--evaluate.draws=4",
    "--evaluate.basin_images=6", "--runtime.progress=false",
]  # fmt: skip
SPECTRUM = ["--data.duplication.design=spectrum", "--data.duplication.levels=3"]
KINDS = [
    ["--seed=1"],
    ["--seed=2", *SPECTRUM],
    ["--seed=3", "--data.n_unique=40", "--train.lr=5e-4", "--train.weight_decay=.1", "--train.ema=null"],
    ["--seed=4", "--data.draw=9", "--data.noise_draws=2", "--train.images=1024", "--train.lr_schedule=cosine"],
]
LOSSES = ("train_loss", "seen_loss", "holdout_loss", "seen_loss_se", "holdout_loss_se", "ideal_distance")


def requests(out: Path, kinds: list[list[str]], stack: ExitStack) -> list[Request]:
    configs = [load([*TINY, f"--runtime.out={out}", *kind]) for kind in kinds]
    return [Request(config, stack.enter_context(RunStore.open(config))) for config in configs]


def together(out: Path, kinds: list[list[str]]) -> list[tuple[Path, Exception | None]]:
    """The folder of each run and how it ended."""
    ends: dict[str, Exception | None] = {}
    with ExitStack() as stack:
        made = requests(out, kinds, stack)
        train_together(made, lambda request, error: ends.__setitem__(request.store.run_id, error))
    assert len(ends) == len(kinds)
    return [(request.store.folder, ends[request.store.run_id]) for request in made]


def evals(folder: Path) -> list[dict]:
    return [json.loads(line)["evals"] for line in (folder / "evals.jsonl").read_text().splitlines()]


def status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def alone(out: Path, kind: list[str]) -> Path:
    config = load([*TINY, f"--runtime.out={out}", *kind])
    with RunStore.open(config) as store:
        train(config, store)
    return store.folder


def same_losses(one: list[dict], other: list[dict], rel: float) -> None:
    assert [row["images_seen"] for row in one] == [row["images_seen"] for row in other]
    for mine, theirs in zip(one, other, strict=True):
        known = {name: theirs[name] for name in LOSSES if theirs[name] is not None}
        assert {name: mine[name] for name in known} == pytest.approx(known, rel=rel), mine["images_seen"]


def test_records_are_those_of_each_run_alone(tmp_path):
    """Four runs with images, copies, frozen noise, rate, decay, average, schedule and length of their own.

    Measured: losses agree within 1.2e-7 after 64 steps; those of another seed do not.
    """
    found = together(tmp_path / "together", KINDS)
    singles = [evals(alone(tmp_path / "alone", kind)) for kind in KINDS]
    for (folder, error), single in zip(found, singles, strict=True):
        rows = evals(folder)
        assert error is None and folder.name == single[0]["run_id"]
        assert {row["packed"] for row in rows} == {4} and {row["packed"] for row in single} == {1}
        same_losses(rows, single, rel=1e-5)
        assert [row["n_memorized"] for row in rows] == [row["n_memorized"] for row in single]
        assert status(folder)["state"] == "done" and not (folder / "checkpoints").exists()
        assert (folder / "model").is_dir() and (folder / "samples.npz").exists()
    with pytest.raises(AssertionError):
        same_losses(evals(found[0][0]), evals(alone(tmp_path / "alone", ["--seed=5"])), rel=1e-5)


@pytest.mark.slow
def test_one_that_diverges_or_lacks_its_images_leaves_the_others_alone(tmp_path):
    missing = ["--seed=6", f"--data.source=folder:{tmp_path}/none"]
    ends = together(tmp_path / "runs", [KINDS[0], ["--seed=7", "--train.lr=1e12"], missing, KINDS[1]])
    good, diverged, lacking, other = ends
    assert good[1] is None and other[1] is None
    assert isinstance(diverged[1], Diverged) and "became non-finite at step" in str(diverged[1])
    assert "none" in str(lacking[1])
    for (folder, _), kind in ((good, KINDS[0]), (other, KINDS[1])):
        same_losses(evals(folder), evals(alone(tmp_path / "alone", kind)), rel=1e-5)
    assert evals(diverged[0])[-1]["images_seen"] < 2048


def test_an_error_of_one_in_the_middle_is_its_own(tmp_path, monkeypatch):
    """As a full disk does: the second run's evaluation in the middle raises."""
    victim, original = run_id(load([*TINY, *KINDS[1]])), Watch.evaluate

    def evaluate(watch, keep):
        if watch.checkpoints.folder.parent.name == victim and watch.member.step > 0:
            raise OSError("no space left")
        original(watch, keep)

    monkeypatch.setattr(Watch, "evaluate", evaluate)
    ends = together(tmp_path, KINDS[:3])
    assert [type(error) for _, error in ends] == [type(None), OSError, type(None)]
    assert [len(evals(folder)) for folder, _ in ends] == [4, 1, 4]


@pytest.mark.slow
def test_a_stopped_pack_goes_on_in_other_company(tmp_path, monkeypatch):
    """SIGTERM in the middle: all have checkpoints. One goes on alone, two together, one of them from an older step."""
    original, raised = Watch.trained, []

    def trained(watch, seconds, k):
        original(watch, seconds, k)
        if watch.member.step == 20 and not raised:
            raised.append(signal.raise_signal(signal.SIGTERM))

    monkeypatch.setattr(Watch, "trained", trained)
    with pytest.raises(SystemExit) as stopped:
        together(tmp_path / "runs", KINDS[:3])
    assert stopped.value.code == 128 + signal.SIGTERM
    folders = [tmp_path / "runs" / run_id(load([*TINY, *kind])) for kind in KINDS[:3]]
    assert [status(folder)["state"] for folder in folders] == ["interrupted"] * 3
    newest = max((folders[1] / "checkpoints").glob("*.json"), key=lambda path: int(path.stem))
    newest.unlink()  # the generation before it is of another step

    alone(tmp_path / "runs", KINDS[0])
    together(tmp_path / "runs", KINDS[1:3])
    for folder, kind in zip(folders, KINDS, strict=False):
        assert status(folder)["state"] == "done"
        same_losses(evals(folder), evals(alone(tmp_path / "alone", kind)), rel=1e-5)


def test_shapes_that_differ_are_refused(tmp_path):
    with pytest.raises(ValueError, match="different shapes"):
        together(tmp_path, [KINDS[0], ["--model.width=3"]])
