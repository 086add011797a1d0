"""How far a denoiser is from the ideal denoiser of its training set: 0 = copier, 1 = as far as a linear denoiser."""

from typing import NamedTuple

import torch
from torch import Tensor

from scaling.diffusion.loss import weighted_loss
from scaling.diffusion.sampler import Denoises
from scaling.memorization.losses import noisy_batches


class IdealDistance(NamedTuple):
    """0 = the ideal denoiser, 1 = a linear one."""

    value: float
    se: float  # clustered by image
    levels: Tensor  # [J] the same at each level alone


@torch.no_grad()
def ideal_distance(
    denoiser: Denoises,
    ideal: Denoises,
    linear: Denoises,
    images: Tensor,
    copies: Tensor,
    positions: Tensor,
    sigmas: Tensor,
    *,
    sigma_data: float,
    labels: Tensor | None = None,
    batch_size: int = 1024,
) -> IdealDistance:
    """sqrt(A/W): A = sum of r lambda ||D(y) - D*(y)||^2 over y = u + sigma_j eps, W the same with the linear denoiser.

    images [N C H W] (unique), copies [N] (r, times the weight of `measured_images` where a subset is measured),
    positions int64 [N], sigmas [J]; ideal and linear belong to the same training set. The null: held-out images
    in all of these, min(n, |H|) on both sides, with the copies of their index. Raises ValueError on fewer than 2.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} image(s): ideal_distance and its standard error need at least 2")
    a, w = torch.zeros(2, len(images), len(sigmas), dtype=torch.float64, device=images.device)
    for rows, level, _, x, sigma, given in noisy_batches(images, labels, positions, sigmas, batch_size):
        best = ideal(x, sigma, given)
        a[rows, level] = weighted_loss(denoiser(x, sigma, given), best, sigma, sigma_data).double()
        w[rows, level] = weighted_loss(linear(x, sigma, given), best, sigma, sigma_data).double()
    r = copies.to(a).unsqueeze(1)
    a, w = r * a, r * w
    return IdealDistance(*_root_of_ratio(a.sum(dim=1), w.sum(dim=1)), (a.sum(dim=0) / w.sum(dim=0)).sqrt())


def _root_of_ratio(a: Tensor, w: Tensor) -> tuple[float, float]:
    """sqrt(sum a / sum w) over images a, w [N] and its standard error (delta method)."""
    ratio, n = a.sum() / w.sum(), len(a)
    if ratio == 0:
        return 0.0, 0.0  # equal to the ideal denoiser at every image: known without error
    se = torch.linalg.vector_norm(a - ratio * w) / w.sum() * (n / (n - 1)) ** 0.5
    return float(ratio.sqrt()), float(se / (2 * ratio.sqrt()))
