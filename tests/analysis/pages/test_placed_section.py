"""The table of placed models: where one stands, behind which cells and how far, as known by hand."""

import re

from analysis.pages.placed_section import placed_table
from analysis.placed_models import placed_models
from tests.analysis.pictures.test_boundary_figures import rows
from tests.analysis.plain_study import tables

KEPT = {"a0", "b0"}


def cells_of(html: str) -> list[list[str]]:
    body = html.split("<tbody>")[1].split("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]


def table(models, study=None, kept=KEPT) -> str:
    return placed_table(placed_models(study or tables(rows()), tables(models), 0.95), kept, 0.95, "digits-0-")


def test_a_dominated_model_names_its_cell_and_the_smallest_falls():
    """On a (1, .8), b (2, .2), c (5, .1): (4, .3) is behind b alone, 2 in loss or .1 in rate away; (3, .15) is on.

    The error of the difference of two rates of 10^7 samples, .3 and .2, is .00019."""
    html = table(rows({"behind": (4.0, 0.3), "inside": (3.0, 0.15)}))
    behind, inside = cells_of(html)
    assert behind[:2] == ["behind0", "hold-out loss"] and behind[4] == "0.00"
    assert behind[5] == '<a href="#run-b0">b</a> (100 %)'
    assert behind[6].startswith("2 (2 to 2)") and behind[7].startswith("0.1 (0.0996 to 0.1)")
    assert inside[4:] == ["1.00", "–", "none needed", "none needed"]
    assert [f'<tr id="digits-0-placed-holdout_loss-{k}">' in html for k in range(3)] == [True, True, False]


def test_a_model_equal_in_one_column_needs_any_fall_of_it():
    """(3, .2) has the rate of b, whose loss is 1 lower: any lower rate puts it on the boundary."""
    (row,) = cells_of(table(rows({"equal": (3.0, 0.2)})))
    assert row[6].startswith("1 (") and row[7] == "any fall is enough"


def test_a_cell_without_a_run_on_the_page_is_named_and_leads_nowhere():
    assert cells_of(table(rows({"behind": (4.0, 0.3)}), kept={"a0"}))[0][5] == "b (100 %)"


def test_a_run_without_a_cell_is_named_itself():
    alone = tables([row | {"cell_id": None} for row in rows()])
    assert cells_of(table(rows({"behind": (4.0, 0.3)}), alone))[0][5] == '<a href="#run-b0">b0</a> (100 %)'


def test_what_is_not_placed_is_said_also_where_nothing_is():
    html = table(rows({"e": (3.0, 0.15)}, dataset="folder:<b>"))
    assert "<table" not in html and "Model e0 is not placed: its data set is folder:&lt;b&gt;" in html
