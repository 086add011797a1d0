"""The nearest families of images: exact, in blocks, in bounded memory, on any device.

Candidates come from blocks of products |b|^2 - 2 a.b, which float32 cannot trust for close pairs; their distances are
then computed again from differences. The rounding error of the products is bounded, so a sample is settled only when no
image outside its candidates can be as near as the k-th; the others are searched again with more candidates.
"""

from typing import NamedTuple

import torch
from torch import Tensor

EXTRA = 6  # candidates beyond the k asked for
GROWTH = 8  # more candidates for the samples that are not settled
BLOCK = 2**24  # numbers in one working block (64 MiB in float32): what bounds the memory
PAIRS = 2**22  # (sample, candidate) pairs held at once
# Relative error of one input of a product: 0 unless torch was told to multiply float32 in TF32 or bfloat16.
INPUT_ERROR = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}


class Neighbors(NamedTuple):
    """The k nearest families of S samples."""

    distance: Tensor  # [S k] Euclidean, ascending; the dtype of the samples
    family: Tensor  # [S k] int64; equal distances: the lower family first


@torch.no_grad()
def nearest(samples: Tensor, members: Tensor, k: int, family: Tensor | None = None) -> Neighbors:
    """The k nearest families of each sample: samples [S D], members [M D], family int [M] (None: each its own).

    The distance to a family is that to its nearest member. Distances are those of the differences, summed in float64
    and rounded to the dtype of the samples. Raises ValueError on fewer than k families, on shapes that do not fit, and
    on NaN.
    """
    _check(samples, members, k, family)
    distance = samples.new_empty(len(samples), k)
    found = torch.empty(len(samples), k, dtype=torch.int64, device=samples.device)
    rows, count = torch.arange(len(samples), device=samples.device), k + EXTRA
    while len(rows):
        count = min(count, len(members))
        unsettled = []
        for part in rows.split(max(1, PAIRS // count)):
            candidates, floor = _screen(samples[part], members, count)
            near = _differences(samples[part], members, candidates)
            if family is None:  # candidates ascend, so that a stable sort puts the lower of two equals first
                near, order = near.sort(dim=1, stable=True)
                distance[part], found[part] = near[:, :k], candidates.gather(1, order)[:, :k]
            else:
                distance[part], found[part] = _closest_families(near, family[candidates].long(), k)
            unsettled.append(part[distance[part, -1] >= floor])
        rows, count = torch.cat(unsettled), count * GROWTH
    return Neighbors(distance, found)


def _check(samples: Tensor, members: Tensor, k: int, family: Tensor | None) -> None:
    if samples.ndim != 2 or members.ndim != 2 or samples.shape[1] != members.shape[1]:
        raise ValueError(
            f"samples {list(samples.shape)}, images {list(members.shape)}: both must be [rows, pixels] with equally "
            f"many pixels; flatten images with .flatten(1)"
        )
    if samples.dtype != members.dtype or not samples.is_floating_point():
        raise ValueError(
            f"samples {samples.dtype}, images {members.dtype}: give both as floats in [-1, 1], of one type"
        )
    if family is not None and family.shape != members.shape[:1]:
        raise ValueError(f"family {list(family.shape)}: one number a member is needed, [{len(members)}]")
    families = len(members) if family is None else len(family.unique())
    if families < k:
        raise ValueError(
            f"{k} neighbours asked among {families} unique image(s): the gap ratio needs at least 2; "
            f"raise data.n_unique (or data.holdout, where held-out images are searched)"
        )
    if bad := int((~samples.isfinite().all(dim=1)).sum()):
        raise ValueError(f"{bad} of {len(samples)} samples are not finite: leave them out, count them as n_nonfinite")
    if not torch.linalg.vector_norm(members).isfinite():  # ten times as fast as isfinite on every pixel
        raise ValueError(f"the {len(members)} images searched hold NaN or infinity: read the source again")


def _screen(samples: Tensor, members: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` candidates [S count] of each sample, ascending by index, and a floor [S] of all other distances."""
    if count == len(members):
        everything = torch.arange(count, device=members.device).expand(len(samples), count)
        return everything, torch.full((len(samples),), torch.inf, device=samples.device, dtype=torch.float64)
    shift = _shift(members)
    samples = samples if shift is None else samples - shift
    best, index = samples.new_full((len(samples), count), torch.inf), samples.new_zeros(len(samples), count).long()
    radius = samples.new_zeros(())
    width = min(len(members), _power_of_two(min(BLOCK // 1024, BLOCK // 8 // members.shape[1])))
    height = min(len(samples), max(1, BLOCK // width))
    centred, products = samples.new_empty(width, members.shape[1]), samples.new_empty(height * width)
    for start in range(0, len(members), width):
        stop = min(start + width, len(members))
        block = members[start:stop]
        block = block if shift is None else torch.sub(block, shift, out=centred[: stop - start])
        squares = torch.linalg.vector_norm(block, dim=1).square()
        radius = torch.maximum(radius, squares.max())
        for first in range(0, len(samples), height):
            rows = slice(first, min(first + height, len(samples)))
            size = rows.stop - first, stop - start
            scores = products[: size[0] * size[1]].view(size)  # squared distance less |a|^2
            torch.addmm(squares, samples[rows], block.T, alpha=-2, out=scores)
            better = (scores < best[rows, -1:]).any(dim=1).nonzero().squeeze(1)  # few, after the first blocks
            near, place = scores[better].topk(min(count, size[1]), largest=False)
            better += first
            near, place = torch.cat([best[better], near], dim=1), torch.cat([index[better], place + start], dim=1)
            best[better], kept = near.topk(count, largest=False)
            index[better] = place.gather(1, kept)
    own = samples.double().square().sum(dim=1)
    # Any order of summation errs by at most D u |a||b| (Higham 2002, Eq. 3.5); 8 covers the shift and last additions.
    unit = torch.finfo(samples.dtype).eps / 2
    relative = (samples.shape[1] + 8) * unit + 2 * INPUT_ERROR[torch.get_float32_matmul_precision()]
    error = relative * (own.sqrt() + radius.double().sqrt()).square()
    floor = (best[:, -1].double() + own - error).clamp(min=0).sqrt()
    return index.sort(dim=1).values, floor


def _shift(members: Tensor) -> Tensor | None:
    """What is taken from all images before multiplying [D], or None: the mean, where most of their length is common.

    Products of what is left err less. Elsewhere it would only cost a pass over the images.
    """
    some = members[:1024]
    mean = some.mean(dim=0)
    return mean if mean.square().sum() > 0.9 * some.square().sum(dim=1).mean() else None


def _power_of_two(size: int) -> int:
    """The largest one up to `size` (at least 1): products over odd widths take up to 1.5 times as long."""
    return 1 << (max(1, size).bit_length() - 1)


def _differences(samples: Tensor, members: Tensor, candidates: Tensor) -> Tensor:
    """Distances [S c] of samples [S D] to their candidates [S c], from differences, summed in float64."""
    row = torch.arange(len(samples), device=samples.device).repeat_interleave(candidates.shape[1])
    step = max(1, BLOCK // 8 // samples.shape[1])
    pairs = zip(row.split(step), candidates.flatten().split(step), strict=True)
    distance = [torch.linalg.vector_norm(samples[i].sub_(members[j]), dim=1, dtype=torch.float64) for i, j in pairs]
    return torch.cat(distance).to(samples.dtype).reshape(candidates.shape)


def _closest_families(distance: Tensor, family: Tensor, k: int) -> Neighbors:
    """The k nearest distinct families among candidates: distance [S c], family [S c]; fewer than k: distance inf."""
    distance, order = distance.sort(dim=1, stable=True)
    family, by_family = family.gather(1, order).sort(dim=1, stable=True)
    distance = distance.gather(1, by_family)  # by family, within a family by distance: all but the first go
    repeated = torch.zeros_like(family, dtype=torch.bool)
    repeated[:, 1:] = family[:, 1:] == family[:, :-1]
    distance, order = distance.masked_fill(repeated, torch.inf).sort(dim=1, stable=True)  # equals: lower family first
    return Neighbors(distance[:, :k], family.gather(1, order)[:, :k])
