"""A run folder that came from elsewhere, and was made to harm: each command ends with one line, and nothing outside is
read, written or removed."""

# ruff: noqa: E501 (a hostile input stands on one line)
import json
import os
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from analysis.table import load as load_tables
from scaling import lock, status
from scaling.checkpoints import Checkpoints, load_weights
from scaling.collect import main as collect
from scaling.compare.__main__ import main as compare
from scaling.config import ConfigError, build, load
from scaling.identity import run_id, train_id
from scaling.links import refuse_links
from scaling.schema import GALLERY, IDENTITY, RECORDS, SCHEMA_VERSION, SchemaError
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.store_errors import StoreError
from scaling.sweep.plan import state_of
from scaling.train import main as train
from scaling.trained import donor

SECRET = "secret-of-another-file"
FLAGS = ["--data.source=digits", "--data.n_unique=16", "--data.holdout=16", "--train.images=64"]


def make(out: Path, *, state: str = "done") -> Path:
    with RunStore.open(load([*FLAGS, f"--runtime.out={out}"])) as store:
        store.set_status("running", images_total=64)
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (2, 4, 1, 8, 8), dtype=np.uint8)
        store.write_arrays(
            "samples", **dict(zip(GALLERY, (*pixels, rng.random(4, np.float32), np.arange(4)), strict=True))
        )
        identity = {column.name: None for column in IDENTITY} | {
            "run_id": store.run_id, "images_seen": 64, "params": 2743, "n_generated": 10,
        }  # fmt: skip
        evals = {**identity, "schema_version": SCHEMA_VERSION, "science_version": 1, "n_memorized": 1}
        store.append({"evals": evals, "strata": [{"copies": 1, "n_hits": 1}]})
        store.write_images([{"image_id": f"{i:016x}", "role": "train"} for i in range(3)], identity)
        store.set_status(state, images_seen=64, data_sha256="ab" * 32)
    return store.folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return make(tmp_path / "runs")


def said(capsys: pytest.CaptureFixture, code: int, wanted: int = 2) -> str:
    """The one line on standard error of a command that ended so."""
    captured = capsys.readouterr()
    assert code == wanted and captured.err.count("\n") == 1 and captured.err.strip().isprintable(), captured
    assert "Traceback" not in captured.err and SECRET not in captured.err + captured.out
    return captured.err


def first_record(folder: Path, **columns: object) -> bytes:
    record = json.loads((folder / RECORDS).read_text().splitlines()[0])
    return json.dumps({**record, "evals": {**record["evals"], **columns}}).encode() + b"\n"


# -- records -----------------------------------------------------------------------------------------------------------

RECORD = {
    "no JSON": lambda folder: b"{'evals': 1}\n",
    "NaN": lambda folder: first_record(folder, kid=float("nan")),
    "infinity": lambda folder: first_record(folder, kid=float("inf")),
    "an infinity of digits": lambda folder: first_record(folder).replace(b'"kid": null', b'"kid": 1e999'),
    "no such column": lambda folder: first_record(folder, **{"__class__": 1}),
    "too large a number": lambda folder: first_record(folder, n_unique=10**30),
    "text for a number": lambda folder: first_record(folder, images_seen="64"),
    "a count beyond its trials": lambda folder: first_record(folder, n_memorized=11),
    "deep nesting": lambda folder: b'{"evals": ' + b"[" * 100_000 + b"\n",
    "deep but whole": lambda folder: b'{"evals": {"schema_version": 2, "images_seen": 1, "run_id": ' + b"[" * 900 + b"]" * 900 + b"}}\n",
    "a line of 9 MB": lambda folder: first_record(folder, config="x" * 9_000_000),
    "digits": lambda folder: b'{"evals": {"schema_version": ' + b"9" * 6_000 + b"}}\n",
    "rows that are none": lambda folder: b'{"evals": {"schema_version": 2, "images_seen": 0}, "strata": ["x"]}\n',
    "a name with a cursor": lambda folder: first_record(folder, run_id="\x1b[2J\n", kid="x"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORD)
def test_a_hostile_record_is_refused_by_every_reader(folder, tmp_path, capsys, name):
    (folder / RECORDS).write_bytes(RECORD[name](folder))
    said(capsys, collect([str(folder.parent), "--out", str(tmp_path / "tables")]))
    assert not (tmp_path / "tables" / "evals.parquet").exists()
    if name not in ("no such column", "too large a number"):  # the report leaves out the one, the other is a float
        with pytest.raises((SchemaError, ValueError)) as error:
            load_tables(folder.parent)
        assert str(error.value).isprintable()


def test_a_record_file_beyond_all_runs_is_not_read(folder, tmp_path, capsys):
    with open(folder / RECORDS, "r+b") as file:
        file.truncate(2**40)  # sparse: it takes no room on disk
    began = time.monotonic()
    assert "bytes, more than" in said(capsys, collect([str(folder.parent), "--out", str(tmp_path / "tables")]))
    assert time.monotonic() - began < 5


# -- status ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b'{"state": "done", "images_seen": "64"}', b'{"state": "done", "images_seen": 1e999}', b'{"state": "done", "x": [1]}',
        b'{"state": "done", "wall_seconds": NaN}', b'{"state": "odd"}', b"[" * 100_000, b"[]", b"5", b'"done"', b"\xff",
        b'{"state": "done", "updated": "yesterday"}', b'{"state": "done", "reason": {"a": 1}}', b'{"state": ["done"]}',
        b'{"state": "done", "pid": ' + b"9" * 40 + b"}", b'{"state": "done"' + b" " * 2**21 + b"}",
    ],
)  # fmt: skip
def test_a_hostile_status_is_a_failed_run_with_a_reason(folder, capsys, content):
    (folder / "status.json").write_bytes(content)
    with pytest.raises(StoreError, match="not a status") as error:
        read_status(folder)
    assert str(error.value).isprintable()
    state, shown = state_of(folder)
    assert state == "failed" and "not a status" in shown["reason"]
    assert status.main(["--out", str(folder.parent)]) == 0
    assert "1 failed" in capsys.readouterr().out


def test_a_reason_moves_no_cursor(folder, capsys):
    content = {"state": "failed", "reason": "\x1b[2J\x1b]0;title\x07 ‮txt.exe\nrun ffffffffffff done", "host": "\x9b1m"}
    (folder / "status.json").write_text(json.dumps(content))
    assert status.main(["--out", str(folder.parent)]) == 0
    shown = capsys.readouterr().out
    assert r"\x1b[2J" in shown and not {"\x1b", "\x07", "\x9b", "‮"} & set(shown)


# -- links, pipes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["status.json", RECORDS, "samples.npz", "images.parquet"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
def test_what_is_no_regular_file_is_neither_read_nor_waited_for(folder, tmp_path, capsys, name, kind):
    outside = tmp_path / "outside"
    shutil.move(folder / name, outside)
    with open(outside, "ab") as file:
        file.write(SECRET.encode())  # a torn tail, which a writer would cut off
    before = outside.read_bytes()
    path = folder / name
    make_it: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(outside), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
    }  # fmt: skip
    make_it[kind]()
    assert state_of(folder)[0] == ("failed" if name == "status.json" else "done")
    if name != "status.json":
        said(capsys, collect([str(folder.parent), "--out", str(tmp_path / "tables")]))
        with pytest.raises((ValueError, OSError), match=r"symbolic link|no regular file|no such file"):
            load_tables(folder.parent)
    if kind != "folder":
        with pytest.raises(StoreError, match=r"symbolic link|no regular file"), RunStore.open(load(_flags(folder))):
            pass
    assert outside.read_bytes() == before


def _flags(folder: Path) -> list[str]:
    return [*FLAGS, f"--runtime.out={folder.parent}"]


@pytest.mark.parametrize(
    "name", ["checkpoints", "weights", "model", "wandb", "config.yaml", RECORDS, "lock.guard", "x.tmp"]
)
def test_a_run_is_not_gone_on_with_where_a_link_leads_out_of_it(tmp_path, capsys, name):
    """Before: the end of a run removed every file of the folder that `checkpoints` linked to."""
    folder = make(tmp_path / "runs", state="interrupted")
    outside = tmp_path / "home"
    outside.mkdir()
    (outside / "1.json").write_text(SECRET)
    (outside / "precious").write_text(SECRET)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside if "." not in name else outside / "precious")
    assert "symbolic link" in said(capsys, train(_flags(folder)))
    assert sorted(path.name for path in outside.iterdir()) == ["1.json", "precious"]
    assert (outside / "precious").read_text() == SECRET
    Checkpoints(outside.parent / "runs" / folder.name / "checkpoints").clear()
    assert (outside / "1.json").exists()


def test_the_folder_of_the_runs_may_be_a_link_but_not_a_run(tmp_path):
    """A runs folder on another disk is everyday; a run that is a link would be written outside."""
    folder = make(tmp_path / "disk")
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    with RunStore.open(load([*FLAGS, f"--runtime.out={tmp_path / 'runs'}"])) as store:
        assert store.done
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / folder.name).symlink_to(folder)
    with pytest.raises(StoreError, match="is no run folder"):
        RunStore.open(load([*FLAGS, f"--runtime.out={tmp_path / 'other'}"]))


def test_what_wandb_links_inside_its_own_folder_is_left_alone(folder):
    (folder / "wandb" / "run-1").mkdir(parents=True)
    (folder / "wandb" / "latest-run").symlink_to("run-1")
    refuse_links(folder)


def test_markers_of_trained_runs_name_runs_of_this_store_only(tmp_path):
    config = load([*FLAGS, f"--runtime.out={tmp_path / 'runs'}"])
    outside = make(tmp_path / "elsewhere")
    (outside / "weights").mkdir()
    (outside / "weights" / "64.safetensors").write_bytes(b"x")
    own = make(tmp_path / "runs2")  # only its name: a run_id
    markers = tmp_path / "runs" / ".trained" / train_id(config)
    with RunStore.open(config) as store:
        markers.mkdir(parents=True)
        for name in ("..", "../../elsewhere", "\n", "a" * 12):
            if "/" not in name and name != "..":
                (markers / name).touch()
        (markers / "not-a-run").touch()
        shutil.copytree(outside, tmp_path / "runs" / "not-a-run")
        (markers / ("b" * 12)).symlink_to(outside)
        (tmp_path / "runs" / ("b" * 12)).symlink_to(outside)
        assert donor(store.folder, train_id(config), at=[64]) is None
        (tmp_path / "runs" / ("b" * 12)).unlink()
        shutil.copytree(outside, tmp_path / "runs" / ("b" * 12))
        assert donor(store.folder, train_id(config), at=[64]) == tmp_path / "runs" / ("b" * 12)
    assert own.name == run_id(config)


# -- arrays and tables -------------------------------------------------------------------------------------------------


def zipped(**members: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name, content in members.items():
                file.writestr(f"{name}.npy", content)

    return write


def saved(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


HEADER = b"\x93NUMPY\x01\x00" + struct.pack("<H", 100)
BOMB = HEADER + b"{'descr': '|u1', 'fortran_order': False, 'shape': (134217728,)}".ljust(99) + b"\n" + bytes(2**27)
PIXELS = np.zeros((4, 1, 8, 8), np.uint8)
ARRAYS = {
    "a bomb": zipped(gallery_samples=BOMB),
    "objects": saved(gallery_samples=np.array([{"a": 1}], object)),
    "no image": saved(gallery_samples=np.zeros(4, np.uint8), gallery_nearest=PIXELS),
    "other lengths": saved(gallery_samples=PIXELS, gallery_nearest=PIXELS[:2], gallery_ratio=np.zeros(4, np.float32)),
    "five channels": saved(gallery_samples=np.zeros((4, 5, 8, 8), np.uint8)),
    "no pixels": saved(gallery_samples=np.zeros((4, 1, 0, 8), np.uint8)),
    "text for numbers": saved(gallery_ratio=np.array(["x"])),
    "spurious of other lengths": saved(spurious_samples=PIXELS, spurious_size=np.ones(1, int)),
    "ids without pixels": saved(gallery_samples=PIXELS, image_ids=np.array(["a"]), image_pixels=PIXELS),
    "no archive": lambda path: path.write_bytes(b"PK\x03\x04 torn"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_hostile_arrays_are_refused(folder, tmp_path, capsys, name):
    (folder / "samples.npz").unlink()
    ARRAYS[name](folder / "samples.npz")
    assert "samples.npz" in said(capsys, collect([str(folder.parent), "--out", str(tmp_path / "tables")]))
    with pytest.raises(ValueError, match=r"samples\.npz") as error:
        load_tables(folder.parent)
    assert str(error.value).isprintable()


IMAGES = {
    "other columns": pa.table({"x": [1, 2]}),
    "other types": pa.table({"run_id": [1], "image_id": [2.5]}),
    "texts for terabytes": pa.table({"run_id": pa.DictionaryArray.from_arrays(pa.array([0] * 9_000, pa.int32()), ["x" * 10**6])}),
    "a cursor": pa.table({"run_id": ["\x1b[2J\n"], "image_id": ["x"], "odd\x1b[2J": [1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_hostile_images_are_refused(folder, tmp_path, capsys, name):
    pq.write_table(IMAGES[name], folder / "images.parquet")
    assert "images" in said(capsys, collect([str(folder.parent), "--out", str(tmp_path / "tables")]))


# -- weights and checkpoints -------------------------------------------------------------------------------------------


def tensors(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


META = {"__metadata__": {"meta": "{}"}}
WEIGHTS = {
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header beyond the file": struct.pack("<Q", 10**6) + b"{}",
    "offsets that overlap": tensors({**META, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)),
    "offsets beyond the file": tensors({**META, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**40]}}, bytes(8)),
    "a shape of 2^62": tensors({**META, "a": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 8]}}, bytes(8)),
    "an unknown type": tensors({**META, "a": {"dtype": "OBJ", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "a negative shape": tensors({**META, "a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, bytes(8)),
    "deep nesting": tensors(b'{"a":' + b"[" * 100_000),
    "no meta": save({"a": torch.ones(2)}),
    "meta that is a list": save({"a": torch.ones(2)}, {"meta": "[]"}),
    "meta nested deeply": save({"a": torch.ones(2)}, {"meta": "[" * 100_000}),
    "meta with NaN": save({"a": torch.ones(2)}, {"meta": '{"sums": [NaN]}'}),
    "a pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_are_refused(tmp_path, name):
    (tmp_path / "w.safetensors").write_bytes(WEIGHTS[name])
    with pytest.raises(StoreError, match="no weights can be read") as error:
        load_weights(tmp_path / "w.safetensors")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_weights_that_are_no_file_are_refused(tmp_path, kind):
    (tmp_path / "real.safetensors").write_bytes(save({"a": torch.ones(2)}, {"meta": "{}"}))
    path = tmp_path / "w.safetensors"
    path.symlink_to(tmp_path / "real.safetensors") if kind == "link" else os.mkfifo(path)
    with pytest.raises(StoreError, match=r"symbolic link|no regular file"):
        load_weights(path)
    assert load_weights(tmp_path / "real.safetensors")[1] == {}


@pytest.mark.parametrize("sheet", [b"[]", b"{}", b'{"sha256": 5}', b"[" * 100_000, b"\xff", b"{" + b" " * 2**21 + b"}"])
def test_a_hostile_newest_checkpoint_falls_back_to_the_one_before(tmp_path, sheet):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save({"a": torch.ones(2)}, {"step": 1})
    (tmp_path / "checkpoints" / "2.json").write_bytes(sheet)
    for name in ("007.json", "²³.json", "-1.json", "x.json", "9" * 200 + ".json"):
        (tmp_path / "checkpoints" / name).write_bytes(sheet)
    found, meta = checkpoints.load()
    assert meta == {"step": 1} and found["a"].tolist() == [1, 1]
    (tmp_path / "checkpoints" / "folder").mkdir()
    checkpoints.clear()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["folder"]


# -- compare -----------------------------------------------------------------------------------------------------------


def test_compare_refuses_a_hostile_run(folder, tmp_path, capsys):
    other = tmp_path / "b"
    shutil.copytree(folder, other)
    (folder / "config.yaml").write_text("a: &a [1,1]\nb: [*a, &b [*b]]")
    assert "not read by this code" in said(capsys, compare([str(folder), str(other)]))
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").symlink_to("/etc/passwd")
    assert "symbolic link" in said(capsys, compare([str(folder), str(other)]))
    for key in ("data_sha256", "images_seen"):
        content = json.loads((other / "status.json").read_text()) | {key: None}
        (folder / "status.json").write_text(json.dumps(content))
        assert key in said(capsys, compare([str(folder), str(other)]))


def test_a_configuration_of_a_run_folder_is_read_as_strictly_as_a_file():
    for tree in ({"seed": 1, "x": 2}, {"data": "digits"}, {"data": {"source": "a\nb"}}, {"seed": [[[]]]}):
        with pytest.raises(ConfigError):
            build(tree)


@pytest.mark.parametrize(
    "content", [None, b"[" * 10_000, b'{"host": "h", "machine": "m", "pid": "../x", "started": 1}', b"\xff"]
)
def test_a_hostile_lock_is_one_of_nobody_alive(tmp_path, content):
    """None: a pipe, which the status page would wait for."""
    os.mkfifo(tmp_path / "lock.json") if content is None else (tmp_path / "lock.json").write_bytes(content)
    os.utime(tmp_path / "lock.json", (0, 0))
    assert not lock.owner(tmp_path).alive and state_of(tmp_path)[0] == "pending"
