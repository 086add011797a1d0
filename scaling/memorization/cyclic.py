"""The cyclic attack: noise each sample again and again, denoise it, and see which training images the chains visit.

A stronger budget than single samples: what is stored deeply enough to attract passing chains comes out in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.sampler import Denoises, heun, karras_sigmas
from scaling.memorization.criteria import MEMORIZED, gap_ratio

SLOTS = 1024  # noise of chain i in cycle c is that of index SLOTS i + c


@dataclass(frozen=True)
class CyclicExtraction:
    """What the chains visited; the null is the same chains looked at with held-out images for U."""

    n_chains: int  # chains that stayed finite to the end
    n_nonfinite: int  # the others; each counts until it diverged
    extracted: Tensor  # bool [U] training images that a chain came to in some cycle: gap ratio < 1/3
    null_extracted: Tensor  # bool [H]
    by_cycle: Tensor  # int64 [cycles] unique training images found up to each cycle


def cyclic_extraction(
    denoiser: Denoises,
    samples: Tensor,
    members: Tensor,
    family: Tensor | None,
    null: Tensor,
    *,
    sigma_c: float,
    steps: int,
    cycles: int,
    labels: Tensor | None = None,
    batch_size: int = 256,
) -> CyclicExtraction:
    """Follow chains from samples [B C H W] and look each state up among members [M D] of families int [M], and in null.

    Families are numbered 0 to U - 1; null [H D]. The samples themselves do not count: they are the attack of one shot.
    Errors as in `cyclic_attack`, and ValueError on fewer than 2 families or null images.
    """
    n_families = len(members) if family is None else int(family.max()) + 1
    extracted = torch.zeros(n_families, dtype=torch.bool, device=samples.device)
    null_extracted = torch.zeros(len(null), dtype=torch.bool, device=samples.device)
    finite, by_cycle = torch.ones(len(samples), dtype=torch.bool, device=samples.device), []
    chains = cyclic_attack(
        denoiser, samples, sigma_c=sigma_c, steps=steps, cycles=cycles, labels=labels, batch_size=batch_size
    )
    for x in chains:
        finite = x.flatten(1).isfinite().all(dim=1)
        for found, searched, by in ((extracted, members, family), (null_extracted, null, None)):
            match = gap_ratio(x[finite].flatten(1), searched, by)
            found[match.image[match.ratio < MEMORIZED]] = True
        by_cycle.append(int(extracted.sum()))
    return CyclicExtraction(
        n_chains=int(finite.sum()),
        n_nonfinite=int((~finite).sum()),
        extracted=extracted,
        null_extracted=null_extracted,
        by_cycle=torch.tensor(by_cycle),
    )


@torch.no_grad()
def cyclic_attack(
    denoiser: Denoises,
    samples: Tensor,
    *,
    sigma_c: float,
    steps: int,
    cycles: int,
    labels: Tensor | None = None,
    batch_size: int = 256,
) -> Iterator[Tensor]:
    """The states [B C H W] of all chains after each cycle: x <- sampler started at x + sigma_c eps, from the samples.

    eps is keyed by (constant, index of the sample, cycle): the same in every run. States are clamped to [-1, 1] but not
    rounded. Raises ValueError on cycles beyond 1024 and on a sigma_c below the sampler's last level.
    """
    if not 1 <= cycles <= SLOTS:
        raise ValueError(f"evaluate.cycles={cycles}: a chain has noise for 1 to {SLOTS} cycles")
    sigmas = karras_sigmas(steps, sigma_max=sigma_c)
    if not sigmas[-2] < sigma_c < float("inf"):
        raise ValueError(
            f"evaluate.basin_sigma={sigma_c}: a path needs a finite start above its last level {float(sigmas[-2]):g}"
        )
    x, index = samples, torch.arange(len(samples), device=samples.device)
    for cycle in range(cycles):
        ends = []
        for rows in index.split(batch_size):
            noise = normals(CONSTANT, "cyclic", rows * SLOTS + cycle, x.shape[1:].numel()).reshape(x[rows].shape).to(x)
            given = None if labels is None else labels[rows]
            ends.append(heun(denoiser, x[rows] + sigma_c * noise, sigmas, given).clamp(-1, 1))
        x = torch.cat(ends)
        yield x
