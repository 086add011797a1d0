"""Pipelines whose images are not those of the data: refused in a line with a remedy, or brought to one shape."""

import json
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDPMPipeline
from PIL import Image

from analysis.table import load
from scaling.audit import main
from scaling.audits.pipeline import sample_generator
from scaling.data.pixels import fit
from tests.scaling.audits.planted import HELD, digits, save
from tests.scaling.audits.test_pipeline import STEPS, gap_ratios, network, scheduler

SAMPLES, COUNT = 6, 12
SHAPES = {
    "larger": {"sample_size": 16},
    "oblong": {"sample_size": [8, 16]},
    "listed": {"sample_size": [8, 8]},
    "colour": {"in_channels": 3, "out_channels": 3},
    "grey": {},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root, images = tmp_path_factory.mktemp("shapes"), digits()
    tinted = np.stack([images[:COUNT], images[:COUNT] // 2, images[:COUNT]], axis=3)
    for name, pixels in (("train", images[:COUNT]), ("tinted", tinted),
                         ("grey_in_colour", np.repeat(images[:COUNT, ..., None], 3, axis=3))):  # fmt: skip
        save(root / name, pixels)
    save(root / "held", images[HELD][:COUNT])
    for name, shape in SHAPES.items():
        DDPMPipeline(network(**shape), scheduler()).save_pretrained(root / name)
    return root


def words(place: Path, name: str, data: str, *options: str) -> list[str]:
    return [str(place / name), "--data", f"folder:{place / data}", "--samples", f"{SAMPLES}", "--basin-images", "0",
            *options]  # fmt: skip


def audited(place: Path, out: Path, name: str, data: str, *options: str) -> dict:
    held = ("--holdout-data", f"folder:{place / 'held'}", "--out", str(out))
    assert main(words(place, name, data, *held, *options)) == 0
    return json.loads((out / "audit.json").read_text())


def samples(place: Path, name: str) -> np.ndarray:
    """What the pipeline makes, by diffusers alone: [S C H W] in -1 to 1."""
    pipeline = DDPMPipeline.from_pretrained(place / name)
    pipeline.set_progress_bar_config(disable=True)
    made = [pipeline(generator=[sample_generator(0, at)], num_inference_steps=STEPS, output_type="np").images
            for at in range(SAMPLES)]  # fmt: skip
    return np.moveaxis(np.concatenate(made), 3, 1) * 2.0 - 1


@pytest.mark.parametrize(
    ("name", "data", "options", "said"),
    [
        ("larger", "train", [], "000.png has 8x8 pixels, the samples 16x16; if the model was trained on them cut to "
         "squares and resized, say --image-size 16"),
        ("larger", "train", ["--image-size", "8"], " makes images of 16x16; leave it out, or give 16"),
        ("oblong", "train", [], "sample_size=[8, 16], in_channels=1; squares of 2 to 1024 pixels with 1 or 3 channels "
         "are audited: draw samples with it and give their folder instead"),
        ("grey", "tinted", [], "colour images, grey samples; make them grey in the way the model was trained on"),
    ],
)  # fmt: skip
def test_a_shape_that_does_not_fit_is_one_line_with_a_remedy(place, capsys, name, data, options, said):
    assert main(words(place, name, data, *options)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("scaling.audit: ")
    assert said in line


def test_the_remedy_of_a_larger_model_resizes_the_images(place, tmp_path):
    """Samples of 16 by 16 against the training images brought to 16 by 16, by brute force."""
    made = audited(place, tmp_path, "larger", "train", "--image-size", "16")
    images = np.stack([np.asarray(fit(Image.fromarray(image), 16)) for image in digits()[:COUNT]])
    expected = gap_ratios(samples(place, "larger"), images[:, None] / 127.5 - 1)
    np.testing.assert_allclose([row["gap_ratio"] for row in made["samples"]], expected, atol=1e-4)
    assert load(tmp_path).evals["image_size"].iloc[0] == 16


def test_a_colour_model_sees_grey_images_as_three_equal_channels(place, tmp_path):
    made = audited(place, tmp_path, "colour", "train")
    images = np.repeat(digits()[:COUNT, None], 3, axis=1) / 127.5 - 1
    expected = gap_ratios(samples(place, "colour"), images)
    np.testing.assert_allclose([row["gap_ratio"] for row in made["samples"]], expected, atol=1e-4)
    assert load(tmp_path).evals["channels"].iloc[0] == 3
    assert [note.partition(" are grey")[0] for note in made["notes"] if "three equal channels" in note] == [
        "the images of --data", "the images of --holdout-data",
    ]  # fmt: skip


def test_a_grey_model_takes_grey_images_that_are_stored_in_colour(place, tmp_path):
    of_grey, of_colour = (
        audited(place, tmp_path / data, "grey", data)["samples"] for data in ("train", "grey_in_colour")
    )
    assert [row["gap_ratio"] for row in of_grey] == [row["gap_ratio"] for row in of_colour]


def test_a_square_written_as_a_list_is_a_square(place, tmp_path):
    of_list, of_number = (audited(place, tmp_path / name, name, "train")["samples"] for name in ("listed", "grey"))
    assert [row["gap_ratio"] for row in of_list] == [row["gap_ratio"] for row in of_number]
