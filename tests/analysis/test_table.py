import json

import numpy as np
import pandas
import pytest

from analysis.columns import TableError, numbers, read_table
from analysis.table import load
from scaling import schema


def test_a_folder_of_runs_and_its_tables_hold_the_same(runs_folder, make_tables):
    runs = load(runs_folder)
    for suffix in (".parquet", ".csv"):
        tables = load(make_tables(runs_folder, suffix=suffix))
        for name in ("evals", "strata"):
            key = list(schema.KEYS[name])
            one, two = (getattr(t, name).sort_values(key).reset_index(drop=True) for t in (runs, tables))
            pandas.testing.assert_frame_equal(one, two)
        assert tables.gallery.keys() == runs.gallery.keys()
        for run, arrays in runs.gallery.items():
            np.testing.assert_array_equal(arrays["gallery_samples"], tables.gallery[run]["gallery_samples"])


def test_one_run_folder_is_a_table_too(runs_folder):
    run = sorted(runs_folder.iterdir())[0]
    assert load(run).evals["run_id"].unique().tolist() == [run.name]


def test_what_was_not_measured_is_empty_and_never_zero(runs_folder):
    evals = load(runs_folder).evals
    assert evals["membership_auc"].isna().all() and evals["n_prompts"].isna().all()
    assert evals.loc[evals["images_seen"] == 0, "train_loss"].isna().all()


def test_a_run_without_evaluation_is_said(make_runs):
    folder = make_runs(seeds=1, levels=(3,), widths=(2743,))
    (folder / "deadbeef0000").mkdir()
    (folder / "deadbeef0000" / schema.RECORDS).write_text('{"evals": {"torn')
    tables = load(folder)
    assert tables.evals["run_id"].nunique() == 1
    assert "run deadbeef0000 has no evaluation yet" in tables.notes[0]


def changed(tmp_path, **columns) -> str:
    """A TABLES folder of three rows in which `columns` are replaced; None removes one."""
    rows = {"run_id": ["a", "b", "c"], "images_seen": [10, 10, 10], "params": [5, 6, 7], "schema_version": [1] * 3}
    rows |= {"science_version": [1] * 3, "n_generated": [8] * 3, "n_memorized": [1, 2, 3], **columns}
    pandas.DataFrame({k: v for k, v in rows.items() if v is not None}).to_csv(tmp_path / "evals.csv", index=False)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"params": None, "parms": [1, 2, 3]}, "no column params: did you mean parms"),
        ({"params": ["1", "many", "3"]}, "column params, row 1 holds 'many'"),
        ({"n_memorized": [1, 9, 3]}, "row 1 has n_memorized=9 out of n_generated=8"),
        ({"n_memorized": [1, -1, 3]}, "row 1 has n_memorized=-1"),
        ({"science_version": [1, 2, 1]}, "mixed science_version 1, 2"),
        ({"schema_version": [1, 1, 0]}, "mixed schema_version 0, 1"),
        ({"schema_version": [9, 9, 9]}, "newer than 2"),
        ({"run_id": ["a", "b", "a"]}, "row 2 repeats run_id=a, images_seen=10"),
        ({"holdout_loss": [0.1, "inf", 0.3]}, "column holdout_loss, row 1 is infinite"),
    ],
)
def test_a_table_that_does_not_follow_the_schema_is_refused(tmp_path, columns, says):
    with pytest.raises(TableError, match=says):
        load(changed(tmp_path, **columns))


def test_a_missing_column_is_said_with_the_nearest_name(tmp_path):
    tables = load(changed(tmp_path, holdout_los=[1.0, 2.0, 3.0]))
    assert "evals has no column holdout_loss: did you mean holdout_los?" in tables.notes
    assert tables.evals["holdout_loss"].isna().all()


@pytest.mark.parametrize("text", ["", "run_id,images_seen,params\n"])
def test_an_empty_table_says_so(tmp_path, text):
    (tmp_path / "evals.csv").write_text(text)
    with pytest.raises(TableError, match=r"no evaluation was recorded|not a readable table"):
        load(tmp_path)


def test_folders_without_tables_say_what_was_looked_for(tmp_path):
    with pytest.raises(TableError, match="holds neither"):
        load(tmp_path)
    with pytest.raises(TableError, match="no such folder"):
        load(tmp_path / "not_there")


def test_a_record_of_a_newer_schema_is_refused(make_runs):
    folder = make_runs(seeds=1, levels=(3,), widths=(2743,))
    path = next(folder.iterdir()) / schema.RECORDS
    record = json.loads(path.read_text().splitlines()[0])
    record["evals"]["schema_version"] = 99
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(schema.SchemaError, match="newer than 2"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_damaged_arrays_are_named(make_runs, content):
    folder = make_runs(seeds=1, levels=(3,), widths=(2743,))
    (next(folder.iterdir()) / "samples.npz").write_bytes(content)
    with pytest.raises(TableError, match=r"samples\.npz"):
        load(folder)


def test_nothing_is_unpickled(make_runs):
    folder = make_runs(seeds=1, levels=(3,), widths=(2743,))
    np.savez(next(folder.iterdir()) / "samples.npz", gallery_samples=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TableError, match=r"samples\.npz"):
        load(folder)


@pytest.mark.parametrize(
    "content",
    ["a,b\n1,2.5\n2,\n", "\ufeffa,b\n1,2.5\n2,\n", "\ufeffa;b\n1;2,5\n2;\n", "a;b\n1;2.5\n2;\n", "a\tb\n1\t2.5\n2\t\n"],
    ids=["comma", "bom", "semicolon and decimal comma", "semicolon and point", "tab"],
)
def test_csv_dialects_read_alike(tmp_path, content):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    frame = read_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(numbers(frame, "a"), [1, 2])
    np.testing.assert_array_equal(numbers(frame, "b"), [2.5, np.nan])


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet"])
def test_unreadable_files_end_in_one_line(tmp_path, content):
    for name in ("t.csv", "t.parquet"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=r"t\.parquet: not a readable table") as error:
        read_table(tmp_path / "t.parquet")
    assert "\n" not in str(error.value)
    if not content:
        with pytest.raises(TableError, match=r"t\.csv: not a readable table"):
            read_table(tmp_path / "t.csv")


def test_a_text_that_some_rows_lack_is_none_and_no_number(make_runs):
    """pandas' own type of text turns None into NaN, which is true and no JSON: a mixed report would fail on it."""
    folder = make_runs(seeds=2, levels=(3,), widths=(2743,))
    path = sorted(folder.glob(f"*/{schema.RECORDS}"))[0]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        del record["evals"]["config"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    configs = load(folder).evals.set_index("run_id")["config"].to_dict()
    assert configs.pop(path.parent.name) is None
    assert all(isinstance(text, str) for text in configs.values())


@pytest.mark.parametrize("run_id", ["absent", None, 7])
def test_a_record_that_does_not_name_its_run_is_refused_by_its_file(make_runs, run_id):
    """Found by the long fuzz: beside a samples.npz it ended in a KeyError."""
    runs = make_runs(seeds=1, levels=(3,), widths=(2743, 10405))
    path = next(runs.glob(f"*/{schema.RECORDS}"))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for record in found:
        del record["evals"]["run_id"]
        record["evals"] |= {} if run_id == "absent" else {"run_id": run_id}
    path.write_text("".join(json.dumps(record) + "\n" for record in found))
    with pytest.raises(TableError, match=r"evals\.jsonl: a record without run_id"):
        load(runs)
