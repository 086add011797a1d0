"""The five sentences at the head of a page, from answers, fits and verdicts that are known."""

import re
from types import SimpleNamespace

import pandas
import pytest

from analysis.fitting.result import Estimate
from analysis.pages import headlines
from analysis.pages.sections import cell_rates
from tests.analysis.plain_study import tables

pytestmark = pytest.mark.filterwarnings("error")


# -- how much -----------------------------------------------------------------------------------------------------


def counted(*cells: tuple[str, int, int | None]) -> pandas.DataFrame:
    rows = [
        {"run_id": name, "cell_id": name, "images_seen": 1, "params": 1, "n_generated": 512, "n_memorized": hits,
         "n_null_memorized": null}
        for name, hits, null in cells
    ]  # fmt: skip
    return cell_rates(tables(rows).evals, 0.95)


def test_the_least_and_the_most_memorized_cell_are_told_with_their_intervals():
    """Wilson: 0 of 512 ends at .74 %, 256 of 512 is 45.7 % to 54.3 %; the nulls 1 and 3 of 512 are .39 % together."""
    said = headlines.amount(counted(("a", 40, 1), ("b", 0, 3), ("c", 256, None)), 0.95)
    assert "between 0 % (0 % to 0.74 %) and 50 % (46 % to 54 %) of the generated samples are memorized" in said
    assert said.endswith("(95 % intervals; the same test against images never trained on finds 0.39 %).")


def test_one_cell_is_no_range_and_a_null_that_was_not_measured_is_not_told():
    said = headlines.amount(counted(("a", 256, None)), 0.95)
    assert said == "At the last evaluation 50 % (46 % to 54 %) of the generated samples are memorized (95 % interval)."


def test_without_counts_nothing_is_claimed():
    assert "cannot be told" in headlines.amount(counted(("a", None, None)), 0.95)


# -- the law ------------------------------------------------------------------------------------------------------


def fitted(status="ok", message="", name="recovery", **slopes: Estimate):
    params = {f"b_{variable}": slope for variable, slope in slopes.items()}
    result = SimpleNamespace(status=status, message=message, params=params, law=SimpleNamespace(variables=list(slopes)))
    return SimpleNamespace(name=name, title="Recovery", result=result)


def test_a_slope_is_told_as_the_factor_of_a_doubling():
    """Odds go as r^b: slopes 1, -1 and 2 of ln r double, halve and quadruple them."""
    said = headlines.law([fitted(copies=Estimate(1.0, 0.1, -1.0, 2.0), params=Estimate(2.0, 0.1, 1.0, 3.0))], 0.9)
    assert said.startswith("Doubling one variable multiplies the odds of recovery of a training image by: ")
    assert "2 (0.5 to 4) for the copies of an image, which may be no effect at all; 4 (2 to 8) for" in said
    assert said.endswith("for the number of parameters (90 % intervals).")


@pytest.mark.parametrize(
    ("slope", "told"),
    [
        (Estimate(None, None, 1.0, None), "at least 2 for the images seen"),
        (Estimate(None, None, None, 1.0), "at most 2 for the images seen"),
        (Estimate(None), "an unknown factor for the images seen"),
        (Estimate(3.0, 0.1, 2.0, None), "at least 4 for the images seen"),
        (Estimate(0.0, 0.1, 0.0, 1.0), "1 (1 to 2) for the images seen, which may be no effect at all"),
        (Estimate(0.5, 0.1, 0.1, 1.0), "1.4 (1.1 to 2) for the images seen"),
        (Estimate(8.0, 0.1, 7.0, 12.0), "260 (130 to 4\u202f100) for the images seen"),  # 2^8, 2^7 and 2^12
    ],
)
def test_an_effect_without_limits_is_a_bound_and_never_a_value(slope, told):
    said = headlines.effect("images_seen", slope)
    closer = None in (slope.value, slope.lo, slope.hi)
    assert said == (f"{told}, which these runs cannot tell closer" if closer else told)


def test_of_two_curves_the_first_that_was_fitted_is_told():
    lost = fitted("not_identifiable", "there is no success")
    said = headlines.law([lost, fitted("at_bound", name="memorized", exposures=Estimate(1.0, 0.1, 0.5, 1.5))], 0.95)
    assert "odds of a memorized sample by: 2 (1.4 to 2.8)" in said
    assert headlines.law([lost], 0.95) == "No curve can be fitted: recovery: there is no success."
    assert "too few or too alike" in headlines.law([], 0.95)


# -- the boundary -------------------------------------------------------------------------------------------------


def answer(question: str, **changed) -> dict:
    return {"question": question, "answerable": True, "value": 4.0, "lo": 2.0, "hi": 8.0, "extrapolated": False,
            "why": "at params 40\u202f489 (median); law"} | changed  # fmt: skip


def test_copies_are_told_before_parameters_and_those_before_images():
    three = [answer("min_unique", value=500), answer("max_params", value=9999), answer("max_copies")]
    assert headlines.boundary(three, 0.9) == (
        "By the fitted surface up to 4 copies keep an image's recovery below 1 %, at params 40\u202f489 (median) "
        "(90 % interval of the limit: 2 to 8)."
    )
    three[2]["answerable"] = False
    assert "up to 9\u202f990 parameters the memorized share" in headlines.boundary(three, 0.9)
    three[1]["answerable"] = False
    assert "from 500 unique images on" in headlines.boundary(three, 0.9)
    three[0]["answerable"] = False
    assert "cannot be told" in headlines.boundary(three, 0.9) and "cannot be told" in headlines.boundary([], 0.9)


def test_an_extrapolation_and_open_ends_are_said():
    said = headlines.boundary([answer("max_copies", hi=None, extrapolated=True, why="at most 4 copies; law")], 0.9)
    assert "up to 4 copies" in said and said.endswith(
        "below 1 % (90 % interval of the limit: 2 to no limit). This lies outside the data."
    )
    without = headlines.boundary([answer("max_copies", lo=None, hi=None)], 0.9)
    assert "up to 4 copies" in without and "90 %" not in without


def test_of_a_limit_the_whole_number_below_it_is_told():
    """6.96 copies: 7 would be too many; 761.2 images: 761 would be too few."""
    copies, images = answer("max_copies", value=6.96, lo=6.02, hi=8.12), answer("min_unique", value=761.2)
    assert "up to 6 copies" in (said := headlines.boundary([copies], 0.95)) and "of the limit: 6.02 to 8.12)" in said
    assert "from 762 unique images on" in headlines.boundary([images], 0.95)


# -- double descent -----------------------------------------------------------------------------------------------


def verdict(axis: str, found: str, **peak) -> dict:
    return {"axis": axis, "verdict": found, "peak_x": None, "peak_lo": None, "peak_hi": None} | peak


def test_verdicts_are_counted_along_each_axis_and_peaks_told_with_their_interval():
    said = headlines.descent([
        verdict("images_seen", "absent"),
        verdict("params", "present", peak_x=16000, peak_lo=8000, peak_hi=32000), verdict("params", "absent"),
        verdict("params", "cannot_tell"), verdict("params", "present", peak_x=4000),
    ])  # fmt: skip
    assert said == (
        "In hold-out loss along size, of 4 curves, present in 2 (peak at 16\u202f000 (8\u202f000 to 32\u202f000), "
        "4\u202f000), absent in 1, not to be told in 1; along training time, of 1 curve, absent in 1."
    )


def test_without_a_curve_nothing_is_said_of_double_descent():
    assert headlines.descent([]).startswith("Nothing can be said")


def test_five_sentences_stand_in_order_and_lead_behind_themselves():
    told = headlines.headlines("8 runs", counted(("a", 1, 0)), [], [], [], 0.95)
    assert [lead for lead, _ in told] == [
        "What was run", "How much is memorized", "The law", "The boundary", "Double descent",
    ]  # fmt: skip
    assert all(sentence.endswith(".") and not sentence.endswith("..") for _, sentence in told)
    html = headlines.headline_list([("The law", "<b>")], {"The law": "a-fits"})
    assert re.search(r'<li><strong>The law\.</strong> &lt;b&gt; <a href="#a-fits">', html)
    assert "<a" not in headlines.headline_list([("The law", "x")], {})


def test_the_null_of_cells_of_unlike_size_weighs_samples_and_not_cells():
    """1 of 100 and 0 of 900: .1 % of all samples, not the mean of 1 % and 0 %."""
    rows = [
        {"run_id": run, "cell_id": run, "images_seen": 1, "params": 1, "n_generated": n, "n_memorized": 0,
         "n_null_memorized": hits}
        for run, n, hits in (("a", 100, 1), ("b", 900, 0))
    ]  # fmt: skip
    said = headlines.amount(cell_rates(tables(rows).evals, 0.95), 0.95)
    assert "finds 0.1 %" in said
    assert "0 % (0 % to 3.7 %) of the generated samples are memorized in every cell" in said  # Wilson, 0 of 100
