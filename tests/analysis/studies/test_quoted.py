"""Numbers in pages: what a page quotes is what the tables give, to the letter."""

import json
from pathlib import Path

import pytest

from analysis.studies.__main__ import known, main, numbers, pages
from analysis.studies.quoted import count, filled, interval, number, quoted, share
from analysis.studies.study import NUMBERS

RESULTS = Path(__file__).resolve().parents[3] / "results"
ROOT = RESULTS.parent
STUDIES = [name for name in known() if (RESULTS / name / NUMBERS).exists()]


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.7349, "1.7"), (0.03449, "0.034"), (12345.0, "12,000"), (0.0, "0"), (-0.0261, "-0.026"), (float("nan"), "none"),
     (None, "none"), (0.998, "1.0"), (99.7, "100")],
)  # fmt: skip
def test_numbers_have_two_digits(value, said):
    assert number(value) == said


def test_intervals_shares_and_counts():
    assert interval(1.734, 1.61, None) == "1.7 (1.6 to no limit)"
    assert interval(None, 1, 2) == "cannot tell"
    assert interval(0.0, float("-inf"), float("inf")) == interval(1.7, None, None) == "cannot tell"
    assert share(0.8512, 0.8312, 0.87) == "85 % (83 to 87)" and share(0.0, 0.0, 0.0025) == "0 % (0 to 0.25)"
    assert count(3660) == "3,660"


def test_a_page_is_filled_in_place_and_again_without_change():
    page = "chi <!--=a/chi-->old<!--/-->, twice <!--=a/chi--><!--/-->; <!-- a comment --> stays"
    made = filled(page, {"a/chi": "0.76"}, "page")
    assert made == "chi <!--=a/chi-->0.76<!--/-->, twice <!--=a/chi-->0.76<!--/-->; <!-- a comment --> stays"
    assert filled(made, {"a/chi": "0.76"}, "page") == made
    assert list(quoted(made)) == [("a/chi", "0.76")] * 2


def test_a_number_that_no_study_gives_is_refused():
    with pytest.raises(ValueError, match=r"page: quotes a/psi, which no study gives; did you mean a/chi"):
        filled("<!--=a/psi-->1<!--/-->", {"a/chi": "1", "b/chi": "2"}, "page")


def test_every_quoted_number_is_the_one_of_its_study():
    """README, docs and results; and a page of each study quotes some, so the test cannot pass on nothing."""
    known_numbers, seen = numbers(ROOT), set()
    for page in pages(ROOT):
        text = page.read_text(encoding="utf-8")
        assert filled(text, known_numbers, str(page)) == text, f"{page}: run make studies-figures"
        seen |= {name.split("/")[0] for name, _ in quoted(text)}
    assert seen == set(STUDIES) and STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_numbers_come_from_the_tables_that_are_committed(name):
    made = json.loads((RESULTS / name / NUMBERS).read_text(encoding="utf-8"))
    assert made["tables"] == known()[name].fingerprint(RESULTS), f"{name}: tables changed; run make studies-figures"


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_numbers_are_made_again_from_the_tables(name):
    study, folder = known()[name], RESULTS / name
    made = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))["numbers"]
    assert dict(study.numbers(study.tables(RESULTS), folder)) == made


def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--root", str(tmp_path)]) == 2
    assert "no study; there are" in capsys.readouterr().err
