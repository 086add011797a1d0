"""Hostile names of images, their roles, runs and placed models: in titles of marks and captions they stay texts."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report import write_report
from analysis.table import Tables
from scaling import schema
from tests.analysis.pictures.drawn_folds import folded_tables
from tests.analysis.plain_study import tables as plain_tables
from tests.security.test_report_escapes import ATTRIBUTES, HOSTILE, MARK, SAID, SCRIPT, TAGS, Page

pytestmark = pytest.mark.slow


def hostile(name: str) -> str:
    """The same name for the same thing, and unlike for unlike ones."""
    return f"{name} {HOSTILE[sum(name.encode()) % len(HOSTILE)]}"


def hostile_study() -> Tables:
    """The study with folds, its runs and images renamed; the held-out images have a role of no known name."""
    study = folded_tables()
    named = {
        name: frame.assign(**{column: frame[column].map(hostile, na_action="ignore")
                              for column in ("run_id", "cell_id", "image_id") if column in frame})
        for name in schema.TABLES if len(frame := getattr(study, name))
    }  # fmt: skip
    images = named["images"]
    role = images["role"].where(images["role"] != "holdout", HOSTILE[0])
    return replace(
        study, **named | {"images": images.assign(role=role)},
        pixels={hostile(image): pixels for image, pixels in study.pixels.items()},
        gallery={hostile(run): arrays for run, arrays in study.gallery.items()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "out"
    study = hostile_study()
    study = replace(study, evals=study.evals.assign(kid=0.1, kid_se=0.01))
    guest = {"run_id": hostile("guest"), "images_seen": 640, "params": 40_489, "kid": 0.2, "kid_se": 0.01,
             "n_memorized": 5, "n_generated": 64, "feature_space": "pixels"}  # fmt: skip
    write_report(study, folder, draws=2, place=plain_tables([guest]))
    return folder


@pytest.fixture(scope="module")
def read(out) -> Page:
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_the_page_has_our_tags_attributes_and_script_only(read):
    assert {tag for tag, _ in read.tags} <= TAGS
    assert {name for _, attributes in read.tags for name in attributes} <= ATTRIBUTES
    assert read.scripts[1:] == [SCRIPT] and "<" not in read.scripts[0]
    for _, attributes in read.tags:
        assert not any(value and MARK in value for name, value in attributes.items() if name not in SAID)


def test_names_of_images_stand_in_the_marks_as_they_are(read):
    """Of every gallery of ranked images, and of the points of the scores."""
    titles = [found["title"] for _, found in read.tags if found.get("title")]
    named = {hostile(image) for image in folded_tables().pixels}
    shown = {name for name in named if any(f"image {name}: " in title for title in titles)}
    assert len(shown) == sum(not name.startswith("held") for name in named)
    assert {word for word in HOSTILE for name in shown if name.endswith(word)} == set(HOSTILE)


def test_the_name_of_a_placed_model_stands_in_caption_and_mark(read):
    name = hostile("guest")
    assert f"placed model {name}: " in read.text
    assert any(f"placed model {name}: " in (found.get("title") or "") for _, found in read.tags)
