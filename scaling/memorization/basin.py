"""Basin recovery: does the sampler, started a fixed noise level away from a training image, come back to it?

Unlike the share of images extracted it does not depend on how many samples were drawn, so strata can be compared by it.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.sampler import Denoises, heun, karras_sigmas
from scaling.memorization.criteria import MEMORIZED, gap_ratio

DRAWS = 4  # chains an image
SLOTS = 1024  # noise of chain j at position i is that of index SLOTS i + j


@torch.no_grad()
def basin_recovery(
    denoiser: Denoises,
    images: Tensor,
    positions: Tensor,
    searched: Tensor,
    target: Tensor,
    *,
    sigma_b: float,
    steps: int,
    family: Tensor | None = None,
    labels: Tensor | None = None,
    draws: int = DRAWS,
    batch_size: int = 256,
) -> Tensor:
    """Which chains came back: bool [N draws], gap ratio < 1/3 with the chain's own image as the nearest family.

    Chains start at images [N C H W] + sigma_b eps, eps keyed by (constant, positions int64 [N], draw): the same in
    every run. They are judged among `searched` [M ...] of families `family` int [M] (as in `criteria.match`), image i
    being family target[i], int64 [N]. The null takes held-out images for both. A chain that ends in NaN did not come
    back. Raises ValueError on fewer than 2 families, draws beyond 1024, and a sigma_b below the sampler's last level.
    """
    sigmas = karras_sigmas(steps, sigma_max=sigma_b)
    if not sigmas[-2] < sigma_b < float("inf"):
        raise ValueError(
            f"evaluate.basin_sigma={sigma_b}: a path needs a finite start above its last level {float(sigmas[-2]):g}"
        )
    return chains_back(
        lambda x, given: heun(denoiser, x, sigmas, given), images, positions, searched, target,
        sigma_b=sigma_b, family=family, labels=labels, draws=draws, batch_size=batch_size,
    )  # fmt: skip


@torch.no_grad()
def chains_back(
    bring_back: Callable[[Tensor, Tensor | None], Tensor],
    images: Tensor,
    positions: Tensor,
    searched: Tensor,
    target: Tensor,
    *,
    sigma_b: float,
    family: Tensor | None = None,
    labels: Tensor | None = None,
    draws: int = DRAWS,
    batch_size: int = 256,
) -> Tensor:
    """`basin_recovery` by any sampler: bring_back takes x [B C H W] at level sigma_b, labels [B], to clean images.

    Raises ValueError on draws outside 1 to SLOTS.
    """
    if not 1 <= draws <= SLOTS:
        raise ValueError(f"draws={draws}: an image has noise for 1 to {SLOTS} chains")
    row = torch.arange(len(images), device=images.device).repeat_interleave(draws)
    chain = torch.arange(draws, device=images.device).repeat(len(images))
    back = []
    for rows, draw in zip(row.split(batch_size), chain.split(batch_size), strict=True):
        clean, keys = images[rows], positions.to(images.device)[rows] * SLOTS + draw
        noise = normals(CONSTANT, "basin", keys, clean[0].numel()).reshape(clean.shape).to(clean)
        ends = bring_back(clean + sigma_b * noise, None if labels is None else labels[rows])
        ends = ends.clamp(-1, 1).flatten(1)
        finite = ends.isfinite().all(dim=1)
        found = gap_ratio(ends[finite], searched.flatten(1), family)
        recovered = torch.zeros_like(finite)
        recovered[finite] = (found.ratio < MEMORIZED) & (found.image == target[rows][finite])
        back.append(recovered)
    return rearrange(torch.cat(back), "(n j) -> n j", j=draws)
