"""The page under a thumb, 360 pixels wide: a tap on a point opens the run, and nothing is wider than the screen."""

import pytest
from selenium.webdriver.common.by import By

from tests.browser.test_report_page import every, into_view, one, points

pytestmark = pytest.mark.slow  # the page's own file holds the width of 360 px in every run of the tests
WIDE, HIGH = 360, 740
BEYOND = """
const [root, width] = arguments;
return [...root.querySelectorAll('*')].filter(node => !node.parentElement.closest('.scroll, pre, nav'))
  .map(node => [node.getBoundingClientRect(), node])
  .filter(([box]) => box.width && (box.left < -.5 || box.right > width + .5))
  .map(([box, node]) => `${node.tagName} ${box.left} to ${box.right}: ${node.textContent.slice(0, 40)}`);
"""
MIDDLE = "const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]"


@pytest.fixture
def phone(page):
    """The page with the screen and the touch of a phone; its window is restored afterwards."""
    metrics = {"width": WIDE, "height": HIGH, "deviceScaleFactor": 3, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 1})
    page.refresh()
    yield page
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def tap(phone, element) -> None:
    """A finger in the middle of an element, wherever that is on the screen."""
    into_view(phone, element)
    x, y = phone.execute_script(MIDDLE, element)
    touch = [{"x": x, "y": y}]
    phone.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": touch})
    phone.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def fits(phone) -> list[str]:
    """What of the page, or of the open panel, lies beyond the screen."""
    panel = one(phone, "dialog")
    root = panel if panel.get_property("open") else one(phone, "body")
    assert phone.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", root) <= 0
    return phone.execute_script(BEYOND, root, WIDE)


def test_a_tap_on_a_point_opens_its_run_and_all_of_it_fits(phone, configurations):
    assert phone.execute_script("return [innerWidth, 'ontouchstart' in window]") == [WIDE, True]
    assert fits(phone) == []
    tap(phone, points(phone, "recovery_by_params")[5])
    panel = one(phone, "dialog")
    assert panel.get_property("open") and one(panel, "h2").text.removeprefix("Run ") in configurations
    box = panel.rect
    assert box["x"] >= 0 and box["x"] + box["width"] <= WIDE and box["height"] <= HIGH
    phone.execute_script("arguments[0].open = true", one(panel, "details"))
    assert fits(phone) == []
    image = one(panel, "img.pixels").rect
    assert image["width"] > WIDE / 2  # the samples are seen, not only there
    tap(phone, next(button for button in every(panel, "button") if button.text == "close"))
    assert not panel.get_property("open")


def test_a_tap_on_the_name_of_a_run_and_on_enlarge_opens_a_panel_that_fits(phone):
    tap(phone, one(phone, "table[data-name='runs'] td a"))
    assert one(phone, "dialog h2").text.startswith("Run ") and fits(phone) == []
    tap(phone, phone.find_element(By.XPATH, "//dialog//button[text()='close']"))
    tap(phone, one(phone, "#figure-losses .tools button"))
    assert one(phone, "dialog").get_property("open") and fits(phone) == []


def test_buttons_are_as_large_as_a_finger_needs(phone):
    """WCAG 2.2, 2.5.8: 24 by 24 pixels."""
    tap(phone, points(phone, "recovery_by_params")[5])
    sizes = [button.rect for button in every(phone, "dialog button, dialog summary")]
    assert sizes and min(min(size["width"], size["height"]) for size in sizes) >= 24
