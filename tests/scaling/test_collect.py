import json

import numpy as np
import pandas as pd
import pytest

from scaling.collect import collect, main
from scaling.config import build
from scaling.gallery import GALLERY_BYTES
from scaling.identity import cell_id
from scaling.schema import GALLERY, IDENTITY, RECORDS, SCHEMA_VERSION, SPURIOUS_GALLERY, TABLES, SchemaError, arrays
from scaling.store import RunStore
from scaling.store_errors import StoreError


def identity(store, images_seen):
    config = store.config
    return {
        "run_id": store.run_id, "cell_id": cell_id(config), "seed": config.seed, "images_seen": images_seen,
        "n_generated": 10, "width": config.model.width,
    }  # fmt: skip


def make(out, seed=0, *, points=(0, 64), state="done", samples=4, size=8):
    """A run with two evaluations, its images and its gallery; returns its folder."""
    with RunStore.open(build({"seed": seed, "runtime": {"out": str(out)}})) as store:
        store.set_status("running")
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (2, samples, 1, size, size), dtype=np.uint8)
        numbers = {"gallery_ratio": rng.random(samples, dtype=np.float32), "gallery_copies": np.arange(samples)}
        store.write_arrays("samples", gallery_samples=pixels[0], gallery_nearest=pixels[1], samples=pixels, **numbers)
        whole = {column.name: None for column in IDENTITY} | identity(store, max(points, default=0))
        store.write_images([{"image_id": f"{i:016x}", "n_hits": i, "role": "train"} for i in range(3)], whole)
        for at in points:
            evals = {
                **identity(store, at),
                "schema_version": SCHEMA_VERSION,
                "science_version": 1,
                "n_memorized": at // 64,
            }
            strata = [{"copies": r, "n_hits": 1} for r in (1, 2)]
            store.append({"evals": evals, "strata": strata, "noise_levels": [{"kind": "loss", "sigma": 0.5}]})
        if state != "running":
            store.set_status(state)
        return store.folder


def change(folder, **columns):
    lines = [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]
    for record in lines:
        record["evals"] |= columns
    (folder / RECORDS).write_text("".join(json.dumps(record) + "\n" for record in lines))


def test_tables_are_every_row_of_every_run_with_its_identity(tmp_path, capsys):
    folders = [make(tmp_path / "runs", seed) for seed in range(3)]
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables"), "--csv"]) == 0
    said = capsys.readouterr().out
    assert "3 runs: 6 evals, 12 strata, 6 noise_levels, 0 prompts, 9 images rows" in said
    for table, columns in TABLES.items():
        found = pd.read_parquet(tmp_path / "tables" / f"{table}.parquet", dtype_backend="numpy_nullable")
        assert list(found.columns) == [column.name for column in columns]
        assert list(pd.read_csv(tmp_path / "tables" / f"{table}.csv").columns) == list(found.columns)
    evals = pd.read_parquet(tmp_path / "tables" / "evals.parquet", dtype_backend="numpy_nullable")
    assert list(evals.run_id) == sorted(folder.name for folder in folders for _ in range(2))
    assert list(evals.images_seen) == [0, 64] * 3 and list(evals.n_memorized) == [0, 1] * 3
    assert evals.kid.isna().all() and str(evals.n_extracted.dtype) == "Int64"
    strata = pd.read_parquet(tmp_path / "tables" / "strata.parquet")
    assert set(strata.groupby("run_id").seed.first()) == {0, 1, 2} and list(strata.copies[:4]) == [1, 2, 1, 2]


def test_the_gallery_holds_the_arrays_by_run(tmp_path):
    folder = make(tmp_path / "runs")
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")])
    with (
        np.load(tmp_path / "tables" / "gallery.npz", allow_pickle=False) as found,
        np.load(folder / "samples.npz") as own,
    ):
        assert set(found.files) == {f"{folder.name}.{name}" for name in GALLERY}
        for name in GALLERY:
            assert np.array_equal(found[f"{folder.name}.{name}"], own[name])


def test_images_and_prompts_are_in_the_gallery_each_image_once(tmp_path):
    folders = [make(tmp_path / "runs", seed) for seed in range(2)]
    rng = np.random.default_rng(0)
    known = {f"{at:016x}": rng.integers(0, 256, (1, 4, 4), dtype=np.uint8) for at in range(5)}
    for folder, names in zip(folders, (list(known)[:3], list(known)[2:]), strict=True):
        with np.load(folder / "samples.npz") as own:
            arrays = {name: own[name] for name in own.files}
        pixels = np.stack([known[name] for name in names])
        prompts = {"prompt_images": pixels, "prompt_context": np.array(["1/2"] * 3)}
        np.savez(folder / "samples.npz", **arrays, **prompts, image_ids=np.array(names), image_pixels=pixels)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")])
    with np.load(tmp_path / "tables" / "gallery.npz", allow_pickle=False) as found:
        assert sorted(found["image_ids"]) == list(known)
        for name, image in zip(found["image_ids"], found["image_pixels"], strict=True):
            np.testing.assert_array_equal(image, known[name])
        assert list(found[f"{folders[0].name}.prompt_context"]) == ["1/2"] * 3


def with_spurious(folder, sizes, pixels=8):
    """Give the run the pictures of spurious groups of these sizes."""
    rng = np.random.default_rng(len(sizes))
    pictures = rng.integers(0, 256, (2, len(sizes), 1, pixels, pixels), dtype=np.uint8)
    ratio = rng.random(len(sizes), dtype=np.float32)
    with np.load(folder / "samples.npz") as own:
        arrays = {name: own[name] for name in own.files}
    found = dict(zip(SPURIOUS_GALLERY, (*pictures, ratio, np.array(sizes, int)), strict=True))
    np.savez(folder / "samples.npz", **arrays, **found)
    return found


def test_pictures_of_spurious_groups_go_along_where_a_run_has_them(tmp_path):
    """An older run has none, another measured that there are none: both are there as they are."""
    old, none, some = (make(tmp_path / "runs", seed) for seed in range(3))
    with_spurious(none, [])
    kept = with_spurious(some, [9, 5, 3])
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")])
    found = arrays(tmp_path / "tables" / "gallery.npz")
    assert f"{old.name}.spurious_size" not in found and f"{old.name}.gallery_ratio" in found
    assert found[f"{none.name}.spurious_samples"].shape == (0, 1, 8, 8)
    for name in SPURIOUS_GALLERY:
        np.testing.assert_array_equal(found[f"{some.name}.{name}"], kept[name])


def test_of_spurious_groups_a_thinned_gallery_keeps_the_largest(tmp_path):
    """Random pixels of 100x100 do not compress: of eight runs fewer than eight pictures fit."""
    sizes = [8, 7, 6, 5, 4, 3, 2, 1]
    for seed in range(8):
        with_spurious(make(tmp_path / "runs", seed, points=(0,), samples=12, size=100), sizes, 100)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")])
    path = tmp_path / "tables" / "gallery.npz"
    assert path.stat().st_size <= GALLERY_BYTES
    found = [array.tolist() for name, array in arrays(path).items() if name.endswith("spurious_size")]
    assert len(found) == 8 and all(2 <= len(kept) < 8 and kept == sizes[: len(kept)] for kept in found)


def test_a_missing_sample_file_is_an_error_never_nothing(tmp_path, capsys):
    folder = make(tmp_path / "runs")
    (folder / "samples.npz").unlink()
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]) == 2
    assert f"run {folder.name}: its records speak of" in capsys.readouterr().err


@pytest.mark.parametrize(("runs", "samples", "size"), [(8, 24, 48), (14, 2, 200)])
def test_a_large_gallery_is_thinned_evenly_and_says_so(tmp_path, capsys, runs, samples, size):
    """Random pixels do not compress: two pairs of each run fit for 8 runs of 48x48, not for 14 of 200x200."""
    for seed in range(runs):
        make(tmp_path / "runs", seed, points=(0,), samples=samples * 3, size=size)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]) == 0
    path = tmp_path / "tables" / "gallery.npz"
    assert GALLERY_BYTES / 3 < path.stat().st_size <= GALLERY_BYTES
    with np.load(path) as found:
        kept = {name.partition(".")[0] for name in found.files}
        lengths = {len(found[name]) for name in found.files}
    assert len(lengths) == 1 and min(lengths) >= 2
    assert (
        f"gallery.npz has {min(lengths)} of {samples * 3} samples of {len(kept)} of {runs} runs"
        in capsys.readouterr().out
    )
    if runs == 8:
        assert len(kept) == runs


def test_of_very_many_runs_the_gallery_looks_at_some_evenly(tmp_path, capsys, monkeypatch):
    folders = sorted(make(tmp_path / "runs", seed, points=(0,)) for seed in range(5))
    monkeypatch.setattr("scaling.gallery.GALLERY_RUNS", 3)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]) == 0
    with np.load(tmp_path / "tables" / "gallery.npz") as found:
        kept = {name.partition(".")[0] for name in found.files}
    assert kept == {folders[at].name for at in (0, 2, 4)}
    assert "gallery.npz has 4 of 4 samples of 3 of 5 runs" in capsys.readouterr().out


def test_a_run_without_a_record_is_left_out_and_said(tmp_path, capsys):
    make(tmp_path / "runs", 0)
    make(tmp_path / "runs", 1, points=())
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]) == 0
    assert "1 run(s) without a record yet" in capsys.readouterr().out


def test_runs_that_are_not_done_are_included_and_said(tmp_path, capsys):
    make(tmp_path / "runs", 0)
    make(tmp_path / "runs", 1, state="failed")
    config = build({"seed": 2, "runtime": {"out": str(tmp_path / "runs")}})
    make(tmp_path / "runs", 2, state="running")
    with RunStore.open(config):
        assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]) == 0
    said = capsys.readouterr().out
    assert "1 run(s) being written: included as far as they are" in said
    assert "1 run(s) failed: included as far as they are" in said and "3 runs: 6 evals" in said


def test_a_torn_last_record_is_left_out(tmp_path):
    folder = make(tmp_path / "runs")
    whole = (folder / RECORDS).read_bytes()
    (folder / RECORDS).write_bytes(whole[:-10])
    collect([tmp_path / "runs"], tmp_path / "tables")
    assert list(pd.read_parquet(tmp_path / "tables" / "evals.parquet").images_seen) == [0]


@pytest.mark.parametrize("name", ["science_version", "schema_version"])
def test_mixed_versions_are_refused_naming_both_runs(tmp_path, name):
    folders = sorted([make(tmp_path / "runs", 0), make(tmp_path / "runs", 1)])
    change(folders[1], **{name: 0})
    known = {"schema_version": SCHEMA_VERSION, "science_version": 1}[name]
    with pytest.raises(SchemaError, match=f"{name} is {known} in run {folders[0].name} and 0 in run {folders[1].name}"):
        collect([tmp_path / "runs"], tmp_path / "tables")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "newer than"),
        ({"n_memorized": 11}, "run .*, images_seen=0: evals.n_memorized=11: not within"),
        ({"speed": 1}, "evals.speed: no such column"),
    ],
)
def test_records_against_the_schema_are_refused(tmp_path, capsys, columns, says):
    change(make(tmp_path / "runs"), **columns)
    with pytest.raises(SchemaError, match=says):
        collect([tmp_path / "runs"], tmp_path / "tables")
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "tables").exists()


def test_images_of_another_program_are_refused(tmp_path):
    folder = make(tmp_path / "runs")
    pd.DataFrame({"image_id": ["a"], "colour": [1]}).to_parquet(folder / "images.parquet")
    with pytest.raises(SchemaError, match=r"images\.parquet: images\.colour: no such column"):
        collect([tmp_path / "runs"], tmp_path / "tables")
    (folder / "images.parquet").write_bytes(b"torn")
    with pytest.raises(SchemaError, match=r"images\.parquet: .*remove the run folder"):
        collect([tmp_path / "runs"], tmp_path / "tables")


def test_nothing_to_collect_is_an_error(tmp_path, capsys):
    make(tmp_path / "runs", points=())
    for runs in (tmp_path / "runs", tmp_path / "nowhere"):
        assert main([str(runs), "--out", str(tmp_path / "tables")]) == 2
        assert capsys.readouterr().err.startswith("scaling.collect: ") and not (tmp_path / "tables").exists()


def test_one_run_in_two_folders_is_refused_and_twice_the_same_folder_is_not(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    with pytest.raises(StoreError, match=r"is in .*a and in .*b; name one"):
        collect([tmp_path / "a", tmp_path / "b"], tmp_path / "tables")
    assert collect([tmp_path / "a", tmp_path / "a"], tmp_path / "tables").rows["evals"] == 2


def test_an_output_that_cannot_be_written_is_said(tmp_path, capsys):
    make(tmp_path / "runs")
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_collecting_again_gives_the_same_bytes(tmp_path):
    """Tables are committed: they must not change by themselves."""
    for seed in range(2):
        make(tmp_path / "runs", seed)
    found = []
    for out in ("one", "two"):
        main([str(tmp_path / "runs"), "--out", str(tmp_path / out)])
        found.append({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()})
    assert found[0] == found[1] and len(found[0]) == 6
