"""Which training images came out: hits of each unique image, and the counts of samples and images by stratum.

The share of a stratum's images that were extracted measures the attack budget, not the model: no law is fitted to it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scaling.memorization.criteria import LOOSE, MEMORIZED, STRICT, Match


@dataclass(frozen=True)
class Stratum:
    """Counts over the samples whose nearest image has this many copies, and over these images."""

    copies: int
    n_images: int  # unique images of the stratum
    n_extracted: int  # of them hit at least once
    n_hits: int  # samples with ratio < 1/3
    n_memorized_14: int
    n_memorized_12: int
    n_calibrated: int  # samples with calibrated distance < 1


@dataclass(frozen=True)
class Extraction:
    """What a set of samples gives away of the training set; counts as in the evals table."""

    n_memorized: int
    n_memorized_14: int
    n_memorized_12: int
    n_calibrated: int
    n_extracted: int
    hits: Tensor  # [U] int64 samples with ratio < 1/3 whose nearest image it is
    best_ratio: Tensor  # [U] smallest ratio of the samples nearest to it; NaN if there is none
    strata: tuple[Stratum, ...]  # by ascending copies


def extraction(found: Match, copies: Tensor) -> Extraction:
    """Count what `criteria.match` found by image and stratum: copies int [U] of the images (families) searched."""
    assert found.calibrated is not None  # `criteria.match` gives both criteria
    copies, n = copies.to(found.image.device), len(copies)
    passed = {
        "n_hits": found.ratio < MEMORIZED,
        "n_memorized_14": found.ratio < STRICT,
        "n_memorized_12": found.ratio < LOOSE,
        "n_calibrated": found.calibrated < 1,
    }
    counts = {name: torch.bincount(found.image[which], minlength=n) for name, which in passed.items()}
    hits = counts["n_hits"]
    best = found.ratio.new_full((n,), torch.inf).scatter_reduce(0, found.image, found.ratio, "amin")
    strata = tuple(
        Stratum(
            copies=int(r),
            n_images=int((copies == r).sum()),
            n_extracted=int((hits[copies == r] > 0).sum()),
            **{name: int(count[copies == r].sum()) for name, count in counts.items()},
        )
        for r in copies.unique()
    )
    return Extraction(
        n_memorized=int(hits.sum()),
        n_memorized_14=int(counts["n_memorized_14"].sum()),
        n_memorized_12=int(counts["n_memorized_12"].sum()),
        n_calibrated=int(counts["n_calibrated"].sum()),
        n_extracted=int((hits > 0).sum()),
        hits=hits,
        best_ratio=torch.where(best.isinf(), torch.nan, best),
        strata=strata,
    )
