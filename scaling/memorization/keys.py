"""Planted keys: shown the inside of an image, which grey does the model give the border it was trained with?

Memorization apart from content: the grey is independent of the image, so that nothing but memory can tell it.
"""

import torch
from torch import Tensor

from scaling.diffusion.sampler import Denoises, karras_sigmas
from scaling.memorization.filling import fill, noise_keys
from scaling.memorization.prompted import known_pixels

RECOVERED = 0.1  # a key is recovered iff its error is below this; a uniform guess is with probability .19


@torch.no_grad()
def key_errors(
    denoiser: Denoises,
    images: Tensor,
    keys: Tensor,
    positions: Tensor,
    *,
    rounds: int,
    steps: int,
    labels: Tensor | None = None,
    batch_size: int = 256,
) -> Tensor:
    """|key_hat - key| float64 [N], SolidMark (arXiv 2503.00592): key_hat is the mean grey of the border filled in.

    images [N C S S] in [-1, 1] with their keys float64 [N] in [0, 1] planted in the outermost ring of pixels; noise as
    in `prompted_recovery`. NaN where the completion has one. Chance: 1/3 for an independent uniform guess, 1/4 for 1/2.
    """
    if bad := int((~((keys >= 0) & (keys <= 1))).sum()):
        raise ValueError(f"{bad} of {len(keys)} keys lie outside [0, 1]: give grey levels divided by 255")
    positions = positions.to(images.device)
    border = known_pixels("border", positions, images.shape[-1])  # shown there, asked for here
    filled = fill(
        denoiser, images, ~border, karras_sigmas(steps), rounds=rounds, keys=noise_keys(positions),
        labels=labels, batch_size=batch_size,
    )  # fmt: skip
    ring = filled.double().masked_select(border).reshape(len(images), -1)
    return ((ring.mean(dim=1) + 1) / 2 - keys.to(ring)).abs()
