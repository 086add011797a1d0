import pytest
import torch

from scaling.memorization.criteria import Match, gap_ratio, match
from scaling.selfcheck import duplicates as module
from scaling.selfcheck.duplicates import ROWS, TrainingRows, training_rows

CPU = torch.device("cpu")


def among_rows(search):
    """The vice itself: neighbours among the rows, each its own image; the image is looked up afterwards."""

    def mutant(samples, rows, family=None):
        found = search(samples, rows)
        return found if family is None else Match(found.ratio, family[found.image], found.calibrated)

    return mutant


def without_the_copied(search):
    """An instrument that throws copied images away: 1 of the others, nothing of these."""

    def mutant(samples, rows, family=None):
        found = search(samples, rows, family)
        return Match(torch.ones_like(found.ratio), found.image, found.calibrated)

    return mutant


MUTANTS = {
    "gap ratio at 1 2 10 60 copies (K7)": ("match", among_rows(match)),
    "calibrated distance, the same (K7)": ("match", among_rows(match)),
    "n_hits of 50 by stratum 1 2 10 60": ("match", among_rows(match)),
    "near copies, families of 8 (K8)": ("gap_ratio", among_rows(gap_ratio)),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.instrument)
def test_each_check_is_ok_and_catches_neighbours_among_rows(row, monkeypatch):
    assert row.check("", CPU).ok
    monkeypatch.setattr(module, *MUTANTS[row.instrument])
    caught = row.check("", CPU)
    assert not caught.ok and "Error" not in str(caught.gave)


@pytest.mark.parametrize("row", ROWS[::2], ids=lambda row: row.instrument)
def test_a_copied_image_that_is_never_found_is_caught(row, monkeypatch):
    monkeypatch.setattr(module, "match", without_the_copied(match))
    caught = row.check("", CPU)
    assert not caught.ok and "Error" not in str(caught.gave)


def test_the_training_rows_are_those_of_k7():
    rows, image, samples = training_rows(10, CPU)
    assert isinstance(training_rows(1, CPU), TrainingRows)
    assert rows.shape == (50 * 10 + 450, 256) and torch.bincount(image).tolist() == [10] * 50 + [1] * 450
    assert float((samples - rows[: 50 * 10 : 10]).std()) == pytest.approx(0.02, rel=0.02)
    assert float(rows[image >= 50].std()) == pytest.approx(1, rel=0.01)
