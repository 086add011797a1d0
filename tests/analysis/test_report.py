import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.pages import page
from analysis.report import main
from scaling import schema

HOSTILE = '<script>alert("x")</script>&\'"'


class Reader(HTMLParser):
    """Tags, attributes and text of a page; every opened element must be closed again."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes, self.open, self.words, self.images = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="session")
def written(runs_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert main([str(runs_folder), "--out", str(out), "--bootstrap", "40"]) == 0
    return out


def test_the_page_refers_to_nothing_outside_itself(written):
    text = (written / "report.html").read_text()
    without_pictures = re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", text)
    assert len(without_pictures) < len(text) / 3
    assert not re.search(r"https?:|url\(|@import|<script src|<link|<iframe", without_pictures)
    for tag, name, value in Reader(text).attributes:
        if name in {"src", "href", "srcset", "data", "action"}:
            assert value.startswith(("data:image/", "#")), (tag, name, value[:40])


def test_every_figure_is_in_the_page_and_in_both_formats_with_its_rows(written):
    page_images = Reader((written / "report.html").read_text()).images
    files = sorted(path.name for path in (written / "figures").iterdir())
    names = {name.rsplit(".", 1)[0] for name in files}
    assert {
        "recovery_by_params", "recovery_by_copies", "memorized_by_params", "losses",
        "boundary_holdout_minimum", "boundary_kid_last", "map_recovery", "training_onsets", "gallery",
        "efficiency_by_copies", "memorized_over_training",
    } <= names  # fmt: skip
    assert files == sorted(f"{name}.{kind}" for name in names for kind in ("png", "svg", "csv"))
    assert len(page_images) == len(names)
    assert all(len(image["alt"]) > 20 for image in page_images)
    for name in names:
        data = (written / "figures" / f"{name}.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">I", data[16:20])[0] > 300


def test_the_summary_says_numbers_with_intervals(written):
    text = Reader((written / "report.html").read_text()).text
    assert re.search(r"between [\d.]+ % \([\d.]+ % to [\d.]+ %\) and \d+ % \(\d+ % to \d+ %\)", text)
    assert re.search(
        r"Doubling .* odds of recovery of .* 1\.\d \(1\.\d to \d(\.\d)?\) for the copies of an image", text
    )
    assert "which may be no effect at all" in text  # two numbers of unique images, moved by the number of strata


def test_fits_json_holds_what_the_page_shows(written):
    fits = json.loads((written / "fits.json").read_text())
    assert [found["name"] for found in fits] == ["recovery", "memorized"]
    assert fits[0]["params"]["b_copies"]["lo"] < 0.9 < fits[0]["params"]["b_copies"]["hi"]
    value = f"{fits[0]['params']['b_copies']['value']:.3g}"
    assert value in Reader((written / "report.html").read_text()).words


def test_counts_stand_beside_their_nulls_and_the_configuration_is_complete(written):
    text = Reader((written / "report.html").read_text()).text
    assert "count · rate · null" in text.replace("\n", " ")
    assert re.search(r"508/1.024 · 50 % · 0\.2 %", text) or re.search(r"\d+/1.024 · \d+ % · 0\.2 %", text)
    assert "data.duplication.levels" in text and "3, 8" in text
    assert '"width": 16' in text


def test_instruments_stand_side_by_side_and_the_unmeasured_are_named(written):
    text = Reader((written / "report.html").read_text()).text
    for heading in ("Instruments side by side", "Onsets"):
        assert text.count(heading) == 2  # the link and the section
    assert re.search(r"0\.9 \(0\.872 to 0\.928\)\s+null 1\.1", text)  # two runs, ideal_distance_se .02 each
    for measure in ("keys", "prompts", "density", "cyclic", "membership", "neighbors"):
        assert f"{measure} in evaluate.measures" in text


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(runs_folder, written, tmp_path):
    assert main([str(runs_folder), "--out", str(tmp_path), "--bootstrap", "40"]) == 0
    assert (tmp_path / "report.html").read_bytes() == (written / "report.html").read_bytes()


@pytest.mark.slow
def test_one_run_is_reported_without_a_curve(make_runs, tmp_path, capsys):
    runs = make_runs(seeds=1, levels=(8,), widths=(40489,))
    assert main([str(runs), "--out", str(tmp_path / "out")]) == 0
    text = Reader((tmp_path / "out" / "report.html").read_text()).text
    assert "No curve can be fitted" in text and "8 rows of 1 run" in text
    assert json.loads((tmp_path / "out" / "fits.json").read_text()) == []


def rewrite(runs: Path, change) -> None:
    """Apply `change(record)` to every record of every run."""
    for path in runs.glob(f"*/{schema.RECORDS}"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            change(record)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_missing_columns_and_files_are_said(make_runs, tmp_path):
    runs = make_runs(seeds=1, levels=(4,), widths=(2743, 40489))

    def without(record: dict) -> None:
        for name in ("n_memorized", "kid", "kid_se", "holdout_loss", "duplication_rate", "config"):
            del record["evals"][name]
        record["strata"] = []

    rewrite(runs, without)
    for path in runs.glob("*/samples.npz"):
        path.unlink()
    assert main([str(runs), "--out", str(tmp_path / "out")]) == 0
    text = Reader((tmp_path / "out" / "report.html").read_text()).text
    for said in (
        "Not measured in these runs: memorized samples", "kernel distance (KID)", "No gallery",
        "evals has no column n_memorized", "No figure of recovery by stratum", "hold no configuration",
        "what share of the output is copied cannot be told",
    ):  # fmt: skip
        assert said in text


def test_hostile_names_are_never_run_and_nothing_memorized_has_an_upper_limit(make_runs, tmp_path):
    runs = make_runs(seeds=2, levels=(4,), widths=(2743, 40489))

    def change(record: dict) -> None:
        record["evals"].update({"dataset": HOSTILE, "cell_id": HOSTILE, "feature_space": HOSTILE, "design": HOSTILE})
        record["evals"]["config"] = json.dumps({"seed": record["evals"]["seed"], HOSTILE: HOSTILE})
        for row in (record["evals"], *record["strata"]):
            row.update(dict.fromkeys(row.keys() & {"n_memorized", "n_basin_recovered", "n_hits", "n_extracted"}, 0))

    rewrite(runs, change)
    assert main([str(runs), "--out", str(tmp_path / "out"), "--bootstrap", "20"]) == 0
    html = (tmp_path / "out" / "report.html").read_text()
    assert HOSTILE not in html and html.count("<script") == 2  # the data and our own
    text = Reader(html).text
    assert HOSTILE in text
    assert re.search(r"0 % \(0 % to 0\.\d+ %\) of the generated samples are memorized", text)
    assert "there is no success" in text and "cannot" in text


@pytest.mark.parametrize("content", [None, "", "run_id,images_seen,params\n"])
def test_an_empty_table_ends_with_one_line_and_2(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "evals.csv").write_text(content)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analysis.report: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_ends_with_one_line(runs_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(runs_folder), "--out", str(tmp_path / "file"), "--bootstrap", "20"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_text_is_escaped_once():
    assert page.text("a<b&c") == "a&lt;b&amp;c"
    assert page.paragraph(page.text("<")) == "<p>&lt;</p>"
