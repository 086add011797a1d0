"""What the page saves: configurations that are the runs they came from, and tables that a spreadsheet may open."""

import csv
import json
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from analysis.report import write_report
from scaling.config import build, load
from scaling.identity import canonical, run_id
from tests.analysis.plain_study import tables
from tests.browser.test_report_page import arrived, every, into_view, one, press

TREES = (  # what a file could spoil: nulls, fractions, lists, whole floats, exponents, names, truth values
    {},
    {"seed": 2**32 - 1, "data": {"n_unique": 300, "noise_draws": 4, "fold": {"index": 1, "of": 3},
     "duplication": {"design": "uniform", "fraction": "1/3", "copies": 8}}, "train": {"ema": None}},
    {"data": {"duplication": {"design": "strata", "levels": [[100, 1], [156, 8]]}, "draw": 0},
     "evaluate": {"at": [0, 64, 4096], "measures": ["loss"], "contexts": ["1/4", "border"]}},
    {"data": {"n_train": 960, "duplication": {"design": "spectrum", "levels": 4, "fix": "n_train"}, "keys": True},
     "model": {"params": 40_489, "skips": "1/2", "attention": True, "channel_mult": [1, 2, 4]}},
    {"train": {"lr": 1e-7, "weight_decay": 1e22, "sigma": {"law": "fixed", "value": 1.0, "p_mean": -1.0}, "epochs": 3}},
    {"data": {"source": "folder:/données/№ 1: #'x' \"y\" \\ {a} [b] 😀", "conditioning": "class"}},
)  # fmt: skip
CELLS = ('=HYPERLINK("http://x/","a")', "+1+cmd", "-2+3", "@SUM(1)", 'a, "b"', "-1.5e3")
SAVED = ('\'=HYPERLINK("http://x/","a")', "'+1+cmd", "'-2+3", "'@SUM(1)", 'a, "b"', "-1.5e3")
SIZES = (40_489, 40_489, 2_743, 2_743, 2_743, 5_681_377)


@pytest.fixture(scope="module")
def runs() -> dict[str, str]:
    """run_id -> the configuration in its records."""
    configs = [build(tree) for tree in TREES]
    return {run_id(config): canonical(config) for config in configs}


@pytest.fixture(scope="module")
def saved_study(runs, tmp_path_factory) -> Path:
    """A run for each configuration, cell and size; the third measured nothing but its loss, which is negative."""
    rows = [
        {"run_id": run, "config": config, "cell_id": cell, "images_seen": 128_000, "params": size, "seed": k,
         "dataset": "digits", "n_unique": 64, "copies": 8}
        | ({"holdout_loss": -0.25} if k == 2 else {"n_memorized": 1000 + k, "n_generated": 2048})
        for k, ((run, config), cell, size) in enumerate(zip(runs.items(), CELLS, SIZES, strict=True))
    ]  # fmt: skip
    return write_report(tables(rows), tmp_path_factory.mktemp("saved") / "out", draws=2)


@pytest.fixture
def saving(chromium, saved_study, tmp_path):
    chromium.get(f"file://{saved_study}")
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    return chromium


def test_a_saved_configuration_is_the_run_it_came_from(saving, runs, tmp_path):
    """Read by the command that the panel names, it has the identity in its name."""
    for link in every(saving, "table[data-name='runs'] td:first-child a"):
        name = link.text
        into_view(saving, link)
        link.click()
        next(button for button in every(saving, "dialog button") if button.text.startswith("save")).click()
        press(saving, Keys.ESCAPE)
        found = load(["--config", str(arrived(tmp_path, f"{name}.yaml"))])
        assert run_id(found) == name and json.loads(canonical(found)) == json.loads(runs[name])
    assert {path.stem for path in tmp_path.glob("*.yaml")} == runs.keys()


def save_runs(saving, folder: Path) -> list[dict[str, str]]:
    tools = one(saving, ".tools:has(input[aria-label='filter runs'])")
    button = next(found for found in every(tools, "button") if found.text == "csv")
    into_view(saving, button)
    button.click()
    path = arrived(folder, "runs.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    path.unlink()
    return rows


def test_the_saved_table_has_numbers_and_no_formula(saving, runs, tmp_path):
    """As csv.DictReader reads it; cells that a spreadsheet would run have an apostrophe, numbers have none."""
    rows = {row["run"]: row for row in save_runs(saving, tmp_path)}
    assert rows.keys() == runs.keys()
    for k, (run, cell, size) in enumerate(zip(runs, SAVED, SIZES, strict=True)):
        row = rows[run]
        assert row["cell"] == cell and int(row["parameters"]) == size and int(row["images seen"]) == 128_000
        assert row["memorized"] == ("" if k == 2 else f"{1000 + k}/2048 · 49 %")
        assert (float(row["hold-out loss"]) == -0.25) if k == 2 else row["hold-out loss"] == ""


def test_the_saved_table_has_the_filtered_rows_in_the_order_shown(saving, runs, tmp_path):
    one(saving, "input[aria-label='filter runs']").send_keys("2\u202f743")
    names = list(runs)[2:5]
    heading = next(cell for cell in every(saving, "table[data-name='runs'] th") if cell.text == "seed")
    for order in (names, names[::-1]):
        into_view(saving, heading)
        one(heading, "button").click()
        assert [row["run"] for row in save_runs(saving, tmp_path)] == order
