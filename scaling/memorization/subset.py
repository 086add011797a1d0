"""Which images to start from where starting from all would cost too much: fixed by the plan, never by the run."""

import numpy as np


def equal_subset(copies: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the images with copies [N], as equally many of each stratum as it has: ascending int64.

    For rates by stratum. The first of each stratum are taken, so a larger limit keeps them.
    """
    strata = [np.flatnonzero(copies == r) for r in np.unique(copies)]
    taken = np.zeros(len(strata), dtype=np.int64)
    for _ in range(min(limit, len(copies))):
        room = np.array([len(stratum) for stratum in strata]) > taken
        taken[np.where(room, taken, np.iinfo(np.int64).max).argmin()] += 1
    return np.sort(np.concatenate([stratum[:count] for stratum, count in zip(strata, taken, strict=True)]))
