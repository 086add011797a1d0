"""The report's verdicts: does hold-out loss, along size, data or time, rise and fall a second time?"""

from collections.abc import Sequence
from typing import Any

from analysis.descent_curves import FEWEST_X, DescentCurve
from analysis.pages import page, words

SAID = {"present": "double descent", "absent": "none", "cannot_tell": "cannot tell"}


def descent_table(curves: Sequence[DescentCurve]) -> tuple[page.Html | str, list[dict[str, Any]], list[str]]:
    """A row a curve of the study, its verdict and why; the verdicts; or in words why there is no table."""
    rows, found = [], []
    for curve in curves:
        verdict = curve.verdict
        found.append({"axis": curve.axis, "setting": curve.setting, **verdict})
        peak = "–" if verdict["peak_x"] is None else words.whole(verdict["peak_x"])
        rows.append([f"{curve.kind}: along {curve.axis}", curve.setting, SAID[verdict["verdict"]],
                     f"{words.number(verdict['prominence'])}", peak, words.number(verdict["p_value"]),
                     verdict["why"]])  # fmt: skip
    if not rows:
        return "", [], [f"No verdict on double descent: it takes {FEWEST_X} sizes, amounts of data or evaluations."]
    headers = ("curve of hold-out loss", "at", "verdict", "prominence", "peak at", "p-value", "why")
    note = (
        "Search test of measures.md 3.3: a rise and a second fall wherever they may be, against the least favourable "
        "valley. Overfitting alone, a U shape, is none. Prominence is never negative and biased up."
    )
    table = page.table("verdicts", headers, rows, texts=(0, 1, 2, 6))
    return page.joined([table, page.paragraph(note, "note")]), found, []
