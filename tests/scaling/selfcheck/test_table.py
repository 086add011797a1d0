import json
from io import StringIO
from math import inf, nan

import pytest
from rich.console import Console

from scaling.selfcheck.table import Check, Printer, Row, answered, as_json, failed, near, within


@pytest.mark.parametrize(
    ("value", "ok"), [(1.0, True), (2.0, True), (1.5, True), (0.99, False), (2.01, False), (nan, False), (inf, False)]
)
def test_within_holds_its_ends_and_refuses_what_is_no_number(value: float, ok: bool):
    assert within(value, 1, 2).ok is ok


def test_near_asks_every_value():
    assert near(1.05, 1.0, 0.1) == (1.05, True)
    assert near([1.05, 2.0], [1.0, 2.0], 0.1) == ("1.05 2", True)
    assert not near([1.0, 2.2], [1.0, 2.0], 0.1).ok
    assert not near([1.0, nan], [1.0, 2.0], 0.1).ok
    with pytest.raises(ValueError, match="argument"):
        near([1.0], [1.0, 2.0], 0.1)


def test_an_exception_is_a_miss_that_names_it_and_the_rest_goes_on():
    def broken(on: object):
        raise ZeroDivisionError("three [brackets]")

    rows = [Row("first", "a", broken), Row("second", "b", lambda on: within(on, 0, 1))]
    made = list(answered("group", rows, 0.5))
    assert made[0] == Check("group", "first", "a", "ZeroDivisionError: three [brackets]", False)
    assert made[1] == Check("group", "second", "b", 0.5, True)
    assert "ValueError: no" in failed("group", ValueError("no")).gave and not failed("group", ValueError("no")).ok


def test_json_holds_rows_and_their_count_even_of_nan():
    checks = [Check("g", "i", "1", 1.0, True), Check("g", "i", "1", nan, False), Check("g", "i", "1", "text", True)]
    tree = json.loads(json.dumps(as_json(checks, 2.34), allow_nan=False))
    assert tree["summary"] == {"ok": 2, "miss": 1, "seconds": 2.3}
    assert tree["checks"][0] == {"group": "g", "instrument": "i", "must_give": "1", "gave": 1.0, "ok": True}
    assert [row["gave"] for row in tree["checks"]] == [1.0, "nan", "text"]


@pytest.mark.parametrize("terminal", [False, True])
def test_rows_appear_as_they_come_and_are_plain_without_a_terminal(terminal: bool):
    text = StringIO()
    colours = "standard" if terminal else "auto"
    printer = Printer(Console(file=text, force_terminal=terminal, width=100, color_system=colours))
    checks = [Check("g", "gap ratio", "1 [exact]", 1.0, True), Check("g", "kid", "0", "0.304 [biased]", False)]
    printer.group("g")
    for number, check in enumerate(checks):
        printer.show(check)
        assert check.instrument in text.getvalue() and text.getvalue().count("ok ") == 1
        assert text.getvalue().count("miss") == number
    printer.end_group("g", checks, 1.26)
    printer.end(checks, 1.26)
    assert "1 [exact]" in text.getvalue() and "0.304 [biased]" in text.getvalue()
    assert "g: 1 ok, 1 miss, 1.3 s" in text.getvalue() and "selfcheck: 1 ok, 1 miss, 1.3 s" in text.getvalue()
    assert ("\x1b[" in text.getvalue()) == terminal
