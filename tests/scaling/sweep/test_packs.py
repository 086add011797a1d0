"""Which cells are packed: those of one shape, where it was measured to pay, and never so that workers stand idle."""

import json

import pytest

from scaling.config import load
from scaling.sweep import packs
from scaling.sweep.packs import Packs, shape_of

SPEEDS = {1: 1.0, 2: 1.3, 4: 1.7, 8: 2.0, 16: 1.9}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config(*flags: str):
    return load(["--model.width=4", *flags])


def make(together=None, workers=2, speeds=SPEEDS):
    asked = []
    return Packs(together, workers, measured=lambda one: asked.append(one) or speeds), asked


@pytest.mark.parametrize("flag", [
    "--seed=3", "--data.n_unique=64", "--train.lr=1e-3", "--train.ema=null", "--train.images=1024", "--data.draw=5",
    "--evaluate.samples=8", "--model.prune=1/2", "--train.weight_decay=.1", "--runtime.out=elsewhere",
])  # fmt: skip
def test_what_may_differ_inside_a_pack(flag):
    assert shape_of(config()) == shape_of(config(flag))


@pytest.mark.parametrize("flag", [
    "--model.width=5", "--model.blocks=2", "--model.skips=1/2", "--train.batch_size=32", "--train.optimizer=sgd",
    "--train.precision=bf16", "--data.conditioning=class", "--data.image_size=16", "--runtime.threads=2",
    "--model.family=mlp",
])  # fmt: skip
def test_what_may_not(flag):
    assert shape_of(config()) != shape_of(config(flag))


def test_unique_labels_are_part_of_the_shape_and_attention_has_none():
    """One embedding row an image: another n_unique is another shape."""
    unique = "--data.conditioning=unique"
    assert shape_of(config(unique, "--data.n_unique=8")) != shape_of(config(unique, "--data.n_unique=16"))
    assert shape_of(config("--model.family=dit")) is None is shape_of(config("--model.attention=true"))


def test_a_common_loss_scale_is_not_shared():
    """fp16: an overflow of one run would skip the step of all."""
    assert shape_of(config("--train.precision=fp16")) is None


@pytest.mark.parametrize(("alike", "workers", "size"), [
    (1, 1, 1), (2, 2, 1), (4, 2, 2), (8, 2, 4), (40, 2, 8), (40, 4, 8), (7, 2, 4), (3, 1, 2),
])  # fmt: skip
def test_the_fastest_that_leaves_no_worker_idle(alike, workers, size):
    made, _ = make(workers=workers)
    assert made.size(config(), alike, seconds=1e4) == size


def test_where_it_does_not_pay_cells_stay_alone():
    assert make(speeds={1: 1.0, 2: 1.09, 4: 0.8})[0].size(config(), 40, 1e4) == 1
    made, asked = make()
    assert made.size(config(), 40, seconds=60) == 1 and not asked  # not worth measuring
    assert make(speeds={})[0].size(config(), 40, 1e4) == 1  # could not be measured


def test_a_size_that_is_asked_for_is_taken_without_measuring():
    made, asked = make(together=3)
    assert [made.size(config(), alike, 1.0) for alike in (2, 3, 9)] == [2, 3, 3] and not asked
    assert make(together=1)[0].size(config(), 40, 1e9) == 1


def test_a_shape_is_measured_once_a_machine(own_cache, monkeypatch):
    first, asked = make()
    first.size(config(), 40, 1e4)
    first.size(config("--seed=9"), 40, 1e4)
    again, asked_again = make()
    assert again.size(config(), 40, 1e4) == 8
    assert len(asked) == 1 and not asked_again
    [file] = own_cache.rglob("packing-*.json")
    for content in ("{", "[]", '{"speeds": 3}', json.dumps({"code_version": "other", "speeds": {}})):
        file.write_text(content)
        fresh, asked_anew = make()
        assert fresh.size(config(), 40, 1e4) == 8 and len(asked_anew) == 1


@pytest.mark.slow
def test_it_is_really_measured(tmp_path):
    found = packs.measure(config("--model.width=2", "--data.n_unique=8", "--train.batch_size=8"))
    assert found[1] == 1.0 and found[2] > 0


def test_what_could_not_be_measured_is_said_and_asked_again(own_cache):
    told, asked = [], []
    for _ in range(2):
        made = Packs(None, 2, told.append, lambda one: asked.append(one) or {})
        assert made.size(config(), 40, 1e4) == 1
    assert len(asked) == 2 and sum("could not be measured" in line for line in told) == 2
    assert not list(own_cache.rglob("packing-*.json"))


@pytest.mark.slow
def test_a_failed_measurement_is_none(tmp_path):
    assert packs.measure(config(f"--data.source=folder:{tmp_path}/none")) == {}
