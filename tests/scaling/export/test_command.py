"""The command: what it writes, that a repetition changes no byte, and what it refuses in a line."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scaling.export.__main__ import main
from tests.scaling.export.conftest import TINY
from tests.scaling.tiny_run import trained


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def copied(plain, tmp_path) -> Path:
    """The plain run in a place where it may be spoilt."""
    return Path(shutil.copytree(plain.run, tmp_path / "runs" / plain.run.name))


def refused(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("scaling.export: ") and said.err.count("\n") == 1
    return said.err


def test_an_export_has_the_last_measured_weights_and_nothing_of_the_machine(plain):
    files = tree(plain.out)
    assert set(files) == {
        "README.md", "model_index.json", "pipeline.py", "scheduler/scheduler_config.json", "training.yaml",
        "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
    }  # fmt: skip
    ours = load_file(plain.out / "unet" / "diffusion_pytorch_model.safetensors")
    last = load_file(plain.run / "weights" / "512.safetensors")
    assert {f"network.model.{name}" for name in ours} == set(last)
    assert all(torch.equal(ours[name], last[f"network.model.{name}"]) for name in ours)
    for name, content in files.items():
        for machine in (str(plain.run), str(plain.run.parent), str(Path.home()), os.uname().nodename):
            assert machine.encode() not in content, name


def test_repeated_it_finds_the_same_bytes(plain, copied, tmp_path, capsys):
    before = tree(plain.out)
    assert main([str(plain.run), "--out", str(plain.out)]) == 0
    assert f"is in {plain.out} already" in capsys.readouterr().out and tree(plain.out) == before
    (tmp_path / "empty").mkdir()
    assert main([str(copied), "--out", str(tmp_path / "empty")]) == 0  # of a copy, into an empty folder
    assert tree(tmp_path / "empty") == before
    assert not list(tmp_path.rglob("*.tmp*"))


def test_an_export_that_differs_by_a_byte_or_a_file_stays_as_it_is(plain, tmp_path, capsys):
    for change in ("README.md", "samples.png"):
        out = Path(shutil.copytree(plain.out, tmp_path / change))
        with open(out / change, "ab") as file:
            file.write(b"!")
        before = tree(out)
        assert "holds another export; remove it" in refused(capsys, plain.run, "--out", out)
        assert tree(out) == before and sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


def test_samples_come_only_when_asked_for_and_are_those_of_the_run(plain, labelled):
    from PIL import Image

    assert not (plain.out / "samples.png").exists() and "samples.png" not in (plain.out / "README.md").read_text()
    assert "samples.png" in (labelled.out / "README.md").read_text()
    pixels = np.asarray(Image.open(labelled.out / "samples.png"))
    with np.load(labelled.run / "samples.npz", allow_pickle=False) as arrays:
        shown, nearest = arrays["gallery_samples"], arrays["gallery_nearest"]
    assert pixels.shape == (4 * 52, 12 * 52) and len(shown) == 24
    for row, images in enumerate((shown[:12], nearest[:12], shown[12:], nearest[12:])):
        for column, image in enumerate(images):
            tile = pixels[row * 52 + 2 : row * 52 + 50, column * 52 + 2 : column * 52 + 50]
            assert np.array_equal(tile[::6, ::6], image[0]) and np.array_equal(tile[5::6, 5::6], image[0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.yaml").unlink(), "no run"),
        (lambda folder: shutil.rmtree(folder / "model"), "has no model/"),
        (lambda folder: status(folder, state="interrupted"), "is interrupted at 512 of 512 images_seen; let it end"),
        (lambda folder: status(folder, state="failed", reason="loss"), "is failed at"),
        (lambda folder: status(folder, images_seen=480), "no record at 480 images_seen"),
        (lambda folder: (folder / "weights" / "512.safetensors").write_bytes(b"\x08"), "no weights can be read"),
        (lambda folder: (folder / "weights" / "512.safetensors").unlink(), "no weights can be read"),
        (lambda folder: (tensors(folder)).write_bytes(b"\xff" * 64), "no tensors can be read"),
        (lambda folder: cut(tensors(folder)), "no tensors can be read"),
        (lambda folder: tensors(folder).unlink(), "no tensors can be read"),
        (lambda folder: nudge(tensors(folder)), "not the weights that were measured"),
        (lambda folder: reconfigure(folder, "width: 2", "width: 3"), "are not those of width 3"),
        (lambda folder: reconfigure(folder, "width: 2", "width: 1000000000"), "are not those of width"),
        (lambda folder: reconfigure(folder, "blocks: 1", "blocks: 1000000000000"), "are not those of width"),
        (lambda folder: reconfigure(folder, "levels: 3", "levels: 2"), "12 and 18 by its configuration"),
        (lambda folder: reconfigure(folder, "source: digits", "source: /etc/x"), "no source that a run is trained on"),
        (lambda folder: constants(folder, '{"mean": 0, "sigma_data": -1}'), "no constants of a preconditioning"),
        (lambda folder: constants(folder, '{"mean": 0, "sigma_data": NaN}'), "no constants of a preconditioning"),
        (lambda folder: constants(folder, '{"mean": "x"}'), "no constants of a preconditioning"),
        (lambda folder: (folder / "model" / "config.json.lnk").symlink_to("/etc/passwd"), "a symbolic link"),
        (lambda folder: link(folder / "weights" / "512.safetensors"), "a symbolic link"),
        (lambda folder: record(folder, code_version="<script>"), "code_version='<script>' is no hash"),
        (lambda folder: record(folder, channels=None), "channels is empty"),
        (lambda folder: record(folder, n_memorized="<b>"), "str, wanted int"),
        (lambda folder: record(folder, n_memorized=25), "not within 0 and n_generated=24"),
    ],
)  # fmt: skip
def test_a_run_that_is_none_or_was_changed_is_refused(copied, tmp_path, capsys, spoil, message):
    spoil(copied)
    assert message in refused(capsys, copied, "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def tensors(folder: Path) -> Path:
    return folder / "model" / "diffusion_pytorch_model.safetensors"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def nudge(path: Path) -> None:
    """One weight by its last bit."""
    held = load_file(path)
    held["conv_in.bias"][0] = torch.nextafter(held["conv_in.bias"][0], torch.tensor(9.0))
    save_file(held, path, metadata={"format": "pt"})


def status(folder: Path, **changes: object) -> None:
    path = folder / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reconfigure(folder: Path, old: str, new: str) -> None:
    path = folder / "config.yaml"
    text = path.read_text()
    assert text.count(f"{old}\n") == 1, text
    path.write_text(text.replace(f"{old}\n", f"{new}\n"))


def constants(folder: Path, text: str) -> None:
    (folder / "model" / "preconditioning.json").write_text(text)


def link(path: Path) -> None:
    path.rename(path.parents[2] / path.name)
    path.symlink_to(path.parents[2] / path.name)
    (path.parents[2] / path.name).rename(path.parents[2].parent / "runs" / path.name)


def record(folder: Path, **changes: object) -> None:
    path = folder / "evals.jsonl"
    *before, last = [json.loads(line) for line in path.read_text().splitlines()]
    last["evals"] |= changes
    path.write_text("".join(json.dumps(line) + "\n" for line in (*before, last)))


def test_a_family_that_diffusers_has_not_is_refused_with_what_to_do(tmp_path, capsys):
    folder = trained(tmp_path / "runs", *TINY, "--model.family=mlp", "--model.width=8", "--evaluate.measures=[loss]")
    said = refused(capsys, folder, "--out", tmp_path / "out")
    assert "model.family=mlp: diffusers has no such network" in said and "weights/512.safetensors" in said


def test_a_place_that_is_taken_is_refused(plain, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "not empty and no export (it has notes.txt)" in refused(capsys, plain.run, "--out", tmp_path / "taken")
    assert "exists and is no folder" in refused(capsys, plain.run, "--out", tmp_path / "file")
    assert "exists and is no folder" in refused(capsys, plain.run, "--out", tmp_path / "link")
    assert "cannot be written" in refused(capsys, plain.run, "--out", tmp_path / "file" / "below")
    assert "inside the run folder" in refused(capsys, plain.run, "--out", plain.run / "model" / "again")
    assert (tmp_path / "taken" / "notes.txt").read_text() == "mine"


def test_a_run_without_neighbours_has_no_samples_to_show(copied, tmp_path, capsys):
    (copied / "samples.npz").unlink()
    assert "holds no samples with neighbours" in refused(capsys, copied, "--out", tmp_path / "o", "--samples")


def test_wrong_use_and_refusals_need_no_torch(tmp_path):
    code = (
        "import sys\nfrom scaling.export.__main__ import main\n"
        f"assert main([{str(tmp_path)!r}, '--out', 'x']) == 2\n"
        "assert not {'torch', 'diffusers', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and re.search("no run .it has no config.yaml", done.stderr), done.stderr


def test_private_without_push_is_wrong_use(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--out", "out", "--private"])
    assert ended.value.code == 2 and "name the repository" in capsys.readouterr().err
