"""A study in parts is the study: the undivided tables are the answer."""

from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.columns import TableError
from analysis.report import _state
from analysis.table import load
from scaling import schema
from tests.analysis.conftest import write_runs, write_tables

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The TABLES folder of eight runs, with rows in all tables."""
    folder = tmp_path_factory.mktemp("whole")
    made = write_tables(folder / "tables", write_runs(folder / "runs", seeds=2, levels=(3, 2), widths=(2743, 40489)))
    evals = pandas.read_parquet(made / "evals.parquet")
    last = evals.drop_duplicates("run_id", keep="last")[[column.name for column in schema.IDENTITY]]
    rows = {
        "noise_levels": last.assign(kind="loss", sigma=0.5, seen_loss=0.25),
        "prompts": last.assign(copies=1, context="1/2", rounds=1, n_prompts=4, n_prompt_recovered=2),
        "images": pandas.concat([last.assign(image_id=f"a{at:015x}", role="train", loss=at / 8) for at in range(3)]),
    }
    for name, frame in rows.items():
        frame = frame.sort_values(["run_id"], kind="stable")
        frame.reindex(columns=[column.name for column in schema.TABLES[name]]).to_parquet(made / f"{name}.parquet")
    return made


def part(study: Path, name: str, whole: Path, runs, *, tables=tuple(schema.TABLES), suffix=".parquet") -> Path:
    """parts/<name> with the rows of these runs."""
    folder = study / "parts" / name
    folder.mkdir(parents=True)
    for table in tables:
        frame = pandas.read_parquet(whole / f"{table}.parquet")
        own = frame[frame["run_id"].isin(runs)]
        own.to_parquet(folder / f"{table}.parquet") if suffix == ".parquet" else own.to_csv(
            folder / f"{table}{suffix}", index=False
        )
    with np.load(whole / "gallery.npz") as arrays:
        np.savez(folder / "gallery.npz", **{key: arrays[key] for key in arrays.files if key.split(".")[0] in runs})
    return folder


def changed(folder: Path, table: str, change) -> None:
    path = folder / f"{table}.parquet"
    change(pandas.read_parquet(path)).to_parquet(path)


def assert_same(one, other) -> None:
    for name in schema.TABLES:
        key = list(schema.KEYS[name])
        frames = (getattr(tables, name).sort_values(key, ignore_index=True) for tables in (one, other))
        pandas.testing.assert_frame_equal(*frames)
    assert one.gallery.keys() == other.gallery.keys()
    for run, arrays in one.gallery.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, other.gallery[run][name])


@pytest.fixture
def runs(whole) -> list[str]:
    return sorted(pandas.read_parquet(whole / "evals.parquet")["run_id"].unique())


@pytest.mark.parametrize("shared", [0, 2], ids=["apart", "two runs in both"])
def test_a_divided_study_is_the_undivided_one(whole, runs, tmp_path, shared):
    """A run in two parts with the same rows counts once; the rows lie as scaling.collect writes them, by run."""
    part(tmp_path, "b", whole, runs[: 3 + shared])
    part(tmp_path, "a", whole, runs[3:], suffix=".parquet" if shared else ".csv")  # csv keeps not every last digit
    part(tmp_path, "c", whole, runs[:shared] or runs[:1])
    (tmp_path / "parts" / "README.md").write_text("no table")
    (tmp_path / "parts" / "notes").mkdir()
    found = load(tmp_path)
    assert_same(found, load(whole))
    assert found.evals["run_id"].is_monotonic_increasing and found.evals.index.equals(load(whole).evals.index)


def test_the_order_of_the_rows_of_a_run_is_no_difference(whole, runs, tmp_path):
    part(tmp_path, "a", whole, runs)
    changed(part(tmp_path, "b", whole, runs[:2]), "strata", lambda frame: frame.iloc[::-1])
    assert_same(load(tmp_path), load(whole))


CONFLICTS = {
    "another number": ("noise_levels", lambda frame: frame.assign(seen_loss=0.125)),
    "one that is missing": ("evals", lambda frame: frame.assign(kid=None)),
    "an evaluation more": ("evals", lambda frame: frame.iloc[:-1]),
    "no rows at all": ("prompts", lambda frame: frame.iloc[:0]),
}


@pytest.mark.parametrize(("table", "change"), CONFLICTS.values(), ids=CONFLICTS)
def test_a_run_that_two_parts_tell_differently_is_refused(whole, runs, tmp_path, table, change):
    part(tmp_path, "first", whole, runs)
    changed(part(tmp_path, "later", whole, runs[2:3]), table, change)
    with pytest.raises(TableError, match=f"run {runs[2]} stands in the parts first and later with .* rows of {table}"):
        load(tmp_path)


def test_of_many_shared_runs_the_one_that_differs_is_named(whole, runs, tmp_path):
    part(tmp_path, "a", whole, runs)
    last = part(tmp_path, "b", whole, runs)
    changed(last, "images", lambda frame: frame.assign(loss=frame["loss"].where(frame["run_id"] != runs[5], 0.5)))
    with pytest.raises(TableError, match=f"run {runs[5]} stands in the parts a and b"):
        load(tmp_path)


def test_what_an_older_part_lacks_is_empty_there(whole, runs, tmp_path):
    """A table, and a column that came later: said where a number is missing, not where only `commit` is."""
    older = part(tmp_path, "older", whole, runs[:3], tables=("evals", "strata", "noise_levels", "images"))
    changed(older, "evals", lambda frame: frame.drop(columns=["commit", "kid"]))
    part(tmp_path, "younger", whole, runs[3:])
    found = load(tmp_path)
    assert found.notes == ("part older: evals has no column kid",)
    assert set(found.prompts["run_id"]) == set(runs[3:])
    old = found.evals["run_id"].isin(runs[:3])
    assert found.evals.loc[old, ["commit", "kid"]].isna().all(axis=None)
    assert set(found.evals.loc[~old, "commit"]) == {"abc1234def56"} and found.evals.loc[~old, "kid"].notna().all()
    both = [tables.evals.drop(columns=["commit", "kid"]) for tables in (found, load(whole))]
    pandas.testing.assert_frame_equal(*both)


def test_a_table_without_commit_says_nothing_of_it(whole, runs, tmp_path):
    changed(part(tmp_path, "only", whole, runs), "evals", lambda frame: frame.drop(columns="commit"))
    found = load(tmp_path)
    assert found.notes == () and found.evals["commit"].isna().all() and len(found.evals)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.assign(science_version=2), r"evals: mixed science_version 1, 2"),
        (lambda frame: frame.drop(columns="params"), r"parts/b evals: no column params"),
        (lambda frame: frame.assign(n_memorized=9**9), r"parts/b evals: row 0 has n_memorized="),
        (lambda frame: frame.iloc[:0], r"parts/b: no evaluation was recorded yet"),
    ],
)
def test_a_part_that_is_refused_alone_is_refused_with_others(whole, runs, tmp_path, change, says):
    part(tmp_path, "a", whole, runs[:4])
    changed(part(tmp_path, "b", whole, runs[4:]), "evals", change)
    with pytest.raises(TableError, match=says):
        load(tmp_path)


def test_tables_without_their_evaluations_are_named(whole, runs, tmp_path):
    part(tmp_path, "a", whole, runs[:4])
    part(tmp_path, "b", whole, runs[4:], tables=("strata",))
    with pytest.raises(TableError, match=r"parts/b: tables without evals\.parquet"):
        load(tmp_path)


def test_tables_beside_the_parts_come_first(whole, runs, tmp_path):
    """Who collected the whole again means that one."""
    part(tmp_path, "a", whole, runs[:4])
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert load(tmp_path).evals["run_id"].nunique() == len(runs)


def test_a_report_that_watches_sees_a_part_arrive(whole, runs, tmp_path):
    part(tmp_path, "a", whole, runs[:4])
    before = _state(tmp_path)
    part(tmp_path, "b", whole, runs[4:])
    assert len(_state(tmp_path)) == 2 * len(before) == 2 * len(schema.TABLES)


def test_the_parts_of_study_1_add_up():
    """Rows of the committed files, counted by their own headers: no run stands in two of them."""
    from pyarrow import parquet

    study = RESULTS / "memorization"
    found = load(study)
    for name in schema.TABLES:
        rows = [parquet.read_metadata(file).num_rows for file in study.glob(f"parts/*/{name}.parquet")]
        assert len(getattr(found, name)) == sum(rows) and (sum(rows) or name == "prompts")
    assert found.evals["run_id"].nunique() == 289  # as results/memorization/README.md says
