"""A run beside the committed one, on made-up rows."""

from math import sqrt

import numpy as np
import pytest

from scaling.reproduce.comparison import ALPHA, COLUMNS, LAST, MINIMUM, Verdict, compare
from scaling.reproduce.show import summary, table
from scaling.reproduce.tolerance import count_tolerance, tolerance

FLOATS = ("train_loss", "seen_loss", "holdout_loss", "membership_auc", "ideal_distance", "kid")


def row(at: int = 64, **values):
    return {"images_seen": at, "n_generated": 512, "n_basin": 256, "n_unique": 64, **values}


def verdicts(found, reading: str = LAST):
    return {value.column: value.verdict for value in found.values if value.reading == reading}


ONE, *OTHERS = (2.0, 1.0, 3.0)  # the committed value; s of the others is sqrt(2), with one degree of freedom


def alike(**columns):
    """Replicates of which each column has ONE and OTHERS times a factor; the committed run first."""
    return [[row(**{name: factor * value for name, factor in columns.items()})] for value in (ONE, *OTHERS)]


def test_within_the_tolerance_agrees_and_beyond_it_is_a_miss():
    committed, *others = alike(kid=1)
    q = tolerance(sqrt(2), 1, ALPHA)
    for value, verdict in ((ONE, Verdict.EQUAL), (ONE + q - 1e-9, Verdict.AGREES), (ONE + q + 1e-9, Verdict.MISS)):
        found = compare(committed, others, [row(kid=value)])
        assert verdicts(found) == {"kid": verdict} and found.agrees == (verdict is not Verdict.MISS)
        assert found.values[0].tolerance == pytest.approx(q) and found.values[0].spread == pytest.approx(sqrt(2))


def test_alpha_is_shared_by_all_values_compared():
    committed, *others = alike(kid=1, train_loss=1)
    found = compare(committed, others, others[0])
    assert [value.tolerance for value in found.values] == pytest.approx([tolerance(sqrt(2), 1, ALPHA / 2)] * 2)


def test_a_wrong_committed_value_does_not_hide_behind_its_own_spread():
    """With it in the standard deviation it could lie no farther than sqrt(n) of them from the rest, however wrong."""
    _, *others = alike(kid=1)
    assert not compare([row(kid=1e3)], others, others[0]).agrees


def test_other_cells_narrow_the_tolerance():
    """24 with s^2 = 2 as here, so of one variance: four degrees of freedom more; the mean of the ln of variances
    of two degrees is that of the true one less Euler's gamma."""
    committed, *others = alike(kid=1)
    cells = [[[row(kid=value)] for value in (c, c + sqrt(2), c + 2 * sqrt(2))] for c in range(24)]
    (value,) = compare(committed, others, others[0], cells).values
    assert value.spread == pytest.approx(sqrt((1 * 2 + 4 * 2 * np.exp(np.euler_gamma)) / 5))
    assert value.tolerance == pytest.approx(tolerance(value.spread, 5, ALPHA))


def test_counts_without_spread_have_a_bound_and_measures_without_it_none():
    committed, *others = [[row(n_memorized=0, n_flagged=0, membership_auc=1.0)] for _ in range(3)]
    found = compare(committed, others, [row(n_memorized=2, n_flagged=40, membership_auc=0.99)])
    assert verdicts(found) == {
        "n_memorized": Verdict.AGREES, "n_flagged": Verdict.MISS, "membership_auc": Verdict.CANNOT_TELL,
    }  # fmt: skip
    assert found.values[0].tolerance == count_tolerance(0, 512, ALPHA / 3) >= 2


def test_what_was_measured_once_and_is_not_again_is_a_miss():
    committed, *others = alike(kid=1)
    found = compare(committed, others, [row(kid=None)])
    assert verdicts(found) == {"kid": Verdict.MISS} and "1 miss" in summary(found)


def test_what_the_table_does_not_hold_is_said():
    committed, *others = alike(kid=1)
    found = compare(committed, others, [row(kid=1.0, train_loss=0.5)])
    absent = ", ".join(column for column in COLUMNS if column != "kid")
    assert f"not compared, since the table has no value: {absent}" in found.notes


def test_one_other_replicate_with_a_value_measures_no_tolerance():
    committed, *others = [[row(kid=value)] for value in (1.0, 2.0, None)]
    assert verdicts(compare(committed, others, [row(kid=1.5)])) == {"kid": Verdict.CANNOT_TELL}


def test_each_run_is_read_at_its_own_holdout_minimum():
    """The untrained network's hold-out loss is the lowest of all and no reading; later evaluations are none either."""

    def run(at: int, shift: float):
        losses = {0: 0.1, 16: 1.0, 32: 1.0, 64: 2.0} | {at: 0.5}
        return [row(images, holdout_loss=loss + shift, kid=images + shift) for images, loss in losses.items()]

    committed, *others = run(16, 0.0), run(32, 0.1), run(16, 0.2)
    found = compare(committed, others, [*run(32, 0.0), row(128, holdout_loss=0.0, kid=128.0)])
    values = {value.column: value for value in found.values if value.reading == MINIMUM}
    assert values["kid"].committed == 16 and values["kid"].again == 32
    assert values["kid"].spread == pytest.approx(np.std([32.1, 16.2], ddof=1))
    assert values["holdout_loss"].verdict is Verdict.EQUAL
    assert "the hold-out minimum is at 16 images_seen committed, 32 again" in found.notes
    assert verdicts(found) == {"kid": Verdict.EQUAL, "holdout_loss": Verdict.EQUAL}


def test_equal_law_runs_are_refused_as_often_as_stated():
    """3 replicates and a run again, six independent normal columns: 1 - (1 - .05/6)^6 = .0489 of 3,000 sets."""
    rng, sets = np.random.default_rng(2), 3_000
    drawn = rng.normal(size=(sets, 4, len(FLOATS))) * np.arange(1, 1 + len(FLOATS))
    refused = 0
    for one in drawn:
        committed, *others, again = [[row(**dict(zip(FLOATS, values, strict=True)))] for values in one.tolist()]
        refused += not compare(committed, others, again).agrees
    expected = 1 - (1 - ALPHA / len(FLOATS)) ** len(FLOATS)
    assert abs(refused / sets - expected) < 3 * sqrt(expected / sets)


def test_the_table_has_a_row_for_each_value_and_one_for_each_reading():
    committed, *others = alike(kid=1, n_memorized=2)
    found = compare(committed, others, [row(kid=2.5, n_memorized=4)])
    assert table(found).row_count == 3
    assert summary(found).startswith("1 equal bits, 1 agrees; largest difference 0.35 s (kid, last evaluation)")
