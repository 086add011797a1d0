"""Two tiny trained runs side by side: what compare finds again in their own records, and what it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from scaling.compare.__main__ import main
from scaling.compare.runs import Run, image_rows, open_runs, overlap
from scaling.config import load
from scaling.data.sources import image_id, load_images
from scaling.data.training_set import assemble
from scaling.schema import rows
from scaling.store import RunStore
from tests.scaling.tiny_run import FLAGS, trained

TINY = [*FLAGS, "--train.images=1024", "--data.draw=0", "--evaluate.draws=8", "--evaluate.measures=[loss,neighbors]"]


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> tuple[Path, Path]:
    """Disjoint halves of one pool; another seed, and B pruned: what its records measured."""
    out = tmp_path_factory.mktemp("halves")
    return trained(out, *TINY, "--data.fold.index=0"), trained(
        out, *TINY, "--data.fold.index=1", "--seed=1", "--model.prune=1/4"
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("whole"), *TINY)


def compared(a: Path, b: Path, out: Path) -> dict:
    assert main([str(a), str(b), "--out", str(out)]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def found(halves, tmp_path_factory) -> dict:
    return compared(*halves, tmp_path_factory.mktemp("found") / "deep" / "found.json")


def by_set(found: dict) -> dict[str, dict]:
    return {row["set"]: row for row in found["sets"]}


def test_losses_and_counts_are_those_that_the_runs_recorded(halves, found):
    """Each run measured its own images, the half it left out, and the hold-out: an independent path to six losses."""
    sets = by_set(found)
    assert {name: row["n_images"] for name, row in sets.items()} == {
        "only_a": 6, "only_b": 6, "both": 0, "holdout": 24,
    }  # fmt: skip
    for name, own, other, folder in (("a", "only_a", "only_b", halves[0]), ("b", "only_b", "only_a", halves[1])):
        last, images = rows(folder)["evals"][-1], pd.read_parquet(folder / "images.parquet")
        assert sets[own][f"loss_{name}"] == pytest.approx(last["seen_loss"], rel=1e-5)
        assert sets[own][f"loss_{name}_se"] == pytest.approx(last["seen_loss_se"], rel=1e-4)
        assert sets["holdout"][f"loss_{name}"] == pytest.approx(last["holdout_loss"], rel=1e-5)
        left = images[images.role == "left_out"]
        assert len(left) == 6 and sets[other][f"loss_{name}"] == pytest.approx(left.loss.mean(), rel=1e-5)
        assert found["samples"][f"n_memorized_{name}"] == last["n_memorized"]
        assert found["samples"][f"n_null_memorized_{name}"] == last["n_null_memorized"]
    for row in sets.values():
        if row["n_measured"]:
            assert row["b_minus_a"] == pytest.approx(row["loss_b"] - row["loss_a"])
            assert 0 < row["b_minus_a_se"] < row["loss_a_se"] + row["loss_b_se"]
    assert found["samples"]["n_pairs"] + found["samples"]["n_nonfinite"] == 24


def test_cosine_is_that_of_the_samples_on_disk(halves, found):
    """Both samplers start from the noise of every run: samples.npz holds the pairs; numpy, without the instrument."""
    drawn = []
    for folder in halves:
        with np.load(folder / "samples.npz") as arrays:
            x = arrays["samples"].reshape(24, -1).astype(float)
        drawn.append(x - x.mean(axis=0))
    cosines = (drawn[0] * drawn[1]).sum(axis=1) / np.prod([np.linalg.norm(x, axis=1) for x in drawn], axis=0)
    assert found["samples"]["cosine"] == pytest.approx(cosines.mean(), abs=1e-4)
    assert found["samples"]["cosine_se"] == pytest.approx(cosines.std(ddof=1) / 24**0.5, abs=1e-4)
    assert found["samples"]["n_same_image"] == 0  # of disjoint halves


def test_bands_and_levels_are_parts_of_one_distance(found):
    """8 mid-quantiles of ln sigma = N(-1.2, 1.2): 3 below .2, 4 to 1, 1 above, a distance each."""
    sigmas = sorted({row["sigma"] for row in found["levels"]})
    assert [sum(low < s <= high for s in sigmas) for low, high in ((0, 0.2), (0.2, 1), (1, 9))] == [3, 4, 1]
    assert len(found["levels"]) == 3 * 8 and {row["set"] for row in found["levels"]} == {"only_a", "only_b", "holdout"}
    for name, row in by_set(found).items():
        levels = [one for one in found["levels"] if one["set"] == name]
        if not levels:
            assert set(row) == {"set", "n_images", "n_measured"}  # no image: nothing is invented
            continue
        assert row["distance_large"] == pytest.approx(levels[-1]["distance"])
        for band, part in (("small", levels[:3]), ("middle", levels[3:7])):
            values = [one["distance"] for one in part]
            assert min(values) <= row[f"distance_{band}"] <= max(values)
        assert 0 < row["distance"] < 2 and row["distance_se"] > 0


def test_a_run_against_itself_is_one_function(halves, tmp_path, capsys):
    found = compared(halves[0], halves[0], tmp_path / "found.json")
    sets = by_set(found)
    assert [sets[name]["n_images"] for name in ("only_a", "only_b", "both", "holdout")] == [0, 0, 6, 24]
    for name in ("both", "holdout"):
        assert sets[name]["distance"] == sets[name]["distance_se"] == sets[name]["b_minus_a"] == 0
    samples = found["samples"]
    assert samples["cosine"] == pytest.approx(1) and abs(samples["cosine_null"]) < 4 * samples["cosine_null_se"]
    assert samples["n_same_image"] == samples["n_memorized_a"] == samples["n_memorized_b"]
    assert "were trained on the same 6 images: no independent images" in capsys.readouterr().out


def test_exchanged_runs_give_the_mirror_image(halves, found, tmp_path):
    mirrored, sets = by_set(compared(*reversed(halves), tmp_path / "found.json")), by_set(found)
    for name, other in (("only_a", "only_b"), ("only_b", "only_a"), ("holdout", "holdout")):
        assert mirrored[name]["distance"] == pytest.approx(sets[other]["distance"], rel=1e-5)
        assert mirrored[name]["loss_a"] == pytest.approx(sets[other]["loss_b"], rel=1e-5)
        assert mirrored[name]["b_minus_a"] == pytest.approx(-sets[other]["b_minus_a"], rel=1e-4)


def test_the_table_shows_the_numbers_of_the_file(halves, whole, tmp_path, capsys):
    for pair, sides in (((halves[0], whole), (0, 6)), ((whole, halves[0]), (6, 0))):
        found = compared(*pair, tmp_path / "found.json")
        said, sets = capsys.readouterr().out, by_set(found)
        assert (sets["only_a"]["n_images"], sets["only_b"]["n_images"], sets["both"]["n_images"]) == (*sides, 6)
        assert f"run {halves[0].name}, weights at 1,024 images_seen, 6 unique training images" in said
        inside = f"the 6 training images of {halves[0].name} are all among those of {whole.name}"
        assert f"compare: {inside}: no independent images" in said
        row = sets["holdout"]
        for name in (
            "distance_small",
            "distance_middle",
            "distance_large",
            "distance",
            "loss_a",
            "loss_b",
            "b_minus_a",
        ):
            assert f"{row[name]:.3f} ± {row[f'{name}_se']:.3f}" in said
        assert f"cosine of a pair: {found['samples']['cosine']:.3f} ± " in said and "; null " in said
        assert f"both the same image: {found['samples']['n_same_image']}" in said


def test_labels_and_a_fixed_sigma_are_compared_too(tmp_path):
    """Conditional runs are asked under the same labels; a fixed sigma is one level and fills one band."""
    flags = ["--data.conditioning=class", "--train.sigma.law=fixed", "--train.sigma.value=0.35", "--train.images=64"]
    a, b = (trained(tmp_path, *TINY, *flags, f"--data.fold.index={i}") for i in (0, 1))
    found = compared(a, b, tmp_path / "found.json")
    sets = by_set(found)
    assert {row["sigma"] for row in found["levels"]} == {0.35} and len(found["levels"]) == 3
    assert sets["only_a"]["loss_a"] == pytest.approx(rows(a)["evals"][-1]["seen_loss"], rel=1e-5)
    assert sets["holdout"]["distance_middle"] == sets["holdout"]["distance"]
    assert "distance_small" not in sets["holdout"] and "distance_large" not in sets["holdout"]


def made(*flags: str) -> Run:
    """A run without training: its images."""
    config = load(["--data.source=digits", *flags])
    source = load_images(config.data.source, config.data.image_size)
    return Run(Path(f"run{config.draw}"), config, 0, source, assemble(config, source))


NEAR = ["--data.duplication.design=spectrum", "--data.duplication.levels=2", "--data.duplication.near=noise"]


@pytest.mark.parametrize("more", [[], NEAR], ids=["exact", "near"])
def test_sets_are_those_of_the_pixels_whatever_the_draw(more):
    """Two draws of 700 and 600 held out: every set by brute force over bytes; none is trained on and held out."""
    flags = ["--data.n_unique=700", "--data.holdout=600", *more]
    a, b = (made(f"--seed={seed}", *flags) for seed in (0, 1))
    found = image_rows(a.data, b.data)
    in_a, in_b = ({image.tobytes() for image in run.data.pool} for run in (a, b))
    held_b = {image.tobytes() for image in b.data.holdout}
    assert {a.data.pool[i].tobytes() for i in found.only_a} == in_a - in_b
    assert {b.data.pool[i].tobytes() for i in found.only_b} == in_b - in_a
    assert {a.data.pool[i].tobytes() for i in found.both} == in_a & in_b
    held = {a.data.holdout[i].tobytes() for i in found.holdout}
    assert held == {image.tobytes() for image in a.data.holdout} & held_b - in_a - in_b
    assert all(map(len, found)) and overlap(a, b, found) is None


def test_what_either_was_trained_on_is_not_held_out():
    """One draw, pools of 20 and 1,700: the long one reaches into the hold-out of 600 of the short one."""
    a, b = made("--data.n_unique=20", "--data.holdout=600"), made("--data.n_unique=1700", "--data.holdout=90")
    found = image_rows(a.data, b.data)
    assert len(found.holdout) == 90 and len(found.only_a) == 0 and len(found.only_b) == 1680
    trained = {image_id(image) for image in b.data.pool}
    assert not trained & {image_id(a.data.holdout[i]) for i in found.holdout}


def folder(out: Path, *, state: str = "done", sha: str | None = None, flags: tuple[str, ...] = ()) -> Path:
    """A run folder as training leaves it, without weights."""
    config = load([*TINY, f"--runtime.out={out}", *flags])
    source = load_images(config.data.source, config.data.image_size)
    with RunStore.open(config) as store:
        fields = {"images_seen": 512, "images_total": 1024, "data_sha256": sha or source.data_sha256}
        store.set_status(state, **fields)
    return store.folder


FOLD = ("--data.fold.index=1",)


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ({"sha": "f" * 64}, r"data_sha256: [0-9a-f]{12} in \w+, f{12} in \w+; only runs that share it can be compared"),
        ({"flags": ("--data.image_size=10",)}, r"data.image_size: 8 in \w+, 10 in \w+; only runs that share it"),
        ({"flags": ("--train.sigma.p_mean=-1",)}, r"train.sigma: law=lognormal p_mean=-1.2 p_std=1.2 in \w+, law=logn"),
        ({"flags": ("--train.sigma.law=fixed", "--train.sigma.value=.5")}, "law=fixed .*value=0.5"),
        ({"flags": ("--data.conditioning=class",)}, r"data.conditioning: none in \w+, class in \w+"),
        ({"flags": ("--data.keys=true",)}, r"data.keys: False in \w+, True in \w+"),
        ({"state": "interrupted"}, r"is interrupted at 512 of 1,024 images_seen; let it end first"),
        ({"state": "failed"}, "is failed at 512 of 1,024 images_seen"),
        ({}, "no weights can be read"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_does_not_belong_together_is_refused_in_one_line(b, message, tmp_path, capsys):
    flags = b.pop("flags", ()) + FOLD
    assert main([str(folder(tmp_path)), str(folder(tmp_path, flags=flags, **b))]) == 2
    said = capsys.readouterr()
    assert re.search(message, said.err) and said.err.count("\n") == 1 and said.err.startswith("scaling.compare: ")
    assert not said.out


@pytest.mark.parametrize(
    ("both", "b", "message"),
    [
        (("--data.conditioning=unique",), FOLD, "a label is one image, and .* were not trained on the same"),
        (("--data.conditioning=random",), ("--seed=1",), r"seed \(of random labels\): 0 in \w+, 1 in"),
        (("--data.keys=true",), ("--data.draw=1",), "keys belong to positions of a draw.*give both the same data.draw"),
    ],
)
def test_labels_and_keys_that_mean_something_else_in_the_other_run_are_refused(both, b, message, tmp_path, capsys):
    assert main([str(folder(tmp_path, flags=both)), str(folder(tmp_path, flags=both + b))]) == 2
    assert re.search(message, capsys.readouterr().err)
    shared = folder(tmp_path, flags=both), folder(tmp_path, flags=(*both, "--model.width=4"))
    assert len(open_runs(*shared)) == 2


def test_no_run_and_no_config_are_refused(tmp_path, capsys):
    run_folder = folder(tmp_path)
    assert main([str(tmp_path / "none"), str(run_folder)]) == 2
    assert "none: no run (it has no config.yaml); name the folder of a run" in capsys.readouterr().err
    tree = yaml.safe_load((run_folder / "config.yaml").read_text())
    (run_folder / "config.yaml").write_text(yaml.safe_dump(tree | {"colour": 1}))
    assert main([str(run_folder), str(run_folder)]) == 2
    said = capsys.readouterr().err
    assert "config.yaml: not read by this code (colour: no such configuration key" in said and said.count("\n") == 1


def test_images_that_changed_since_are_refused(tmp_path, capsys):
    """Both runs agree with each other, the source no longer with them."""
    pair = folder(tmp_path, sha="f" * 64), folder(tmp_path, sha="f" * 64, flags=FOLD)
    assert main([*map(str, pair)]) == 2
    assert "the images of data.source=digits changed since it was trained (ffffffffffff then" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said_after_the_table(halves, tmp_path, capsys):
    assert main([*map(str, halves), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "cannot be written" in said.err and "cosine of a pair" in said.out


def test_help_and_refusals_come_without_torch(tmp_path):
    code = "import sys; from scaling.compare.__main__ import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    for arguments in (["--help"], ["no_run", "no_run"], [str(folder(tmp_path)), str(folder(tmp_path, state="failed"))]):
        assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == 0
