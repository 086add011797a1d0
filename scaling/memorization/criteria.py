"""When a generated sample counts as a copy of a training image: the gap ratio and the calibrated distance.

Both compare distances to families of unique images, never to rows with copies: among rows the second neighbour of a
copied image is its copy, and a perfect copier would score 0. Copies are looked up with the image found, afterwards.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from scaling.memorization.neighbors import Neighbors, nearest

# A sample is memorized iff its gap ratio is strictly below 1/3 (Yoon et al. 2023); counts are also kept at 1/4 and 1/2,
# between which the scaling does not change (Bonnaire et al. 2025, Eq. 6).
STRICT, MEMORIZED, LOOSE = 1 / 4, 1 / 3, 1 / 2
NEIGHBORHOOD, ALPHA = 50, 0.5  # Carlini et al. 2023


class Match(NamedTuple):
    """What S samples are copies of, if they are any."""

    ratio: Tensor  # [S] gap ratio: distance to the nearest family over distance to the second nearest
    image: Tensor  # [S] int64 the nearest family
    calibrated: Tensor | None = None  # [S] calibrated distance, a copy below 1; None: only the ratio was asked for


def match(samples: Tensor, unique: Tensor, family: Tensor | None = None) -> Match:
    """Both criteria from one search: samples [S D], unique [U D] or the members [M D] of families int [M].

    The calibrated distance is that of Carlini et al. 2023: distance to the nearest family over ALPHA times the mean
    distance to the 50 nearest. On small simple sets it passes up to a third of real images: read it with its null.
    Raises ValueError on fewer than 2 families and on NaN: the caller leaves such samples out and counts them.
    """
    families = len(unique) if family is None else len(family.unique())
    near = nearest(samples, unique, max(2, min(NEIGHBORHOOD, families)), family)
    return Match(_ratio(near), near.family[:, 0], _calibrated(near))


def gap_ratio(samples: Tensor, unique: Tensor, family: Tensor | None = None) -> Match:
    """The gap ratio of Yoon et al. 2023 and the nearest family alone, each [S]; arguments and errors as in `match`."""
    near = nearest(samples, unique, 2, family)
    return Match(_ratio(near), near.family[:, 0])


def _ratio(near: Neighbors) -> Tensor:
    first, second = near.distance[:, 0], near.distance[:, 1]
    # Two families at distance 0 are a tie like any other: the sample is not nearer to one of them.
    return torch.where(second > 0, first / second, 1.0)


def _calibrated(near: Neighbors) -> Tensor:
    scale = ALPHA * near.distance.mean(dim=1)
    return torch.where(scale > 0, near.distance[:, 0] / scale, 1 / ALPHA)  # all at 0: a tie, as if all were equally far
