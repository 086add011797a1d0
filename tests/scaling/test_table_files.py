import pandas as pd
import pytest

import scaling.table_files
from scaling.schema import SCHEMA_VERSION, TABLES
from scaling.table_files import TableFiles
from scaling.tables import typed


def evals(*seeds):
    row = {"run_id": "r", "images_seen": 0, "schema_version": SCHEMA_VERSION}
    return {"evals": typed("evals", [row | {"seed": seed} for seed in seeds])}


def write(out, *parts, csv=False):
    with TableFiles(out, csv=csv) as files:
        for part in parts:
            files.add(part)
    return files


def test_a_table_in_parts_is_the_table_at_once(tmp_path, monkeypatch):
    write(tmp_path / "whole", evals(1, None, 3), csv=True)
    write(tmp_path / "parts", evals(1), evals(None), evals(3), csv=True)
    monkeypatch.setattr(scaling.table_files, "GROUP_BYTES", 1)  # every part a row group of its own
    assert write(tmp_path / "groups", evals(1), evals(None), evals(3), csv=True).rows["evals"] == 3
    for table in TABLES:
        for kind in ("parquet", "csv"):
            name = f"{table}.{kind}"
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
        whole, groups = (pd.read_parquet(tmp_path / out / f"{table}.parquet") for out in ("whole", "groups"))
        pd.testing.assert_frame_equal(whole, groups)
        assert (tmp_path / "whole" / f"{table}.csv").read_text() == (tmp_path / "groups" / f"{table}.csv").read_text()


def test_missing_counts_stay_missing_and_whole_in_csv(tmp_path):
    write(tmp_path, evals(3, None), csv=True)
    read = pd.read_csv(tmp_path / "evals.csv")
    assert read.seed[0] == 3 and pd.isna(read.seed[1])
    text = (tmp_path / "evals.csv").read_text()
    assert '"r"' in text and ",3," in text
    for table, columns in TABLES.items():
        assert list(pd.read_csv(tmp_path / f"{table}.csv").columns) == [column.name for column in columns]


def test_an_error_leaves_the_tables_of_before(tmp_path):
    out = tmp_path / "tables"
    for before in (False, True):
        with pytest.raises(ValueError, match="odd"), TableFiles(out, csv=True) as files:
            files.add(evals(1))
            files.add_file("gallery.npz", b"new")
            raise ValueError("odd")
        if not before:
            assert not out.exists()
            write(out, evals(2))
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{table}.parquet" for table in TABLES)
    assert list(pd.read_parquet(out / "evals.parquet").seed) == [2]


def test_a_reader_never_meets_half_a_table(tmp_path):
    write(tmp_path, evals(1))
    with TableFiles(tmp_path, csv=False) as files:
        files.add(evals(1, 2))
        assert list(pd.read_parquet(tmp_path / "evals.parquet").seed) == [1]
    assert list(pd.read_parquet(tmp_path / "evals.parquet").seed) == [1, 2]
