"""The images that basin recovery starts from, against its definition by brute force."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.memorization.subset import equal_subset


@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=40), st.integers(1, 50))
def test_strata_are_as_equal_as_can_be_and_the_first_are_taken(copies, limit):
    copies = np.array(copies)
    taken = equal_subset(copies, limit)
    assert len(taken) == min(limit, len(copies)) and (np.diff(taken) > 0).all()
    for r in np.unique(copies):
        mine, here = np.flatnonzero(copies == r), taken[copies[taken] == r]
        assert np.array_equal(here, mine[: len(here)])
        if len(here) < len(mine):  # a stratum with images left has at most one fewer than any other
            assert all(len(here) >= (copies[taken] == other).sum() - 1 for other in np.unique(copies))


@given(st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=30), st.integers(1, 20))
def test_a_larger_limit_keeps_the_images(copies, limit):
    assert set(equal_subset(np.array(copies), limit)) <= set(equal_subset(np.array(copies), limit + 3))
