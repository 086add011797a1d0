"""The sentences follow the counts and their Wilson intervals; the intervals are scipy's."""

import pytest
from scipy.stats import binomtest

from scaling.audits.words import sentences, wilson

BASE = {"n_generated": 100, "n_unique": 50, "n_null_searched": 50, "n_extracted": 1}


@pytest.mark.parametrize("hits, trials", [(0, 1), (1, 1), (0, 512), (12, 512), (511, 512), (512, 512)])
def test_wilson_is_scipys(hits, trials):
    theirs, ours = binomtest(hits, trials).proportion_ci(method="wilson"), wilson(hits, trials)
    assert (ours.lo, ours.hi) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_counted_is_no_rate():
    assert wilson(None, 5) is None and wilson(3, None) is None and wilson(0, 0) is None


@pytest.mark.parametrize(
    "hits, null, word",
    [(0, 0, "No copy was found"), (30, 2, "more than chance"), (5, 4, "no more than the null explains")],
)
def test_the_verdict_compares_with_the_null(hits, null, word):
    assert word in sentences({**BASE, "n_memorized": hits, "n_null_memorized": null})[1]


def test_no_finite_sample_says_nothing_about_copies():
    assert sentences({"n_generated": 0, "n_unique": 50}) == ["No finite sample: nothing can be said about copies."]


def test_membership_is_told_with_its_interval():
    losses = {"seen_loss": 0.2, "seen_loss_se": 0.01, "holdout_loss": 0.3, "holdout_loss_se": 0.02}
    found = {**BASE, "n_memorized": 0, "n_null_memorized": 0, **losses, "membership_auc": 0.55}
    assert "does not tell members from others (AUC 0.550, 0.452 to 0.648" in " ".join(
        sentences({**found, "membership_auc_se": 0.05})
    )
    assert "it tells members from others" in " ".join(sentences({**found, "membership_auc_se": 0.01}))
