"""Reading in bulk against reading line by line (scaling.schema.rows): the same rows, and the same refusals."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

import scaling.run_tables
from scaling.run_tables import run_tables
from scaling.schema import NESTED, RECORDS, SCHEMA_VERSION, TABLES, SchemaError, rows
from scaling.tables import typed, write_parquet


def record(images_seen=0, *, nested=None, **columns):
    evals = {"run_id": "r", "images_seen": images_seen, "schema_version": SCHEMA_VERSION, "n_generated": 10, **columns}
    return {"evals": evals, **(nested or {})}


def run(folder, *lines):
    folder.mkdir()
    made = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / RECORDS).write_bytes(b"".join(line + b"\n" for line in made))
    return folder


@pytest.fixture
def only_bulk(monkeypatch):
    """The plain reader, which would hide that the fast one gave up, is an error."""

    def refused(folders):
        raise AssertionError("read one by one")

    monkeypatch.setattr(scaling.run_tables, "_one_by_one", refused)


def test_rows_are_those_of_the_plain_reader(tmp_path, only_bulk):
    """Out of order, with tables missing, null and empty, whole floats, huge numbers and letters of all kinds."""
    strata = [{"copies": 1, "n_hits": 2}, {"copies": 2, "seen_loss": 3, "exposures": 1e22}]
    levels = [
        {"kind": kind, "sigma": sigma, "seen_loss": -0.125} for kind in ("loss", "sampler") for sigma in (0.1, 80)
    ]
    folders = [
        run(tmp_path / "b", record(128, nested={"strata": strata}), record(64, kid=-0.1, lr=1), record(0, seed=2**40)),
        run(tmp_path / "a", record(0, near='"\\ ü 图 \u2028', attention=False, nested={"noise_levels": levels})),
        run(tmp_path / "c", record(0, nested={"strata": None, "prompts": []})),
        run(tmp_path / "empty"),
    ]
    made = run_tables(folders)
    for table in ("evals", *NESTED):
        wanted = [row for folder in folders for row in rows(folder)[table]]
        assert made[table].equals(typed(table, wanted)), table
    assert made["evals"]["images_seen"].to_pylist() == [0, 64, 128, 0, 0] and made["images"].num_rows == 0


@pytest.mark.parametrize("broken", [False, True], ids=["in bulk", "row by row"])
def test_rows_older_than_the_column_have_the_commit_of_their_status(tmp_path, broken, monkeypatch):
    """Only where it is of the same code; what a record says itself stays; no status, a broken one: empty."""
    if broken:
        monkeypatch.setattr(scaling.run_tables, "_in_bulk", lambda files: None)
    folders = []
    for name, status, *rows_said in (
        ("a", {"code_version": "x", "commit": "c1"}, {"code_version": "x"}, {"code_version": "x", "commit": "c0+"}),
        ("b", {"code_version": "y", "commit": "c2"}, {"code_version": "x"}, {"code_version": "y"}),
        ("c", {"code_version": None, "commit": "c3"}, {}),
        ("d", {"code_version": "x", "commit": None}, {"code_version": "x"}),
        ("e", None, {"code_version": "x"}),
        ("f", "{", {"code_version": "x"}),
    ):
        lines = [record(at, run_id=name, **said) for at, said in enumerate(rows_said)]
        folders.append(run(tmp_path / name, *lines))
        if status is not None:
            text = status if status == "{" else json.dumps({"state": "done", "run_id": name, **status})
            (tmp_path / name / "status.json").write_text(text)
    made = run_tables(folders)["evals"]
    found = {(row["run_id"], row["images_seen"]): row["commit"] for row in made.to_pylist()}
    assert found == {
        ("a", 0): "c1", ("a", 1): "c0+", ("b", 0): None, ("b", 1): "c2", ("c", 0): None, ("d", 0): None,
        ("e", 0): None, ("f", 0): None,
    }  # fmt: skip
    assert made.schema.equals(typed("evals", []).schema)


BROKEN = {
    "no number": record(kid=float("nan")),
    "infinite": record(kid=float("inf")),
    "beyond its trials": record(n_memorized=11),
    "below zero": record(n_memorized=-1),
    "without trials": record(n_generated=None, n_memorized=1),
    "no such column": record(speed=1),
    "no such table": {**record(), "speeds": []},
    "a float for a count": record(n_memorized=1.0),
    "a text for a number": record(kid="0.1"),
    "a truth for a number": record(n_memorized=True),
    "a key twice": record(nested={"strata": [{"copies": 1}, {"copies": 1}]}),
    "a key missing": record(nested={"strata": [{"n_hits": 1}]}),
    "nested beyond its trials": record(nested={"strata": [{"copies": 1, "n_images": 1, "n_extracted": 2}]}),
    "no run": {"evals": {"images_seen": 0, "schema_version": SCHEMA_VERSION}},
    "a newer schema": record(schema_version=SCHEMA_VERSION + 1),
    "no schema": record(schema_version=None),
    "two in a line": json.dumps(record()).encode() * 2,
    "two in a line and an empty one": json.dumps(record()).encode() + b" " + json.dumps(record(1)).encode() + b"\n",
    "an empty line": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"evals": {"run_id": "\xff", "images_seen": 0, "schema_version": 2}}',
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_refused_as_the_plain_reader_refuses_it(tmp_path, line):
    good = run(tmp_path / "a", record())
    with pytest.raises(SchemaError, match="b"):
        run_tables([good, run(tmp_path / "b", record(), line, record(64))])
    assert run_tables([good])["evals"].num_rows == 1


def test_images_of_all_runs_one_after_the_other(tmp_path):
    def image(at, **columns):
        return {"run_id": "r", "image_id": f"{at:016x}", "n_generated": 5, **columns}

    folders = [run(tmp_path / name, record()) for name in "abc"]
    for folder, at in ((folders[0], 2), (folders[2], 1)):
        write_parquet(folder / "images.parquet", typed("images", [image(at, n_hits=at, loss=0.5), image(at + 10)]))
    found = run_tables(folders)["images"]
    assert found["image_id"].to_pylist() == [f"{at:016x}" for at in (2, 12, 1, 11)]
    assert found.schema.names == [column.name for column in TABLES["images"]]
    # another order and narrower types, as pandas or an older version may write them
    other = typed("images", [image(7, n_hits=3, loss=0.5)]).to_pandas()[
        ["loss", "image_id", "n_hits", "run_id", "n_generated"]
    ]
    other.astype({"n_hits": "int32", "loss": np.float32}).to_parquet(folders[1] / "images.parquet")
    found = run_tables(folders)["images"]
    assert found["image_id"].to_pylist() == [f"{at:016x}" for at in (2, 12, 7, 1, 11)]
    assert found["n_hits"].to_pylist() == [2, None, 3, 1, None] and found["loss"].to_pylist() == [0.5, None] + [
        0.5
    ] * 2 + [None]
    parquet.write_table(typed("images", [image(7, n_hits=6)]), folders[1] / "images.parquet")
    with pytest.raises(SchemaError, match=r"b/images\.parquet: images\.n_hits=6: not within 0 and n_generated=5"):
        run_tables(folders)
