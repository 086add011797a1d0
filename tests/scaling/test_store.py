import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import numpy as np
import pytest
import yaml

from scaling import store as store_module
from scaling.code_version import code_version
from scaling.config import build, put
from scaling.identity import SCIENCE_VERSION, canonical, cell_id, run_id, train_id
from scaling.schema import IDENTITY, RECORDS, SCHEMA_VERSION, SchemaError, rows
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.store_errors import Busy, DiskFull, OtherCode, StoreError, reason
from scaling.trained import donor


def configured(out, **keys):
    tree = {"runtime": {"out": str(out)}}
    for key, value in keys.items():
        tree = put(tree, key.replace("__", "."), value)
    return build(tree)


@pytest.fixture
def config(tmp_path):
    return configured(tmp_path / "runs")


def record(config, images_seen, **evals):
    identity = {"run_id": run_id(config), "cell_id": cell_id(config), "seed": config.seed, "n_generated": 10}
    return {"evals": {**identity, "schema_version": SCHEMA_VERSION, "images_seen": images_seen, **evals}}


@contextmanager
def file_size_limit(bytes_):
    """A disk that takes files of this size only; a longer write stops in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# -- opening ---------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_run_and_holds_its_resolved_configuration(config):
    with RunStore.open(config) as store:
        assert store.folder == store.folder.parent / run_id(config)
        kept = yaml.safe_load((store.folder / "config.yaml").read_text())
        assert "runtime" not in kept and canonical(build(kept)) == canonical(config)
        with pytest.raises(Busy, match=rf"run {store.run_id} is in use by process {os.getpid()} on "):
            RunStore.open(config)
    RunStore.open(config).close()


def test_an_output_that_cannot_be_written_is_one_line_with_a_remedy(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=r"^runtime\.out=.*cannot write.*; make room or .*--runtime\.out=DIR$"):
            RunStore.open(configured(out))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        RunStore.open(configured(tmp_path))


def test_what_a_killed_writer_left_unfinished_is_removed(config):
    with RunStore.open(config) as store:
        path = store.weights_path(64)
    left = [path.with_name(".64.safetensors.123.tmp"), store.folder / ".status.json.9.tmp"]
    for beside in left:
        beside.touch()
    RunStore.open(config).close()
    assert not any(beside.exists() for beside in left)


def test_another_configuration_is_another_folder(tmp_path):
    first, second = configured(tmp_path), configured(tmp_path, seed=1)
    with RunStore.open(first) as one, RunStore.open(second) as two:
        assert one.folder != two.folder


# -- status ----------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_known_without_its_lock(config):
    assert RunStore.finished(config) is None
    with RunStore.open(config) as store:
        store.set_status("running", images_total=640)
        store.append(record(config, 0))
        assert RunStore.finished(config) is None
        store.set_status("done", images_seen=640)
        found = RunStore.finished(config)
        assert (found["state"], found["images_seen"], found["images_total"]) == ("done", 640, 640)
        assert store.done and found["pid"] == os.getpid() and found["train_id"] == train_id(config)


def test_done_of_another_science_version_is_not_done(config):
    with RunStore.open(config) as store:
        store.append(record(config, 0))
        store.set_status("done", science_version=SCIENCE_VERSION + 1)
    assert RunStore.finished(config) is None


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (ValueError("n\n is  bad"), "failed", "ValueError: n is bad"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
        (StoreError("one line"), "failed", "one line"),
        (SystemExit(143), "interrupted", None),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_what_ends_a_run_is_kept_as_its_status(config, error, state, why):
    with pytest.raises(type(error)), RunStore.open(config) as store:
        store.set_status("running")
        raise error
    assert (read_status(store.folder)["state"], read_status(store.folder)["reason"]) == (state, why)
    RunStore.open(config).close()  # and the lock is free


def test_an_error_after_the_end_leaves_a_done_run_done(config):
    with pytest.raises(ValueError, match="late"), RunStore.open(config) as store:
        store.append(record(config, 0))
        store.set_status("done")
        raise ValueError("late")
    assert RunStore.finished(config) is not None


def test_an_error_without_text_is_named():
    assert reason(StoreError()) == "StoreError"


def test_a_status_that_is_none_is_said(config):
    with RunStore.open(config) as store:
        (store.folder / "status.json").write_text("{}")
        with pytest.raises(StoreError, match=r"status\.json: not a status .*remove the file"):
            store.status  # noqa: B018
        (store.folder / "status.json").write_text("")  # a power cut
        assert store.status == {}
        with pytest.raises(ValueError, match="pending"):
            store.set_status("pending")
        with pytest.raises(ValueError, match="speed"):
            store.set_status("running", speed=3)


# -- data ------------------------------------------------------------------------------------------------------------


def test_changed_images_are_refused(config):
    with RunStore.open(config) as store:
        store.check_data("a" * 64)
    with RunStore.open(config) as store:
        store.check_data("a" * 64)
        with pytest.raises(StoreError, match=r"images of data\.source=digits changed since.*aaaa then, bbbb"):
            store.check_data("b" * 64)


def test_the_records_remember_the_images_where_the_status_is_lost(config):
    with RunStore.open(config) as store:
        store.append(record(config, 0, data_sha256="a" * 64))
        with pytest.raises(StoreError, match="changed"):
            store.check_data("b" * 64)


# -- records ---------------------------------------------------------------------------------------------------------


def test_records_are_what_was_appended_in_order_of_the_clock(config):
    with RunStore.open(config) as store:
        store.append({**record(config, 640, kid=-0.1), "strata": [{"copies": 2, "n_hits": 3}]})
        store.append(record(config, 0))
        assert store.measured() == {0, 640}
        assert [r["evals"]["images_seen"] for r in store.records()] == [0, 640]
    found = rows(store.folder)
    assert found["evals"][1]["kid"] == -0.1 and found["evals"][0]["kid"] is None
    assert (found["strata"][0]["run_id"], found["strata"][0]["n_hits"]) == (store.run_id, 3)


def test_a_record_that_exists_stays(config):
    with RunStore.open(config) as store:
        store.append(record(config, 64, kid=1.0))
        with pytest.raises(StoreError, match=r"images_seen=64 is recorded already"):
            store.append(record(config, 64, kid=2.0))
        assert [r["evals"]["kid"] for r in store.records()] == [1.0]


@pytest.mark.parametrize("change", [{"run_id": "another"}, {"schema_version": SCHEMA_VERSION + 1}, {"n_memorized": 11}])
def test_a_record_of_something_else_is_refused_and_leaves_no_trace(config, change):
    with RunStore.open(config) as store:
        with pytest.raises(SchemaError):
            store.append(record(config, 64, **change))
        assert not (store.folder / RECORDS).exists()


def test_a_torn_last_record_is_dropped_and_written_again(config):
    """Cut at every byte of the last line, what a kill may leave; the next record makes the file whole."""
    with RunStore.open(config) as store:
        path = store.folder / RECORDS
        store.append(record(config, 0))
        first = path.read_bytes()
        store.append(record(config, 64))
        whole = path.read_bytes()
        for length in range(len(first), len(whole), 97):
            path.write_bytes(whole[:length])
            assert store.measured() == {0}
            store.append(record(config, 64))
            assert path.read_bytes() == whole


def test_a_broken_record_in_the_middle_is_said_with_its_line(config):
    with RunStore.open(config) as store:
        store.append(record(config, 0))
        with open(store.folder / RECORDS, "a") as file:
            file.write("{}\n")
        with pytest.raises(StoreError, match="line 2: not a record"):
            store.records()


def test_a_record_of_a_newer_schema_is_said(config):
    with RunStore.open(config) as store:
        newer = record(config, 0)
        newer["evals"]["schema_version"] += 1
        (store.folder / RECORDS).write_text(json.dumps(newer) + "\n")
        with pytest.raises(StoreError, match=r"newer than 2.*update the code"):
            store.measured()


APPEND_FOR_EVER = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[2])
    from test_store import configured, record
    from scaling.store import RunStore
    config = configured(sys.argv[1])
    with RunStore.open(config) as store:
        at = max(store.measured(), default=-1)
        print("ready", flush=True)
        while True:
            at += 1
            store.append({**record(config, at), "strata": [{"copies": c} for c in range(1, 40)]})
""")


def test_a_kill_in_the_middle_of_appending_loses_nothing_that_was_written(tmp_path):
    config, rng, before = configured(tmp_path), random.Random(0), 0
    for _ in range(6):
        command = [sys.executable, "-c", APPEND_FOR_EVER, str(tmp_path), os.path.dirname(__file__)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with RunStore.open(config) as store:
            found = [r["evals"]["images_seen"] for r in store.records()]
            assert found == list(range(len(found))) and len(found) >= before
            before = len(found)
    assert before > 6


def test_a_full_disk_leaves_the_records_as_they_were(config):
    with RunStore.open(config) as store:
        path = store.folder / RECORDS
        store.append(record(config, 0))
        before = path.read_bytes()
        for room in (0, 1, 100):
            with file_size_limit(len(before) + room), pytest.raises(StoreError, match=r"cannot write.*make room"):
                store.append(record(config, 64))
            assert path.read_bytes() == before
        store.append(record(config, 64))
        assert store.measured() == {0, 64}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_really_full_disk_is_said_and_loses_nothing(tmp_path):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        config = configured(tmp_path)
        with RunStore.open(config) as store:
            with pytest.raises(StoreError, match=r"No space left on device.*make room"):
                for at in range(1_000):
                    store.append(record(config, at))
            kept = sorted(store.measured())
            assert kept == list(range(len(kept))) and len(kept) > 10
            with pytest.raises(StoreError, match="No space left on device"):
                store.write_arrays("samples", noise=np.random.default_rng(0).random(100_000))
            assert not list(store.folder.glob("*samples*"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_who_lost_the_lock_writes_no_more(config):
    with RunStore.open(config) as store:
        (store.folder / "lock.json").unlink()
        for write in (
            lambda: store.append(record(config, 0)),
            lambda: store.set_status("done"),
            lambda: store.write_arrays("samples", a=[1]),
            lambda: store.write_images([]),
        ):
            with pytest.raises(StoreError, match="another process took its lock"):
                write()


# -- arrays, images, weights -----------------------------------------------------------------------------------------


def test_arrays_are_replaced_whole_and_hold_no_objects(config):
    with RunStore.open(config) as store:
        store.write_arrays("samples", a=np.arange(3), b=np.zeros((2, 2), np.uint8))
        with pytest.raises(ValueError, match="pickle"):
            store.write_arrays("samples", a=[{}])
        with file_size_limit(100), pytest.raises(StoreError):
            store.write_arrays("samples", a=np.random.default_rng(0).random(1000))
        with np.load(store.folder / "samples.npz", allow_pickle=False) as found:
            assert found["a"].tolist() == [0, 1, 2] and found["b"].dtype == np.uint8


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/b", "", ".", "..", "a.b", "A"])
def test_no_name_leads_out_of_the_run_folder(config, name):
    with RunStore.open(config) as store:
        with pytest.raises(ValueError, match="name"):
            store.write_arrays(name, a=[1])
        with pytest.raises(ValueError):
            store.weights_path(name)
        with pytest.raises(ValueError, match="train_id"):
            donor(store.folder, name)


def test_images_have_the_whole_schema(config):
    import pandas as pd

    identity = {column.name: None for column in IDENTITY} | record(config, 64)["evals"]
    with RunStore.open(config) as store:
        store.write_images([{"image_id": "a", "n_hits": 2}, {"image_id": "b"}], identity)
        found = pd.read_parquet(store.folder / "images.parquet", dtype_backend="numpy_nullable")
        assert found.n_hits[0] == 2 and pd.isna(found.n_hits[1]) and set(found.run_id) == {store.run_id}
        with pytest.raises(SchemaError, match="this is run"):
            store.write_images([{"image_id": "a", "run_id": "x", "images_seen": 1}])
        with pytest.raises(SchemaError, match="image_id is empty"):
            store.write_images([{}], identity)


def test_weights_of_the_same_training_are_found(tmp_path):
    """prune and evaluate are not in train_id: another run that differs in them alone may measure these weights."""
    trained, pruned = configured(tmp_path), configured(tmp_path, model__prune=0.5)
    assert train_id(trained) == train_id(pruned) and run_id(trained) != run_id(pruned)
    with RunStore.open(trained) as store:
        store.append(record(trained, 0))
        store.weights_path(64).touch()
        store.set_status("running")
        with RunStore.open(pruned) as other:
            assert donor(other.folder, train_id(pruned)) is None  # not done yet
            store.set_status("done")
            assert donor(other.folder, train_id(pruned)) == store.folder
            assert donor(other.folder, train_id(pruned), at=[64]) == store.folder
            assert donor(other.folder, train_id(pruned), at=[64, 128]) is None
            assert donor(store.folder, train_id(trained)) is None  # never itself
            assert donor(other.folder, "0" * 12) is None
            store.weights_path(64).unlink()
            assert donor(other.folder, train_id(pruned)) is None


# -- code version ----------------------------------------------------------------------------------------------------


def begun_by(config, version, *records, checkpoint=False):
    """A run that a worker with this version of the code began and left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "code_version", lambda: version)
        patch.setattr(store_module, "commit", lambda: f"commit-of-{version}")
        with RunStore.open(config) as store:
            store.set_status("running")
            for images_seen in records:
                store.append(record(config, images_seen, code_version=version))
            if checkpoint:
                (store.folder / "checkpoints").mkdir()
    return store.folder


@pytest.mark.parametrize(
    "left", [dict(records=(0, 64)), dict(records=(), checkpoint=True)], ids=["records", "checkpoint"]
)
def test_a_run_that_another_version_of_the_code_began_is_refused(config, left):
    folder = begun_by(config, "older", *left["records"], checkpoint=left.get("checkpoint", False))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(OtherCode) as refusal:
        RunStore.open(config)
    said = str(refusal.value)
    assert said.startswith(f"run {run_id(config)} was begun by code older (commit commit-of-older), and this is code ")
    assert f"{code_version()} (commit " in said and "\n" not in said
    assert f"remove {folder} to begin anew" in said and "--runtime.other_code=true" in said
    # It is a matter of this worker, not of the run: nothing is changed, and one of that version goes on.
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    begun_by(config, "older", 128)
    assert read_status(folder)["code_version"] == "older"


def test_a_run_in_which_nothing_is_made_yet_belongs_to_no_code(config):
    folder = begun_by(config, "older")
    with RunStore.open(config) as store:
        store.set_status("running")
    assert read_status(folder)["code_version"] == code_version() and read_status(folder)["commit"]


def test_both_versions_are_mixed_where_it_is_wanted(config):
    folder = begun_by(config, "older", 0)
    wanted = config.model_copy(update={"runtime": config.runtime.model_copy(update={"other_code": True})})
    assert run_id(wanted) == run_id(config)
    with RunStore.open(wanted) as store:
        store.append(record(config, 64, code_version=code_version()))
    assert [row["code_version"] for row in rows(folder)["evals"]] == ["older", code_version()]


def test_a_finished_run_of_another_version_stays_readable(config):
    begun_by(config, "older", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "code_version", lambda: "older")
        with RunStore.open(config) as store:
            store.set_status("done")
    assert RunStore.finished(config)["code_version"] == "older"
    with RunStore.open(config) as store:
        assert store.done and store.measured() == {0}


# -- what a killed or careless hand leaves ---------------------------------------------------------------------------


def test_an_unfinished_folder_of_a_killed_writer_is_removed_too(config):
    """model/ is written beside and renamed, as a folder."""
    with RunStore.open(config) as store:
        (store.folder / "model.tmp").mkdir()
        (store.folder / "model.tmp" / "config.json").touch()
    with RunStore.open(config) as store:
        assert not (store.folder / "model.tmp").exists()


def test_the_lock_of_a_writer_killed_after_its_last_word_is_removed(config):
    with RunStore.open(config) as store:
        store.append(record(config, 0))
        store.set_status("done")
        taken = (store.folder / "lock.json").read_text()
        assert RunStore.finished(config) and (store.folder / "lock.json").exists()  # it lives
    (store.folder / "lock.json").write_text(json.dumps(json.loads(taken) | {"started": 1}))
    assert RunStore.finished(config) and not (store.folder / "lock.json").exists()


def test_a_removed_run_folder_is_said(config):
    with RunStore.open(config) as store:
        store.append(record(config, 0))
        shutil.rmtree(store.folder)
        with pytest.raises(StoreError, match=f"run {store.run_id}: .* was removed; the same command begins it anew"):
            store.append(record(config, 64))
        with pytest.raises(StoreError, match="was removed"):
            store.set_status("running")
    assert not store.folder.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_apart_from_a_disk_that_refuses(config, monkeypatch, number):
    """The first will have room again; an engine waits for it and blames no cell."""

    def fails_with(number):
        def write(*arguments, **options):
            raise OSError(number, os.strerror(number))

        return write

    with RunStore.open(config) as store:
        monkeypatch.setattr(store_module, "append_line", fails_with(number))
        with pytest.raises(DiskFull, match="make room"):
            store.append(record(config, 0))
        monkeypatch.setattr(store_module, "append_line", fails_with(errno.EROFS))
        with pytest.raises(StoreError) as refusal:
            store.append(record(config, 0))
        assert not isinstance(refusal.value, DiskFull)
