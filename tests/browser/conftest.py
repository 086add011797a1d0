"""A real headless Chromium (Debian's, with its driver) that looks at a report made from a simulated study."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis.report import main
from scaling import schema
from tests.analysis.conftest import gallery, run_rows, write_runs

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (  # no word to hosts of its maker
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--window-size=1280,900",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def new_browser() -> Iterator[Callable]:
    """new_browser(scripts=True): a Chromium of its own, closed at the end."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium or chromedriver on PATH: `make setup-browser` installs Debian's")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    opened = []

    def new(*, scripts: bool = True):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in QUIET:
            options.add_argument(flag)
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        made = webdriver.Chrome(options=options, service=Service(DRIVER))
        made.set_page_load_timeout(60)
        opened.append(made)
        return made

    yield new
    for made in opened:
        made.quit()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The RUNS folder, and the folder of its report."""
    root = tmp_path_factory.mktemp("seen")
    runs = write_runs(root / "runs", seeds=2, levels=(4,))
    assert main([str(runs), "--out", str(root / "out"), "--bootstrap", "20"]) == 0
    return runs, root / "out"


@pytest.fixture(scope="session")
def chromium(new_browser):
    return new_browser()


@pytest.fixture
def page(chromium, study):
    """The report, freshly loaded in a window of 1280 by 900."""
    chromium.set_window_size(1280, 900)
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(f"file://{study[1] / 'report.html'}")
    return chromium


@pytest.fixture(scope="session")
def configurations(study) -> dict[str, dict]:
    """run_id -> the configuration in its records."""
    found = {}
    for run in study[0].iterdir():
        for record in schema.records(run / schema.RECORDS):
            found[run.name] = json.loads(record["evals"]["config"])
    return found


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 500 runs: four sizes, 125 seeds, three evaluations each."""
    root, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(3)
    for params in (2743, 10405, 40489, 159697):
        for seed in range(125):
            records = run_rows(params, seed, "spectrum", 4, rng, clock=(0, 8_000, 128_000))
            run = root / "runs" / records[0]["evals"]["run_id"]
            run.mkdir(parents=True)
            (run / schema.RECORDS).write_text("".join(json.dumps(record) + "\n" for record in records))
            np.savez(run / "samples.npz", **gallery(rng))
    assert main([str(root / "runs"), "--out", str(root / "out"), "--bootstrap", "20"]) == 0
    return root / "out" / "report.html"
