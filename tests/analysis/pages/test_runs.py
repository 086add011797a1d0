"""The runs of a page: what its script rebuilds from the study's JSON is what the tables hold."""

import base64
import io
import json
import re
from copy import deepcopy

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.pages import page, runs
from analysis.pages.words import number, percent, whole
from analysis.plots import Mark
from analysis.table import Tables
from scaling.schema import GALLERY
from tests.analysis.plain_study import tables

pytestmark = pytest.mark.filterwarnings("error")


def rebuilt(study: dict, run: str) -> dict:
    """What report.js does with a run's differences, in its own words."""
    whole_one = deepcopy(study["configuration"])
    for path, *values in study["runs"][page.anchor(run)]["differs"]:
        section = whole_one
        for name in path[:-1]:
            section = section[name]
        if values:
            section[path[-1]] = values[0]
        else:
            del section[path[-1]]
    return whole_one


BASE = {"seed": 0, "data": {"n_unique": 64, "fold": None, "duplication": {"levels": [[4, 1], [4, 8]]}},
        "model": {"channel_mult": [1, 2], "attention": False, "width": 8}, "train": {}}  # fmt: skip


def changed(*path_and_value) -> dict:
    *path, last, value = path_and_value
    made = deepcopy(BASE)
    section = made
    for name in path:
        section = section[name]
    section[last] = value
    return made


def without(*path) -> dict:
    made = changed(*path, None)
    section = made
    for name in path[:-1]:
        section = section[name]
    del section[path[-1]]
    return made


CONFIGS = (
    BASE,
    changed("seed", 1),
    changed("data", "fold", {"index": 0, "of": 2}),  # a section where the first has null
    changed("data", "fold", {}),
    without("data", "fold"),  # absent is not null
    without("model"),
    changed("model", "prune", None),  # null is not absent
    changed("model", "attention", 0),  # 0 is not false
    changed("model", "width", 8.0),
    changed("model", "channel_mult", [1, 2, 4]),
    changed("data", "duplication", "levels", [[4, 1]]),
    changed("data", "duplication", None),
    changed("train", "lr", 0.1),
    changed("data.n_unique", 5),  # a key with a dot is one key
    changed("model", "a.b", {"c.d": 1}),
    changed("__proto__", {"toString": 1}),
    {"other": {"tree": [1, {"x": None}]}},
    {},
)


@pytest.mark.parametrize("first", range(len(CONFIGS)))
def test_every_configuration_is_rebuilt_exactly_from_that_of_any_other(first):
    order = [CONFIGS[first], *CONFIGS]
    rows = [
        {"run_id": f"r{k:02d}", "images_seen": 1, "params": 1, "config": json.dumps(config)}
        for k, config in enumerate(order)
    ]
    found = tables(rows)
    study = json.loads(json.dumps(runs.panels(found, runs.kept_runs(found.evals))))
    assert study["configuration"] == CONFIGS[first]
    for row, config in zip(rows, order, strict=True):
        text = json.dumps(rebuilt(study, row["run_id"]), sort_keys=True)  # the text: in Python 0 == False == 0.0
        assert text == json.dumps(config, sort_keys=True)


def test_a_run_without_configuration_says_so_and_the_others_keep_theirs():
    rows = [
        {"run_id": run, "images_seen": 1, "params": 1, "config": text}
        for run, text in (("a", None), ("b", json.dumps(BASE)), ("c", None))
    ]
    found = tables(rows)
    study = runs.panels(found, ["a", "b", "c"])
    assert [study["runs"][page.anchor(run)]["differs"] for run in "abc"] == [None, [], None]
    nothing = tables([{"run_id": "a", "images_seen": 1, "params": 1}])
    assert runs.panels(nothing, ["a"])["configuration"] == {}


def test_the_rows_of_a_panel_are_the_evaluations_in_order():
    rows = [
        {"run_id": "a", "images_seen": t, "params": 40489, "n_generated": 512, "n_memorized": hits,
         "n_null_memorized": 0, "n_basin": 2048, "n_basin_recovered": None, "holdout_loss": loss,
         "kid": -0.00123456, "wall_seconds": 12345.6}
        for t, hits, loss in ((128_000, 256, 0.51234567), (0, 0, 1.0), (2_000, 3, 0.9))
    ]  # fmt: skip
    found = tables(rows)
    panel = runs.panels(found, ["a"])
    shown = panel["runs"]["run-a"]["evaluations"]
    named = dict(zip(panel["columns"], shown[-1], strict=True))
    assert [row[0] for row in shown] == ["0", whole(2000), whole(128_000)]
    assert shown[-1][1] == f"256/512 · {percent(0.5)}" and shown[-1][2] == "0/512 · 0 %"
    assert named["recovered"] is None and named["hold-out loss"] == "0.5123" and named["KID"] == "-0.001235"
    facts = dict(panel["runs"]["run-a"]["facts"])
    assert facts["parameters"] == "40\u202f489" and facts["cell"] == "–" and facts["family"] == "–"
    assert facts["seconds of training and measuring"] == number(12345.6, 4) == "12\u202f350"


def pictures(channels: int, n: int = 20, size: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(channels)
    arrays = (*(rng.integers(0, 255, (n, channels, size, size)).astype(np.uint8) for _ in range(2)),
              np.linspace(0.3, 0.4, n, dtype=np.float32), np.arange(1, n + 1))  # fmt: skip
    return dict(zip(GALLERY, arrays, strict=True))


def with_gallery(gallery: dict, names=("a",)) -> Tables:
    rows = [{"run_id": name, "images_seen": 1, "params": k} for k, name in enumerate(names)]
    return Tables(**{**vars(tables(rows)), "gallery": gallery})


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,")))))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_of_a_run_is_the_pixels_of_its_samples_above_their_nearest_images(channels):
    arrays = pictures(channels)
    found = runs.panels(with_gallery({"a": arrays}), ["a"])["runs"]["run-a"]
    pixels = decoded(found["images"]).reshape(2 * 6, runs.MOST_PAIRS * 6, channels)
    for row, name in enumerate(GALLERY[:2]):
        for k in range(runs.MOST_PAIRS):
            tile = pixels[6 * row : 6 * row + 5, 6 * k : 6 * k + 5].transpose(2, 0, 1)
            np.testing.assert_array_equal(tile, arrays[name][k])
    assert (pixels[5] == 255).all() and (pixels[:, 5] == 255).all()  # white lines between
    ratio = np.linspace(0.3, 0.4, 20)[: runs.MOST_PAIRS]
    assert found["images_said"].count("memorized") == (ratio < 1 / 3).sum()
    assert found["images_said"].startswith("Gap ratio and copies, from the left: 0.30 ×1 memorized; ")


def test_a_run_without_samples_has_no_picture():
    empty = {name: array[:0] for name, array in pictures(1).items()}
    some = {name: array for name, array in pictures(1).items() if name != GALLERY[2]}
    found = runs.panels(with_gallery({"a": empty, "b": some}, "abc"), list("abc"))["runs"]
    assert [one["images"] for one in found.values()] == [None, None, None]


def test_the_samples_of_many_large_images_stay_within_their_bytes(monkeypatch):
    """Sixteen pairs of 3 x 5 x 5 are 2,400 bytes: of ten runs four may be shown, the first and the last among them."""
    monkeypatch.setattr(runs, "MOST_PIXELS", 4 * 2400 + 100)
    names = [f"r{k}" for k in range(10)]
    found = runs.panels(with_gallery({name: pictures(3) for name in names}, names), names)["runs"]
    shown = [name for name in names if found[page.anchor(name)]["images"]]
    assert shown == ["r0", "r3", "r6", "r9"]


@pytest.mark.parametrize(("n", "most"), [(5000, 1000), (7, 3), (10, 10), (3, 10), (1, 1)])
def test_thinning_keeps_the_ends_and_is_even_in_order_of_size(n, most):
    rng = np.random.default_rng(n)
    rows = [{"run_id": f"r{p:05d}", "images_seen": 1, "params": int(p)} for p in rng.permutation(n)]
    kept = [int(run[1:]) for run in runs.kept_runs(tables(rows).evals, most)]
    assert len(kept) == min(n, most) and kept == sorted(kept)
    assert kept[0] == 0 and (most == 1 or kept[-1] == n - 1)
    steps = np.diff(kept)
    assert steps.size == 0 or steps.max() - steps.min() <= 1


def test_thinning_is_said_and_only_then():
    rows = [{"run_id": f"r{p}", "images_seen": 1, "params": p} for p in range(2000)]
    evals = tables(rows).evals
    said = runs.runs_table(evals, runs.kept_runs(evals, 100))
    assert "only 100 of the 2\u202f000 runs, evenly spaced in order of size" in said and said.count("<tr") == 101
    assert "evenly spaced" not in runs.runs_table(evals, runs.kept_runs(evals, 2000))


HOSTILE = (
    '"><script>alert(1)</script>',
    "a b",
    "a'b",
    "../../x",
    "é",
    "",
    " ",
    "run-a",
    "a" * 60,
    "null",
    "x#y",
    "%22",
)


def test_anchors_of_hostile_names_are_unique_and_lead_to_their_rows_and_panels():
    rows = [{"run_id": name, "images_seen": 1, "params": k, "cell_id": name} for k, name in enumerate(HOSTILE)]
    found = tables(rows)
    kept = runs.kept_runs(found.evals)
    html, study = runs.runs_table(found.evals, kept), runs.panels(found, kept)
    anchors = [page.anchor(name) for name in HOSTILE]
    assert len(set(anchors)) == len(HOSTILE) and set(study["runs"]) == set(anchors)
    for name, anchor in zip(HOSTILE, anchors, strict=True):
        assert re.fullmatch(r"run-[0-9A-Za-z_-]{1,64}", anchor)
        assert html.count(f'<tr id="{anchor}"><td class="text"><a href="#{anchor}">{page.text(name)}</a>') == 1
        assert study["runs"][anchor]["name"] == name
    assert "<script" not in html


@pytest.mark.parametrize(
    ("behind", "there", "said"),
    [
        ((), (), "here"),
        (("a",), ("a",), "here"),
        (("x",), (), "here; its part of the page was left out"),
        (("a", "b"), ("a", "b"), "here"),
        (("x", "b"), ("b",), "here; 1 of its 2 runs has a part on the page"),
        (("a", "x", "b"), ("a", "b"), "here; 2 of its 3 runs have a part on the page"),
        (("x", "y"), (), "here; none of its 2 runs has a part on the page"),
    ],
)
def test_a_mark_leads_to_the_runs_that_are_there_and_says_how_many_are_not(behind, there, said):
    found = runs.leading_to_kept(Mark(Figure().subplots(), 0, 0, "here", behind), {"a", "b"}, "digits-0-")
    assert (found.runs, found.said, found.link) == (there, said, "")


def test_the_mark_of_a_placed_model_leads_to_its_row():
    mark = Mark(Figure().subplots(), 0, 0, "here", link="placed-kid-0")
    found = runs.leading_to_kept(mark, set(), "digits-0-")
    assert (found.runs, found.said, found.link) == ((), "here", "digits-0-placed-kid-0")
    assert page.mark(0, 0, found.said, found.runs, found.link).startswith('<a href="#digits-0-placed-kid-0" style')


def test_what_leads_to_a_run_that_is_not_there_is_plain_text():
    assert runs.linked("a<b", ["x", "a", "b"], {"a", "b"}) == '<a href="#run-a">a&lt;b</a>'
    assert runs.linked("a<b", ["x"], {"a", "b"}) == "a&lt;b"
