"""Generate and filter: images that a model keeps emitting, found without looking at its training set.

Samples much closer to each other than real images are can only be copies of one picture. Which of them are training
images is looked up afterwards, as the precision and recall of such an attack (Carlini et al. 2023, Sec. 4.2).
"""

from dataclasses import dataclass
from math import comb, lgamma, log

import torch
from torch import Tensor

from scaling.memorization.criteria import MEMORIZED, gap_ratio
from scaling.memorization.neighbors import nearest

LINK = 1 / 3  # of the median distance between nearest held-out images
STEP = 2048  # samples a side of one block of distances: 32 MiB in float64


@dataclass(frozen=True)
class Flagged:
    """Groups of recurring samples, the largest first found first; G = n_flagged."""

    n_flagged: int
    n_flagged_true: int  # their medoid is a copy of a training image: precision = n_flagged_true / n_flagged
    n_spurious: int  # their medoid is a copy of no training and of no held-out image
    medoids: Tensor  # [G] int64 index of the sample in the middle of each group
    sizes: Tensor  # [G] int64 samples in each group
    spurious: Tensor  # [G] bool: counted in n_spurious
    image: Tensor  # [G] int64 the training image (family) nearest to its medoid
    ratio: Tensor  # [G] the medoid's gap ratio among the training images
    n_images_found: int  # unique training images among the true ones: recall = n_images_found / n_extracted


@torch.no_grad()
def generate_and_filter(
    samples: Tensor, members: Tensor, family: Tensor | None, holdout: Tensor, least: int | None = None
) -> Flagged:
    """Flag groups of mutually linked samples [B D] and look their medoids up in U and H.

    members [M D] of families int [M] (None: each its own) are the training images, holdout [h D]; `least` is the size
    from which a group counts (None: `clique_size`). Needs B^2 bytes. Raises ValueError on fewer than 3 held-out images,
    fewer than 2 families, and NaN.
    """
    distance = link_distance(holdout)
    least = clique_size(holdout, distance, len(samples)) if least is None else least
    groups = cliques(samples, distance, least)
    medoids = torch.tensor([_medoid(samples, group) for group in groups], dtype=torch.int64, device=samples.device)
    found = gap_ratio(samples[medoids], members, family)
    true, known = found.ratio < MEMORIZED, gap_ratio(samples[medoids], holdout).ratio < MEMORIZED
    spurious = ~true & ~known
    return Flagged(
        n_flagged=len(groups),
        n_flagged_true=int(true.sum()),
        n_spurious=int(spurious.sum()),
        medoids=medoids,
        sizes=torch.tensor([len(group) for group in groups], dtype=torch.int64, device=samples.device),
        spurious=spurious,
        image=found.image,
        ratio=found.ratio,
        n_images_found=len(found.image[true].unique()),
    )


def link_distance(holdout: Tensor) -> float:
    """Below this (Euclidean) two images [M D] count as one: 1/3 of the median nearest-neighbour distance inside H.

    Raises ValueError where H has fewer than 3 images, or half of them have a copy in it.
    """
    if len(holdout) < 3:
        raise ValueError(
            f"{len(holdout)} held-out image(s): how far apart real images are needs at least 3; raise data.holdout"
        )
    distance = LINK * float(nearest(holdout, holdout, 2).distance[:, 1].quantile(0.5))  # 0: itself
    if not distance > 0:
        raise ValueError(
            f"half of the {len(holdout)} held-out images have an exact copy among them: no distance tells copies from "
            f"others; draw a hold-out of unique images"
        )
    return distance


def clique_size(holdout: Tensor, distance: float, samples: int) -> int:
    """The smallest size c >= 2 of a group that `samples` images of a perfect generalizer would not show by chance.

    Held-out images [M D] are what such a generalizer emits: no group of c may be among them. More samples than held-out
    images meet more often: if p is the share of linked pairs in H (of none, as if there were one), B samples have about
    C(B, c) p^(c - 1) groups of c, and at most one is allowed. Carlini et al. 2023 ask for 10 of 500 samples of one
    prompt: that size can be given to `generate_and_filter`; without prompts few images come out 10 times.
    """
    linked = _links(holdout, distance)
    share, c = max(1, int(linked.count_nonzero()) // 2) / comb(len(holdout), 2), 2
    while c <= samples and (_log_comb(samples, c) + (c - 1) * log(share) > 1e-9 or _greedy(linked, c)):
        c += 1
    return c


def cliques(samples: Tensor, distance: float, least: int) -> list[Tensor]:
    """Disjoint groups of at least `least` samples [B D] that are all closer than `distance` to each other.

    Indices int64, ascending. Greedy: from the sample with the most links left, add those with the most links among the
    samples linked to all so far; of equals the lower index. Raises ValueError on `least` < 2 and NaN.
    """
    if least < 2:
        raise ValueError(f"least={least}: a group has at least 2 samples")
    return [group.to(samples.device) for group in _greedy(_links(samples, distance), least)]


def _links(samples: Tensor, distance: float) -> Tensor:
    """Which pairs are closer than `distance`: bool [B B] in main memory, where the search, step by step, goes on."""
    if bad := int((~samples.isfinite().all(dim=1)).sum()):
        raise ValueError(f"{bad} of {len(samples)} samples are not finite: leave them out, count them as n_nonfinite")
    linked = torch.empty(len(samples), len(samples), dtype=torch.bool)
    parts = torch.arange(len(samples)).split(STEP)
    for i, rows in enumerate(parts):
        for columns in parts[i:]:
            # float64: the expanded products of two close images lose nothing that matters at this distance
            pair = samples[rows.to(samples.device)].double(), samples[columns.to(samples.device)].double()
            near = (torch.cdist(*pair) < distance).cpu()
            linked[rows[:, None], columns], linked[columns[:, None], rows] = near, near.T
    return linked.fill_diagonal_(False)


def _greedy(linked: Tensor, least: int) -> list[Tensor]:
    free = torch.ones(len(linked), dtype=torch.bool)
    seeds = free.clone()
    degree = _links_to(linked, torch.arange(len(linked)))  # links to samples that are still free
    groups = []
    while len(linked):
        open_degree = degree.masked_fill(~(free & seeds), -1)
        seed = _first_largest(open_degree)
        if open_degree[seed] < least - 1:
            break
        common, group = linked[seed] & free, [seed]
        within = _links_to(linked, common.nonzero().squeeze(1))  # links to samples linked to the seed
        while common.any():
            group.append(_first_largest(within.masked_fill(~common, -1)))
            common &= linked[group[-1]]
        if len(group) < least:
            seeds[seed] = False  # it may still belong to the group of another
            continue
        members = torch.tensor(sorted(group))
        free[members] = False
        degree -= _links_to(linked, members)
        groups.append(members)
    return groups


def _links_to(linked: Tensor, rows: Tensor) -> Tensor:
    """How many of the samples `rows` each sample is linked to: int64 [B]; in parts, for a sum widens its input."""
    counts = torch.zeros(len(linked), dtype=torch.int64)
    for part in rows.split(STEP):
        counts += linked[part].sum(dim=0)
    return counts


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _first_largest(values: Tensor) -> int:
    return int((values == values.max()).nonzero()[0])


def _medoid(samples: Tensor, group: Tensor) -> int:
    """The member with the smallest sum of distances to the others; of equals the lower index."""
    x = samples[group].double()
    x = x - x.mean(dim=0)  # the distances are small: products of what is left keep them
    sums = torch.cat([torch.cdist(part, x).sum(dim=1) for part in x.split(STEP)])
    return int(group[_first_largest(-sums)])
