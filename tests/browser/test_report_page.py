"""What a reader does with the page: point, open a run, sort, filter, save, with a mouse, by keyboard, on a phone."""

import json
import re
import time
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from analysis.report import main
from analysis.table import load


def one(page, selector: str):
    return page.find_element(By.CSS_SELECTOR, selector)


def every(page, selector: str) -> list:
    return page.find_elements(By.CSS_SELECTOR, selector)


def press(page, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def focused(page):
    return page.switch_to.active_element


def into_view(page, element) -> None:
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)


def points(page, figure: str) -> list:
    found = every(page, f"#figure-{figure} .marks a")
    assert found, f"no point to click in {figure}"
    return found


def test_nothing_is_fetched_and_nothing_complains(page, study):
    """Every request that Chromium made is for the page itself or for data inside it."""
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    outside = [url for url in asked if not url.startswith(("data:", f"file://{study[1]}/report.html"))]
    assert asked and outside == []
    assert page.get_log("browser") == []
    assert page.execute_script("return document.documentElement.dataset.ready") == "yes"


def pointer(page, element):
    """The mouse over the middle of an element; what lies above it does not matter."""
    into_view(page, element)
    return ActionChains(page).move_to_element(element)


def test_pointing_at_a_point_says_what_stands_there(page):
    marks = points(page, "recovery_by_params")
    labels = {mark.get_attribute("aria-label") for mark in marks}
    told = set()
    for mark in marks[::7]:
        pointer(page, mark).perform()
        tip = one(page, ".tip")
        assert tip.is_displayed()
        said = tip.get_attribute("textContent")  # its text as drawn has plain spaces in its numbers
        (label,) = (label for label in labels if said.startswith(label))
        seen = r"recovered [\d.]+ % \([\d.]+ to [\d.]+ %\)"
        held_out = r"[\d.]+ % \([\d.]+ to [\d.]+ % for a new run\)"
        kind = held_out if said.startswith("predicted without this size") else seen
        assert re.search(rf"parameters, copies \d+: {kind}", said)
        here, there = mark.rect, next(m for m in marks if m.get_attribute("aria-label") == label).rect
        assert abs(here["x"] - there["x"]) < 2 and abs(here["y"] - there["y"]) < 2  # the nearest, or one exactly there
        told.add(label)
    assert len(told) > 3
    ActionChains(page).move_to_element(one(page, "h1")).perform()
    assert not one(page, ".tip").is_displayed()


def test_a_click_leads_to_the_run_its_rows_and_its_whole_configuration(page, study, configurations):
    mark = points(page, "recovery_by_params")[5]
    pointer(page, mark).click().perform()
    panel = one(page, "dialog")
    name = one(panel, "h2").text.removeprefix("Run ")
    assert name in configurations
    (details,) = every(panel, "details")
    page.execute_script("arguments[0].open = true", details)
    assert json.loads(one(details, "pre").text) == configurations[name]
    evals = load(study[0]).evals
    mine = evals[evals["run_id"] == name].sort_values("images_seen")
    shown = [[cell.text for cell in every(row, "td")] for row in every(panel, "tbody tr")]
    assert len(shown) == len(mine)
    for row, record in zip(shown, mine.to_dict("records"), strict=True):
        assert row[0].replace("\u202f", "") == f"{record['images_seen']:.0f}"
        assert row[1].split("/")[0] == f"{record['n_memorized']:.0f}"
        assert row[7] == f"{record['holdout_loss']:.4g}"
    assert f"python -m scaling.train --config {name}.yaml" in panel.text
    assert one(panel, "img.pixels").get_property("naturalWidth") == 8 * 9  # 8 samples of 8 pixels and a line each


def test_a_point_of_several_runs_steps_through_them(page, configurations):
    marks = [mark for mark in points(page, "recovery_by_params") if mark.get_attribute("data-runs")]
    several = min(marks, key=lambda mark: mark.rect["y"])  # the highest stands alone
    runs = {anchor.removeprefix("run-") for anchor in several.get_attribute("data-runs").split()}
    pointer(page, several).click().perform()
    seen = set()
    for _ in runs:
        seen.add(one(page, "dialog h2").text.removeprefix("Run "))
        next(button for button in every(page, "dialog button") if "next" in button.text).click()
    assert seen == runs and len({configurations[run]["model"]["width"] for run in runs}) == 1


def test_by_keyboard_alone(page):
    """Tab reaches a figure, arrows walk on it, Enter opens the run, Escape leads back to the point."""
    points(page, "recovery_by_params")
    stops = every(page, "#figure-recovery_by_params .marks [tabindex='0']")
    assert len(stops) == 1  # one stop a figure, or a reader would tab through hundreds of points
    body = one(page, "body")
    for _ in range(120):
        body.send_keys(Keys.TAB) if focused(page) == body else press(page, Keys.TAB)
        if focused(page) == stops[0]:
            break
    assert focused(page) == stops[0]
    place = stops[0].location["x"]
    press(page, Keys.ARROW_RIGHT)
    assert focused(page) != stops[0] and focused(page).location["x"] > place
    chosen = focused(page)
    press(page, Keys.ENTER)
    assert one(page, "dialog").get_property("open")
    press(page, Keys.ESCAPE)
    assert not one(page, "dialog").get_property("open") and focused(page) == chosen


def test_a_table_is_filtered_by_the_words_of_a_row(page, configurations):
    wanted = [run for run, config in configurations.items() if config["model"]["width"] == 8]
    (table,) = every(page, "table[data-name='runs']")
    search = one(page, "input[aria-label='filter runs']")
    into_view(page, search)
    search.send_keys("40\u202f489")
    left = [row for row in every(table, "tbody tr") if row.is_displayed()]
    assert {one(row, "td").text for row in left} == set(wanted)
    assert (
        f"{len(wanted)} of {len(configurations)} rows" in one(page, ".tools:has(input[aria-label='filter runs'])").text
    )


def test_a_table_is_sorted_by_number_both_ways(page):
    (table,) = every(page, "table[data-name='runs']")
    heading = next(cell for cell in every(table, "th") if cell.text == "hold-out loss")
    at = every(table, "th").index(heading)
    orders = []
    for _ in range(2):
        into_view(page, heading)
        one(heading, "button").click()
        orders.append([float(every(row, "td")[at].text) for row in every(table, "tbody tr")])
    assert orders[0] == sorted(orders[0]) and orders[1] == orders[0][::-1] and len(set(orders[0])) > 2
    assert heading.get_attribute("aria-sort") == "descending"


def test_the_csv_of_a_figure_is_the_one_beside_it(page, study, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    figure = one(page, "#figure-recovery_by_params")
    button = next(button for button in every(figure, "button") if button.text == "csv")
    into_view(page, button)
    button.click()
    saved = arrived(tmp_path, "recovery_by_params.csv")
    assert saved.read_text() == (study[1] / "figures" / "recovery_by_params.csv").read_text()


def test_the_saved_configuration_repeats_the_run(page, study, configurations, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    link = one(page, "table[data-name='runs'] a")
    into_view(page, link)
    name = link.text
    link.click()
    next(button for button in every(page, "dialog button") if button.text.startswith("save")).click()
    assert json.loads(arrived(tmp_path, f"{name}.yaml").read_text()) == configurations[name]  # JSON is YAML


def arrived(folder: Path, name: str) -> Path:
    deadline = time.monotonic() + 20
    while not (folder / name).exists():
        assert time.monotonic() < deadline, f"{name} was not saved: {sorted(p.name for p in folder.iterdir())}"
        time.sleep(0.05)
    return folder / name


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_width_scrolls_sideways_or_cuts_a_figure(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        boxes = page.execute_script(
            "return [...document.querySelectorAll('figure img')].map(i => i.getBoundingClientRect())"
            ".map(b => [b.left, b.right, b.width])"
        )
        assert boxes and all(
            left >= 0 and right <= width and wide > 0.6 * min(width, 430) for left, right, wide in boxes
        )
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_desk_shows_whole_sentences_and_every_section_s_link(page):
    """The table of verdicts ends in a sentence on each: nothing of it, or of the links above, lies beyond the edge."""
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        for found in ("nav", "[aria-label=verdicts]", "[aria-label=questions]", "[aria-label=recommendations]"):
            beyond = "const e = document.querySelector(arguments[0]); return e.scrollWidth - e.clientWidth"
            assert page.execute_script(beyond, found) <= 0, found
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


CONTRAST = """
const light = (rgb) => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (node) => { for (; node; node = node.parentElement) {
  const found = numbers(getComputedStyle(node).backgroundColor);
  if (found.length < 4 || found[3] > 0) return found.slice(0, 3); }
  return [255, 255, 255]; };
return [...document.querySelectorAll('h1, h2, p, li, a, th, td, figcaption, button, summary')]
  .filter(node => node.offsetParent && node.textContent.trim() && !node.closest('.marks')).map(node => {
    const ink = light(numbers(getComputedStyle(node).color).slice(0, 3));
    const [a, b] = [ink, light(behind(node))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), node.tagName + ' ' + node.textContent.slice(0, 30)]; })
  .sort((x, y) => x[0] - y[0])[0];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_asks_for(page, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1; the ratio by its definition of relative luminance."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        least, where = page.execute_script(CONTRAST)
        assert least >= 4.5, where
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_on_paper_there_are_figures_and_no_buttons(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not any(element.is_displayed() for element in every(page, "nav, .tools, .marks a"))
        assert all(element.is_displayed() for element in every(page, "figure img"))
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert len(page.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 50_000


def test_without_scripts_the_figures_and_tables_are_there(new_browser, study):
    still = new_browser(scripts=False)
    still.get(f"file://{study[1] / 'report.html'}")
    assert still.find_elements(By.CSS_SELECTOR, ".tip") == []  # no script ran
    assert len(every(still, "figure img")) > 8 and all(image.is_displayed() for image in every(still, "figure img"))
    mark = points(still, "recovery_by_params")[0]
    target = mark.get_attribute("href").rpartition("#")[2]
    assert one(still, f"tr[id='{target}']").is_displayed()  # a point leads to the row of its run
    assert "Doubling one variable multiplies the odds" in one(still, ".answers").text


def test_hostile_words_of_a_run_are_text_in_its_panel(new_browser, tmp_path):
    from scaling import schema
    from tests.analysis.conftest import write_runs

    hostile = "</script><img src=x onerror=\"document.title='taken'\"><b>bold</b>"
    runs = write_runs(tmp_path / "runs", seeds=1, levels=(3,), widths=(2743, 10405))
    for path in runs.glob(f"*/{schema.RECORDS}"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            config = json.loads(record["evals"]["config"])
            record["evals"].update(family=hostile, cell_id=hostile + path.parent.name,
                                   config=json.dumps({**config, "data": {"source": hostile}}))  # fmt: skip
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main([str(runs), "--out", str(tmp_path / "out"), "--bootstrap", "5"]) == 0
    seen = new_browser()
    seen.get(f"file://{tmp_path / 'out' / 'report.html'}")
    link = one(seen, "table[data-name='runs'] a")
    into_view(seen, link)
    link.click()
    WebDriverWait(seen, 5).until(lambda browser: one(browser, "dialog").get_property("open"))
    assert hostile in one(seen, "dialog dl").text and every(seen, "dialog b") == []
    assert seen.title == "Memorization of diffusion models" and seen.get_log("browser") == []


@pytest.mark.slow
def test_the_cross_of_a_placed_model_leads_to_its_row(new_browser, study, tmp_path):
    audited = load(study[0]).evals.tail(1).assign(run_id="guest", holdout_loss=lambda e: e["holdout_loss"] + 0.1)
    (tmp_path / "audit").mkdir()
    audited.to_csv(tmp_path / "audit" / "evals.csv", index=False)
    words = [str(study[0]), "--place", str(tmp_path / "audit"), "--out", str(tmp_path / "out"), "--bootstrap", "5"]
    assert main(words) == 0
    seen = new_browser()
    seen.get(f"file://{tmp_path / 'out' / 'report.html'}")
    (cross,) = every(seen, "#figure-boundary_placed_holdout .marks a[href='#placed-holdout_loss-0']")
    pointer(seen, cross).perform()
    assert "placed model guest" in one(seen, ".tip").text
    seen.execute_script("arguments[0].focus()", cross)
    press(seen, Keys.ENTER)
    assert not one(seen, "dialog").get_property("open")
    row = one(seen, "tr:target")
    assert row.text.startswith("guest")
    WebDriverWait(seen, 5).until(lambda browser: browser.execute_script(SEEN, row))  # it scrolls there smoothly


SEEN = "const box = arguments[0].getBoundingClientRect(); return box.top >= 0 && box.top < innerHeight"


@pytest.mark.slow
def test_five_hundred_runs_are_a_small_page_that_opens_at_once(new_browser, many_runs):
    """The issue's limits: below 8 MB, and there within 3 s (a machine of two cores; loading, scripts included)."""
    assert many_runs.stat().st_size < 8_000_000
    fast = new_browser()
    started = time.monotonic()
    fast.get(f"file://{many_runs}")
    assert fast.execute_script("return document.documentElement.dataset.ready") == "yes"
    seconds = time.monotonic() - started
    assert len(every(fast, "table[data-name='runs'] tbody tr")) == 500
    assert seconds < 3, seconds


@pytest.mark.slow
def test_a_live_page_loads_itself_again_but_not_under_a_reader(new_browser, study, tmp_path):
    text = (study[1] / "report.html").read_text().replace("<body>", '<body data-refresh="1">', 1)
    (tmp_path / "live.html").write_text(text)
    live = new_browser()
    live.get(f"file://{tmp_path / 'live.html'}")
    live.execute_script("window.same = true")
    link = one(live, "table[data-name='runs'] a")
    into_view(live, link)
    link.click()
    time.sleep(2.5)
    assert live.execute_script("return window.same") and one(live, "dialog").get_property("open")
    press(live, Keys.ESCAPE)
    WebDriverWait(live, 20).until(lambda browser: not browser.execute_script("return window.same"))
