"""Whole runs, tiny ones: what they record, and that interruption, repetition and measuring again change no bit."""

import json
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scaling.checkpoints import load_weights
from scaling.config import ConfigError, build, load
from scaling.flops import forward_flops as closed_form_flops
from scaling.identity import run_id
from scaling.memorization.ideal_distance import ideal_distance
from scaling.schema import EVALS, rows
from scaling.store import RunStore
from scaling.store_errors import StoreError
from scaling.training.run import choose_device, train
from scaling.training.watch import Diverged

TINY = [
    "--model.width=2", "--train.images=2048", "--train.batch_size=32", "--train.warmup_images=0", "--data.n_unique=12",
    "--data.holdout=24", "--evaluate.at=3", "--evaluate.samples=24", "--evaluate.sampler_steps=6", "--evaluate.draws=4",
    "--evaluate.basin_images=6", "--data.duplication.design=spectrum", "--data.duplication.levels=3",
    "--runtime.checkpoint_every=0.05", "--runtime.progress=false",
]  # fmt: skip


SUMS = {  # evals column: the strata column that adds up to it
    "n_memorized": "n_hits", "n_extracted": "n_extracted", "n_unique": "n_images", "n_calibrated": "n_calibrated",
    "n_null_memorized": "n_null_memorized", "n_basin": "n_basin", "n_basin_recovered": "n_basin_recovered",
}  # fmt: skip


def run(out: Path, *flags: str) -> Path:
    config = load([*TINY, f"--runtime.out={out}", *flags])
    with RunStore.open(config) as store:
        train(config, store)
    return store.folder


def start(out: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "scaling.train", *TINY, f"--runtime.out={out}", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(folder: Path) -> list[dict]:
    """All records without the clock on the wall, the one column that may differ."""
    made = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    return [{**record, "evals": {**record["evals"], "wall_seconds": None}} for record in made]


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "weights").iterdir())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("undisturbed"))


def test_a_run_records_every_measure_of_its_set(undisturbed):
    tables = rows(undisturbed)
    assert [row["images_seen"] for row in tables["evals"]] == [0, 32, 224, 2048]  # 20.48 and 204.8 rounded up
    later = {"tpr", "prompt", "key", "bits", "cyclic", "sigma_min"}  # few held-out images; not in the default set
    excused = {"noise_draws", "fold_index", "fold_of", "fold_split", "fraction", "n_label_agreed", "label_agreed_null"}
    for row in tables["evals"][1:]:
        empty = {c.name for c in EVALS if row[c.name] is None and not any(word in c.name for word in later)}
        assert empty == excused | ({"train_loss_se"} if row["images_seen"] == 32 else set())  # a single batch
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if git.returncode == 0:  # the tests of an unpacked archive stand in no repository
        assert {row["commit"].removesuffix("+") for row in tables["evals"]} == {git.stdout[:12]}
    assert tables["evals"][0]["train_loss"] is None
    assert [row["copies"] for row in tables["strata"][:3]] == [1, 2, 4]
    for evals in tables["evals"]:
        mine = [row for row in tables["strata"] if row["images_seen"] == evals["images_seen"]]
        for total, part in SUMS.items():
            assert evals[total] == sum(row[part] for row in mine), total
        assert all(row["exposures"] == evals["images_seen"] * row["copies"] / 28 for row in mine)
    levels = [row for row in tables["noise_levels"] if row["images_seen"] == 2048 and row["kind"] == "loss"]
    last = tables["evals"][-1]
    assert np.mean([row["seen_loss"] for row in levels]) == pytest.approx(last["seen_loss"])
    assert last["train_flops"] == 2048 * 3 * closed_form_flops(load(TINY).model, image_size=8, channels=1)
    assert last["epochs"] == 2048 / 28


FULL = [
    "--config=configs/full.yaml", "--evaluate.rounds=2", "--evaluate.cycles=2", "--evaluate.prompts=6",
    "--evaluate.density_levels=8", "--data.keys=true", "--data.holdout=120", "--evaluate.contexts=[1/2,border,patch]",
]  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("full"), *FULL)


def test_the_full_set_fills_every_column_of_every_table(full):
    tables = rows(full)
    images = pd.read_parquet(full / "images.parquet")
    excused = {"noise_draws", "fold_index", "fold_of", "fold_split", "fraction", "train_loss_se"}
    excused |= {"n_label_agreed", "label_agreed_null"}  # without conditioning there is no label
    for row in tables["evals"][1:]:
        empty = {name for name, value in row.items() if value is None}
        # An evaluation that is its own reference at every level has 0 bits by definition, and no error of them.
        assert ("bits_memorized_se" in empty) == (row["bits_memorized"] == 0)
        assert empty - {"bits_memorized_se"} <= excused
    for table in ("strata", "prompts"):
        for row in tables[table]:
            assert {name for name, value in row.items() if value is None} <= excused
    for kind, empty in (("loss", {"trajectory_distance"}), ("sampler", {"ideal_distance"})):
        levels = [row for row in tables["noise_levels"] if row["kind"] == kind]
        losses = {f"{name}_loss{se}" for name in ("seen", "holdout") for se in ("", "_se")}
        missing = empty | (losses if kind == "sampler" else set())
        assert levels and all({n for n, v in row.items() if v is None} - excused == missing for row in levels)
    trained, held = images[images.in_training], images[images.role == "holdout"]
    of_training = {"n_hits", "n_basin_recovered", "n_prompt_recovered", "leverage"}
    for name in {"loss", "membership_score", "log_density_bound", "log_density_se"} | of_training:
        assert trained[name].notna().sum() == (6 if name in ("n_basin_recovered", "n_prompt_recovered") else 12), name
        assert held[name].notna().all() == (name not in of_training), name
    shares = {row["context"]: row["known_share"] for row in tables["prompts"]}
    assert shares == {"1/2": 0.5, "border": 28 / 64, "patch": 16 / 64}  # of 8x8 pixels: 4 rows, the ring, 4x4
    last = tables["evals"][-1]
    half = [row for row in tables["prompts"] if row["images_seen"] == 2048 and row["context"] == "1/2"]
    assert sum(row["n_prompts"] for row in half) == last["n_prompts"] == 6
    with np.load(full / "samples.npz", allow_pickle=False) as arrays:
        assert len(arrays["prompt_completions"]) == len(arrays["prompt_images"]) == len(arrays["prompt_context"])
        known = np.broadcast_to(arrays["prompt_known"][:, None], arrays["prompt_images"].shape)
        assert (arrays["prompt_images"] == arrays["prompt_completions"])[known].all()
        assert list(arrays["image_ids"][:12]) == list(images.image_id[:12])


@pytest.mark.slow
def test_the_full_set_costs_no_bit_when_interrupted_before_the_hold_out_minimum_is_forgotten(full, tmp_path):
    """bits_memorized looks back at the weights of the hold-out minimum: after a resume they are measured again."""
    stop_before_the_last_record(tmp_path, *FULL)
    same_run(full, run(tmp_path, *FULL))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--data.conditioning=unique", "--data.keys=false"],
        ["--data.conditioning=class", "--data.fold.index=1"],
        ["--data.duplication.near=shift", "--data.keys=false", "--model.family=mlp", "--model.width=8"],
        ["--train.sigma.law=fixed", "--train.sigma.value=0.35", "--data.noise_draws=2", "--model.attention=true"],
        ["--evaluate.measures=[density,leverage,cyclic,prompts]", "--model.family=dit", "--model.width=8"],
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_the_full_set_measures_every_kind_of_run(flags, tmp_path):
    folder = run(tmp_path, *FULL, "--evaluate.at=1", "--train.images=256", *flags)
    last, images = rows(folder)["evals"][-1], pd.read_parquet(folder / "images.parquet")
    assert last["n_prompts"] == 6 and last["n_cyclic"] == 24 and last["bits_optimism_se"] > 0
    pool = images[images.role != "holdout"]
    assert pool.log_density_bound.notna().all()  # also of images that a fold left out: the counterfactual score
    assert (pool.leverage.notna() == pool.in_training).all()


def test_an_untrained_network_memorized_nothing(undisturbed):
    """The null in every run: no gap between seen and held-out loss within 3 SE, no sample memorized, no basin."""
    first = rows(undisturbed)["evals"][0]
    gap = first["holdout_loss"] - first["seen_loss"]
    assert abs(gap) < 3 * np.hypot(first["holdout_loss_se"], first["seen_loss_se"])
    assert first["n_memorized"] == first["n_null_memorized"] == first["n_extracted"] == 0
    assert first["n_basin_recovered"] == 0 < first["n_basin"]


def test_the_run_folder_is_complete_and_readable(undisturbed):
    import yaml

    names = {path.name for path in undisturbed.iterdir()}
    assert {"config.yaml", "status.json", "evals.jsonl", "images.parquet", "samples.npz", "weights", "model"} <= names
    assert "checkpoints" not in names and not any("tmp" in name for name in names)
    again = build(yaml.safe_load((undisturbed / "config.yaml").read_text()))
    assert run_id(again) == undisturbed.name
    images = pd.read_parquet(undisturbed / "images.parquet")
    assert list(images.role.value_counts()[["train", "holdout"]]) == [12, 24]
    assert images.loss.notna().all() and images.image_id.is_unique
    assert int(images.n_hits.sum()) == rows(undisturbed)["evals"][-1]["n_memorized"]
    with np.load(undisturbed / "samples.npz", allow_pickle=False) as arrays:
        assert arrays["samples"].shape == (24, 1, 8, 8) and abs(arrays["samples"]).max() <= 1
        assert arrays["gallery_samples"].dtype == np.uint8 and len(arrays["gallery_copies"]) == 24


def test_the_saved_model_is_diffusers_own(undisturbed):
    """model/ loads as it is and gives, with the constants beside it, the denoiser that was measured."""
    from diffusers import UNet2DModel

    from scaling.diffusion.denoiser import Denoiser
    from scaling.models.ladder import build as network

    model = UNet2DModel.from_pretrained(undisturbed / "model")
    config, (kept, _) = load(TINY), load_weights(undisturbed / "weights" / "2048.safetensors")
    constants = json.loads((undisturbed / "model" / "preconditioning.json").read_text())
    fresh = network(config.model, image_size=8, channels=1, n_labels=0, seed=5)
    ours = Denoiser(fresh, mean=constants["mean"], sigma_data=constants["sigma_data"])
    ours.load_state_dict(kept)
    x, noise = torch.randn(3, 1, 8, 8), torch.tensor([-1.0, 0.0, 0.5])
    assert torch.equal(model(x, noise).sample, ours.network(x, noise, None))


def test_repeating_a_finished_run_says_so_without_torch(undisturbed):
    code = "import sys; from scaling.train import main; sys.exit(main(sys.argv[1:]) or 9 * ('torch' in sys.modules))"
    flags = [*TINY, f"--runtime.out={undisturbed.parent}"]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True)
    assert done.returncode == 0 and "is done: 2,048 images seen" in done.stdout
    assert time.monotonic() - started < 5  # the goal is 1 s on a quiet machine


def kill_until_done(out: Path, kills: int, rng: random.Random) -> Path:
    """Start the run, SIGKILL it at random instants, then let it end; the folder."""
    for _ in range(kills):
        process = start(out)
        while process.poll() is None and not list(out.glob("*/evals.jsonl")):
            time.sleep(0.01)  # imports over: from here on there is something to spoil
        time.sleep(rng.uniform(0, 1.0))
        process.kill()
        process.communicate()
    process = start(out)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return next(path for path in out.iterdir() if (path / "evals.jsonl").exists())


def stop_before_the_last_record(out: Path, *flags: str) -> None:
    """The run with everything on disk but its last record."""
    appended = RunStore.append

    def append(store: RunStore, record: dict) -> None:
        if record["evals"]["images_seen"] == 2048:
            raise KeyboardInterrupt
        appended(store, record)

    with pytest.MonkeyPatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(RunStore, "append", append)
        run(out, *flags)


def same_run(one: Path, two: Path) -> None:
    assert records(one) == records(two)
    assert weights(one) == weights(two)
    with np.load(one / "samples.npz") as a, np.load(two / "samples.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files)


def test_killed_at_any_instant_a_run_ends_with_the_same_bits(undisturbed, tmp_path):
    same_run(undisturbed, kill_until_done(tmp_path, kills=2, rng=random.Random(0)))


def test_killed_between_its_last_checkpoint_and_its_last_record_a_run_measures_its_end(undisturbed, tmp_path):
    """The instant at which nothing is left to train, but the most important record is missing."""
    stop_before_the_last_record(tmp_path)
    assert len(records(tmp_path / undisturbed.name)) == 3
    same_run(undisturbed, run(tmp_path))


@pytest.mark.slow
def test_killed_ten_times(undisturbed, tmp_path, keep_table):
    for attempt in range(10):
        same_run(undisturbed, kill_until_done(tmp_path / str(attempt), kills=1, rng=random.Random(attempt)))
    row = {"fault": "SIGKILL at a random instant", "runs": 10, "equal to the bit": 10}  # same_run raises else
    keep_table("faults", "Runs killed and resumed against an undisturbed one", [row], "0 to 9")


def test_sigterm_writes_a_checkpoint_and_exits_143(undisturbed, tmp_path):
    process = start(tmp_path, "--runtime.checkpoint_every=1000")
    while not list(tmp_path.glob("*/evals.jsonl")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    folder = next(path for path in tmp_path.iterdir() if (path / "status.json").exists())
    assert process.returncode == 143
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert list((folder / "checkpoints").glob("*.safetensors"))
    same_run(undisturbed, run(tmp_path))


def test_sigterm_before_training_ends_with_143_and_no_lock(tmp_path):
    """While torch is imported and images are read there is no checkpoint to write, but an exit status to keep."""
    process = start(tmp_path)
    while not list(tmp_path.glob("*/lock.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and not list(tmp_path.glob("*/lock.json"))


def test_a_run_under_any_engine_is_shown_in_wandb(tmp_path, monkeypatch):
    """runtime.logger belongs to training itself: every record is told once, the end with its exit code."""
    told, ends = [], []

    class View:
        def log(self, **record):
            told.append(record["evals"]["images_seen"])

        def tell(self, record, arrays):
            assert "gallery_samples" in arrays
            self.log(**record)

        def close(self, code=0, *, preempting=False):
            ends.append((code, preempting))

    monkeypatch.setattr("scaling.training.wandb_view.open_view", lambda config, images_total: View())
    run(tmp_path, "--runtime.logger=wandb", "--evaluate.at=1")
    assert told == [0, 2048] and ends == [(0, False)]


def test_losses_of_a_subset_weigh_only_the_training_images(tmp_path, monkeypatch):
    """Above the limit a fixed subset stands, weighted, for all; of the hold-out its first images, unweighted."""
    given = []

    def recorded(denoiser, ideal, linear, images, copies, *rest, **more):
        given.append(copies.tolist())
        return ideal_distance(denoiser, ideal, linear, images, copies, *rest, **more)

    monkeypatch.setattr("scaling.training.instruments.losses.ideal_distance", recorded)
    monkeypatch.setattr("scaling.training.instruments.losses.LIMIT", 6)
    monkeypatch.setattr("scaling.memorization.losses.measured_images.__defaults__", (6, 1))
    strata = ["--data.duplication.design=strata", "--data.duplication.levels=[[10,1],[2,4]]"]
    folder = run(tmp_path, "--evaluate.at=1", "--train.images=64", *strata)
    images, last = pd.read_parquet(folder / "images.parquet"), rows(folder)["evals"][-1]
    images = images[images.loss.notna()]
    seen, held = images[images.in_training], images[images.role == "holdout"]
    assert len(seen) == len(held) == 6
    by_stratum = seen.groupby("copies").loss.mean()
    assert last["seen_loss"] == pytest.approx((10 * by_stratum[1] + 2 * by_stratum[4]) / 12)
    assert last["holdout_loss"] == pytest.approx(held.loss.mean())
    assert given[0] == pytest.approx([2, 2, 2, 2, 2, 8])  # five of ten at one copy, one of two at four
    assert given[1] == [1] * 6  # the null's images stand for themselves


def test_how_often_a_run_is_measured_changes_no_weight(undisturbed, tmp_path):
    """And a run whose training is in the store is measured without training again."""
    other = run(tmp_path, "--evaluate.at=1", "--evaluate.samples=8")
    assert (
        weights(other)["2048.safetensors"].split(b"}}")[-1] == weights(undisturbed)["2048.safetensors"].split(b"}}")[-1]
    )


def test_measuring_more_never_trains_again(undisturbed, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(undisturbed.parent, tmp_path / "store")
    monkeypatch.setattr("scaling.training.run._fit", lambda *_: pytest.fail("trained again"))
    folder = run(tmp_path / "store", "--evaluate.samples=40", "--evaluate.at=[224]")
    assert [row["images_seen"] for row in rows(folder)["evals"]] == [0, 224, 2048]
    theirs = {row["images_seen"]: row for row in rows(undisturbed)["evals"]}
    for row in rows(folder)["evals"]:
        assert row["seen_loss"] == theirs[row["images_seen"]]["seen_loss"] and row["n_generated"] == 40
    pruned = run(tmp_path / "store", "--model.prune=1/2")
    assert rows(pruned)["evals"][-1]["seen_loss"] != theirs[2048]["seen_loss"]
    unpruned = run(tmp_path / "store", "--model.prune=0", "--evaluate.rounds=11")  # another run of the same training
    assert rows(unpruned)["evals"][-1]["seen_loss"] == theirs[2048]["seen_loss"]


def test_train_loss_between_evaluations_is_that_of_all_its_batches(undisturbed, tmp_path):
    fine, coarse = rows(undisturbed)["evals"], rows(run(tmp_path, "--evaluate.at=1"))["evals"]
    pieces = sum(row["train_loss"] * (row["images_seen"] - before["images_seen"]) for before, row in pairwise(fine))
    assert coarse[-1]["train_loss"] == pytest.approx(pieces / 2048, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--model.family=mlp", "--model.width=8"],
        ["--model.family=dit", "--model.width=8"],
        ["--data.conditioning=class"],
        ["--data.conditioning=unique", "--train.ema=null"],
        ["--data.noise_draws=2", "--train.sigma.law=fixed", "--train.sigma.value=0.35"],
        ["--data.fold.index=0"],
        ["--data.duplication.near=shift"],
        ["--model.attention=true", "--model.skips=1/2"],
        ["--data.keys=true"],
        ["--train.images=null", "--train.epochs=30"],
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_every_kind_of_run_ends_with_valid_records(flags, tmp_path):
    last = rows(run(tmp_path, "--evaluate.at=1", "--train.images=256", *flags))
    evals = last["evals"][-1]
    assert evals["n_generated"] + evals["n_nonfinite"] == 24 and evals["ideal_distance"] > 0
    assert evals["n_unique"] == (6 if evals["fold_index"] == 0 else 12)
    assert evals["protocol"] == ("fixed_epochs" if evals["images_seen"] == 864 else "fixed_images")
    if evals["noise_draws"]:
        assert len({row["sigma"] for row in last["noise_levels"] if row["kind"] == "loss"}) == 1


def test_a_diverged_run_fails_with_its_step_and_keeps_what_was_measured(tmp_path):
    config = load([*TINY, f"--runtime.out={tmp_path}", "--train.optimizer=sgd", "--train.lr=1e18"])
    with pytest.raises(Diverged, match=r"non-finite at step \d+ \([\d,]+ images_seen\): lower train.lr=1e\+18"):  # noqa: SIM117
        with RunStore.open(config) as store:
            train(config, store)
    assert store.status["state"] == "failed" and "non-finite" in store.status["reason"]
    evals = rows(store.folder)["evals"]
    assert evals[0]["images_seen"] == 0 and evals[0]["seen_loss"] > 0
    # Weights of 1e18 are finite, what they give is not: empty, never a number, and samples refused, never "new".
    assert all(
        row["seen_loss"] is None and row["n_memorized"] is None and row["n_nonfinite"] == 24 for row in evals[1:]
    )


def test_images_that_changed_are_refused(undisturbed, tmp_path):
    import shutil

    shutil.copytree(undisturbed, tmp_path / undisturbed.name)
    status = tmp_path / undisturbed.name / "evals.jsonl"
    real = rows(undisturbed)["evals"][0]["data_sha256"]
    status.write_text(status.read_text().replace(real, "f" * 64))
    with pytest.raises(StoreError, match="changed since it began"):
        run(tmp_path)


def test_cuda_where_there_is_none_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(ConfigError, match=r"runtime.device=cuda: torch finds 0 CUDA device"):
        choose_device(load(["--runtime.device=cuda"]).runtime)
    with pytest.raises(ConfigError, match="allowed are auto"):
        choose_device(load(["--runtime.device=gpu"]).runtime)
    assert choose_device(load([]).runtime).type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_gpu_records_agree_with_the_cpus(undisturbed, tmp_path):
    """Float sums differ in the last bits and training amplifies them: losses agree to 2 % after 64 steps."""
    last, ours = (rows(folder)["evals"][-1] for folder in (undisturbed, run(tmp_path, "--runtime.device=cuda")))
    for name in ("seen_loss", "holdout_loss", "train_loss", "ideal_distance"):
        assert ours[name] == pytest.approx(last[name], rel=0.02)
