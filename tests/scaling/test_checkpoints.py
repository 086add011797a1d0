import errno
import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from scaling.checkpoints import Checkpoints, load_weights, save_weights
from scaling.store_errors import DiskFull, StoreError


def tensors(step):
    rng = torch.Generator().manual_seed(step)
    return {
        "weight": torch.randn(16, 8, generator=rng),
        "half": torch.randn(3, generator=rng).to(torch.bfloat16),
        "step": torch.tensor(step),
    }


def equal(found, wanted):
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def test_what_comes_back_is_what_was_saved_to_the_bit(checkpoints):
    meta = {"step": 3, "wall_seconds": 0.1 + 0.2, "scaler": None}
    saved = tensors(3) | {"turned": torch.arange(6.0).reshape(2, 3).T, "special": torch.tensor([-0.0, 1e-45])}
    checkpoints.save(saved, meta)
    found, found_meta = Checkpoints(checkpoints.folder).load()
    assert equal(found, saved) and found_meta == meta
    assert torch.signbit(found["special"][0]) and found["half"].dtype == torch.bfloat16


def test_two_generations_are_kept_and_none_where_there_is_nothing(checkpoints, caplog):
    assert checkpoints.load() is None and not caplog.records
    for step in range(5):
        checkpoints.save(tensors(step), {"step": step})
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    assert names == ["4.json", "4.safetensors", "5.json", "5.safetensors"]
    assert checkpoints.load()[1] == {"step": 4}
    checkpoints.clear()
    assert not checkpoints.folder.exists()
    checkpoints.clear()


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_damaged_newest_generation_falls_back_to_the_one_before(checkpoints, caplog, kind):
    """Cut in every part of the file (empty, inside header, inside data, one byte short), or one bit turned."""
    for step in (1, 2):
        checkpoints.save(tensors(step), {"step": step})
    path = checkpoints.folder / f"2.{kind}"
    whole = path.read_bytes()
    turned = bytearray(whole)
    turned[-20] ^= 1
    damaged = [whole[:length] for length in (0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1)] + [bytes(turned)]
    for content in damaged:
        caplog.clear()
        path.write_bytes(content)
        found, meta = checkpoints.load()
        assert meta == {"step": 1} and equal(found, tensors(1))
        assert f"{checkpoints.folder / '2.json'} is damaged" in caplog.text
    path.unlink()
    assert checkpoints.load()[1] == {"step": 1}


def test_with_all_generations_damaged_training_starts_anew_and_says_so(checkpoints, caplog):
    for step in (1, 2):
        checkpoints.save(tensors(step), {"step": step})
    for number in (1, 2):
        (checkpoints.folder / f"{number}.safetensors").write_bytes(b"")
    assert checkpoints.load() is None
    assert "no usable checkpoint is left: training starts anew" in caplog.text
    checkpoints.save(tensors(3), {"step": 3})
    assert checkpoints.load()[1] == {"step": 3}


def test_the_newest_wanted_generation_is_taken(checkpoints, caplog):
    """One that is beyond what has to be measured again is of no use, however whole."""
    for step in (1, 2):
        checkpoints.save(tensors(step), {"step": step})
    found, meta = checkpoints.load(lambda meta: meta["step"] < 2)
    assert meta == {"step": 1} and equal(found, tensors(1)) and "2.json is left out" in caplog.text
    assert checkpoints.load(lambda meta: meta["step"] < 1) is None


def test_a_full_disk_is_told_apart(checkpoints, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scaling.checkpoints.replace_bytes", full)
    with pytest.raises(DiskFull, match="checkpoint not written"):
        checkpoints.save(tensors(1), {"step": 1})
    with pytest.raises(DiskFull, match="weights not written"):
        save_weights(checkpoints.folder / "64.safetensors", tensors(1), {})


def test_a_removed_run_folder_does_not_come_back(tmp_path):
    """Its next run would find a checkpoint without the records before it."""
    with pytest.raises(StoreError, match="checkpoint not written"):
        Checkpoints(tmp_path / "removed" / "checkpoints").save(tensors(1), {"step": 1})
    with pytest.raises(StoreError, match="weights not written"):
        save_weights(tmp_path / "removed" / "weights" / "64.safetensors", tensors(1), {})
    assert not (tmp_path / "removed").exists()


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def test_nothing_is_ever_unpickled(checkpoints, tmp_path):
    checkpoints.save(tensors(1), {"step": 1})
    (checkpoints.folder / "1.safetensors").write_bytes(pickle.dumps(Bomb()))
    (checkpoints.folder / "1.json").write_bytes(pickle.dumps(Bomb()))
    assert checkpoints.load() is None
    (tmp_path / "w.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(StoreError, match="no weights can be read"):
        load_weights(tmp_path / "w.safetensors")


def test_a_full_disk_keeps_the_earlier_generations(checkpoints):
    for step in (1, 2):
        checkpoints.save(tensors(step), {"step": step})
    size = (checkpoints.folder / "2.safetensors").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 50, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(StoreError, match=r"checkpoint not written .*make room"):
                checkpoints.save(tensors(3), {"step": 3})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
            "1.json", "1.safetensors", "2.json", "2.safetensors",
        ]  # fmt: skip
    assert checkpoints.load()[1] == {"step": 2}


def test_a_number_that_is_none_is_refused_before_anything_is_written(checkpoints):
    with pytest.raises(ValueError):
        checkpoints.save(tensors(1), {"loss": float("nan")})
    assert not checkpoints.folder.exists()


SAVE_FOR_EVER = textwrap.dedent("""
    import sys
    from pathlib import Path
    import torch
    from scaling.checkpoints import Checkpoints
    checkpoints = Checkpoints(Path(sys.argv[1]))
    found = checkpoints.load()
    step = found[1]["step"] if found else 0
    print("ready", flush=True)
    while True:
        step += 1
        checkpoints.save({"weight": torch.full((1000,), float(step))}, {"step": step})
        print(step, flush=True)
""")


def test_a_kill_while_saving_loses_at_most_the_one_being_written(checkpoints):
    rng, last = random.Random(0), 0
    for _ in range(3):
        command = [sys.executable, "-c", SAVE_FOR_EVER, str(checkpoints.folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().split()]
        process.wait()
        found, meta = checkpoints.load()
        assert meta["step"] >= max([last, *said]) and (found["weight"] == meta["step"]).all()
        last = meta["step"]


def test_weights_carry_their_meta_and_are_replaced_whole(tmp_path):
    path = tmp_path / "weights" / "64.safetensors"
    save_weights(path, tensors(1), {"sums": [0.1, 2], "who": "ünïcode"})
    found, meta = load_weights(path)
    assert equal(found, tensors(1)) and meta == {"sums": [0.1, 2], "who": "ünïcode"}
    assert [p.name for p in path.parent.iterdir()] == ["64.safetensors"]


def test_missing_or_cut_weights_are_said(tmp_path):
    path = tmp_path / "64.safetensors"
    save_weights(path, tensors(1), {})
    whole = path.read_bytes()
    for length in (0, 7, 8, 50, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"64\.safetensors: no weights can be read .*remove the run folder"):
            load_weights(path)
    path.unlink()
    with pytest.raises(StoreError, match="no weights can be read"):
        load_weights(path)


def test_the_sheet_names_size_and_hash(checkpoints):
    checkpoints.save(tensors(1), {"step": 1})
    sheet = json.loads((checkpoints.folder / "1.json").read_text())
    assert sheet["bytes"] == (checkpoints.folder / "1.safetensors").stat().st_size and len(sheet["sha256"]) == 64
