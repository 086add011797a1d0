"""The page of a study with images left out, prompts and spurious groups: each gallery is there, in words and files."""

import base64
import re
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pandas
import pytest

from analysis.report import MOST_NUMBERS, write_report
from analysis.table import load
from tests.analysis.pictures.drawn_folds import GAIN, HELD_OUT, IMAGES, SPURIOUS, folded_tables, write_folded

GALLERIES = {"gallery": 0, "images_memorized": 1, "images_copies_and_new": 1, "images_spurious": 1, "scores_images": 1,
             "prompts": 0}  # fmt: skip
SCORES = {"scores_by_copies", "scores_quadrants", "scores_by_density"}
FIGURE = re.compile(
    r'<figure id="figure-(?P<name>\w+)".*?<img src="data:image/(?P<kind>[a-z+]+);base64,(?P<data>[^"]*)" '
    r'alt="(?P<alt>[^"]*)">(?P<rest>.*?)</figure>',
    re.S,
)


class Shown(NamedTuple):
    """A figure as the page has it."""

    kind: str
    data: bytes
    alt: str
    rest: str  # marks, caption and numbers, as markup


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("galleries")
    write_report(load(write_folded(root / "tables")), root / "out", draws=2)
    return root / "out"


@pytest.fixture(scope="module")
def shown(out) -> dict[str, Shown]:
    text = (out / "report.html").read_text()
    return {
        found["name"]: Shown(found["kind"], base64.b64decode(found["data"]), unescape(found["alt"]), found["rest"])
        for found in FIGURE.finditer(text)
    }


def test_every_gallery_and_score_is_on_the_page(shown):
    assert {*GALLERIES, *SCORES} <= shown.keys()


def test_text_alternatives_say_what_was_planted(shown):
    """Of the plan: gains of 0, 2 and 5 nats, a group of 30 samples, 8 of 16 samples copies, every other prompt back."""
    means = dict(re.findall(r"(-?[\d.]+) at (\d)", shown["scores_by_copies"].alt))
    for mean, copies in means.items():
        assert float(mean) == pytest.approx(GAIN[int(copies)], abs=0.1)
    assert len(means) == len(GAIN)
    assert f"a table of {IMAGES * len(GAIN)} images" in shown["scores_quadrants"].alt.lower()
    assert f"first came {SPURIOUS[0]} times" in shown["images_spurious"].alt
    assert shown["images_copies_and_new"].alt.startswith("8 samples that are copies and 8 that are new")
    assert shown["prompts"].alt == "12 prompts with completion and original, 6 of them recovered."
    hits = folded_tables().images.groupby("image_id")["n_hits"].sum().max()
    assert f"generated most often: {hits:.0f} hits" in shown["images_memorized"].alt


def test_the_embedded_picture_is_the_file_beside_the_page(shown, out):
    """Photographs as PNG, charts as SVG."""
    for name, figure in shown.items():
        kind = "png" if name in GALLERIES else figure.kind.removesuffix("+xml")
        assert figure.kind.removesuffix("+xml") == kind, name
        assert figure.data == (out / "figures" / f"{name}.{kind}").read_bytes(), name


def test_every_figure_of_the_page_has_its_rows_beside_it(shown, out):
    """And in the page: the first of them where there are many."""
    files = {kind: {path.stem for path in (out / "figures").glob(f"*.{kind}")} for kind in ("png", "svg", "csv")}
    assert files["png"] == files["svg"] == files["csv"] == shown.keys()
    for name, figure in shown.items():
        rows = (out / "figures" / f"{name}.csv").read_text().splitlines()
        assert len(rows) > 1, name
        (numbers,) = re.findall(r'<pre class="csv"><code>(.*?)</code>', figure.rest, re.S)
        assert unescape(numbers).splitlines()[: MOST_NUMBERS + 1] == rows[: MOST_NUMBERS + 1], name


def test_a_picture_leads_to_the_runs_that_made_it(shown):
    """Of spurious samples to the run that emits them, of images to the two runs that trained on them."""
    study = folded_tables()
    first = study.evals["run_id"].iloc[0]
    marks = re.findall(r'<a href="#run-(\w+)"[^>]*title="([^"]*)"', shown["images_spurious"].rest)
    assert (first, SPURIOUS[0]) in {(run, int(re.search(r"(\d+) samples?", said)[1])) for run, said in marks}
    trained = study.images[study.images["in_training"].eq(True)].groupby("image_id")["run_id"].agg(set)
    found = re.findall(r'data-runs="([^"]*)"[^>]*title="image (\w+):', shown["images_memorized"].rest)
    assert found and all({run.removeprefix("run-") for run in runs.split()} == trained[image] for runs, image in found)


def test_scores_leave_out_what_was_never_in_training(out):
    rows = pandas.read_csv(out / "figures" / "scores_by_density.csv", dtype={"image_id": str})
    assert len(rows) == IMAGES * len(GAIN) == len(folded_tables().pixels) - HELD_OUT
    assert not rows["image_id"].str.startswith("held").any()
