"""The part of one data set: what was run in a line, and every figure and table in a section with a heading."""

import re

import pytest
from matplotlib.figure import Figure

from analysis.pages import page
from analysis.pages.study import SECTIONS, _drawn, facts
from analysis.plots import ReportFigure
from tests.analysis.plain_study import tables

pytestmark = pytest.mark.filterwarnings("error")


def rows(**columns) -> list[dict]:
    return [
        {"run_id": f"{p}{s}", "cell_id": f"{p}", "images_seen": t, "params": p, "n_unique": 64, "copies": 8,
         "dataset": "digits"} | columns
        for p in (1000, 40489) for s in range(2) for t in (0, 128_000)
    ]  # fmt: skip


def test_what_was_run_is_counted_once_a_run():
    assert facts(tables(rows())) == (
        "4 runs in 2 cells on digits, 8 evaluations, 1\u202f000 to 40\u202f489 parameters, 64 unique images, "
        "up to 8 copies, up to 128\u202f000 images seen"
    )


def test_what_the_rows_do_not_say_is_left_out():
    unknown = dict.fromkeys(("cell_id", "n_unique", "copies", "dataset"))
    assert (
        facts(tables(rows(**unknown)[:1]))
        == "1 run on unnamed data, 1 evaluation, 1\u202f000 parameters, up to 0 images seen"
    )
    assert facts(tables(rows(copies=1)[:1])).endswith("up to 1 copy, up to 0 images seen")


def test_figures_stand_in_their_section_and_an_unknown_section_is_refused():
    def figure(name: str, section: str) -> ReportFigure:
        return ReportFigure(name, section, Figure(), caption="", alt="")

    found = _drawn([figure("a", "curves"), figure("b", "maps"), figure("c", "curves")], lambda f: page.text(f.name))
    assert list(found) == ["curves", "maps"]
    assert re.search(r'class="figures">a\nc</div>', found["curves"])
    with pytest.raises(KeyError, match="unknown sections"):
        _drawn([figure("a", "nowhere")], lambda f: page.text(f.name))


def test_every_section_has_a_key_of_its_own():
    assert len({key for key, _ in SECTIONS}) == len({heading for _, heading in SECTIONS}) == len(SECTIONS)


def test_a_figure_that_stands_beside_nothing_has_its_words_there():
    """Narrow a stands beside b; c is alone before the wide D, and so is e at the end."""
    parts = [page.Html(f"<figure>{name}</figure>") for name in "abcDe"]
    alone = [page.Html(f'<div class="alone">{parts[k]}</div>') for k in (2, 4)]
    found = page.figures(parts, [False, False, False, True, False])
    assert found == f'<div class="figures">{page.joined([*parts[:2], alone[0], parts[3], alone[1]])}</div>'
