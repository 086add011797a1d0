"""Losses of single images under evaluation noise that is the same in every run, their means and standard errors.

Images are the units: the draws of one image share its difficulty, so every standard error is over images, not draws.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.loss import weighted_loss
from scaling.diffusion.sampler import Denoises
from scaling.fields import SigmaConfig

SLOTS = 1024  # noise of level j at position i is that of index SLOTS i + j
LIMIT = 2048  # images above which a fixed subset is measured
LEAST = 64  # images of a stratum that the subset keeps


class Estimate(NamedTuple):
    """A mean and its standard error."""

    value: float
    se: float  # NaN where one image leaves it unknown


class Subset(NamedTuple):
    """Images that stand for all, drawn by stratum."""

    index: Tensor  # type: ignore[assignment]  # [N] int64, ascending; tuple.index is not used
    weight: Tensor  # [N] float64: images of the stratum for each one kept


def evaluation_sigmas(sigma: SigmaConfig, draws: int) -> Tensor:
    """Noise levels [J] of the losses, float64: the mid-quantiles of the training law, or its fixed level J times.

    Raises ValueError on J outside 1 to SLOTS.
    """
    if not 1 <= draws <= SLOTS:
        raise ValueError(f"evaluate.draws={draws}: an image has noise for 1 to {SLOTS} levels")
    if sigma.value is not None:  # the law `fixed`
        return torch.full((draws,), sigma.value, dtype=torch.float64)
    quantile = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    return (sigma.p_mean + sigma.p_std * torch.special.ndtri(quantile)).exp()


def evaluation_noise(positions: Tensor, level: int, shape: torch.Size) -> Tensor:
    """Noise [B C H W] keyed by (constant, position int64 [B] in pool or hold-out, level < SLOTS), on their device."""
    if not 0 <= level < SLOTS:
        raise ValueError(f"evaluate.draws={level + 1}: an image has noise for 1 to {SLOTS} levels")
    return normals(CONSTANT, "evaluation", positions * SLOTS + level, shape.numel()).reshape(-1, *shape)


class Noisy(NamedTuple):
    """Some of the images at one noise level."""

    rows: Tensor  # int64 [B] which images
    level: int
    clean: Tensor  # [B C H W]
    x: Tensor  # [B C H W] clean + sigma eps
    sigma: Tensor  # [B]
    labels: Tensor | None  # int64 [B]


def noisy_batches(
    images: Tensor, labels: Tensor | None, positions: Tensor, sigmas: Tensor, batch_size: int
) -> Iterator[Noisy]:
    """All images [N C H W], level by level of sigmas [J], under `evaluation_noise` at positions int64 [N]."""
    for level, sigma in enumerate(sigmas.tolist()):
        for rows in torch.arange(len(images), device=images.device).split(batch_size):
            clean, where = images[rows], positions.to(images.device)[rows]
            x = clean + sigma * evaluation_noise(where, level, clean.shape[1:]).to(clean)
            at = clean.new_full((len(rows),), sigma)
            yield Noisy(rows, level, clean, x, at, None if labels is None else labels[rows])


@torch.no_grad()
def image_losses(
    denoiser: Denoises,
    images: Tensor,
    labels: Tensor | None,
    positions: Tensor,
    sigmas: Tensor,
    *,
    sigma_data: float,
    batch_size: int = 1024,
) -> Tensor:
    """Weighted loss of each image at each level: images [N C H W], positions int64 [N], sigmas [J] -> [N J] float64."""
    losses = torch.empty(len(images), len(sigmas), dtype=torch.float64, device=images.device)
    for rows, level, clean, x, sigma, given in noisy_batches(images, labels, positions, sigmas, batch_size):
        losses[rows, level] = weighted_loss(denoiser(x, sigma, given), clean, sigma, sigma_data).double()
    return losses


def measured_images(copies: Tensor, limit: int = LIMIT, least: int = LEAST) -> Subset:
    """Which images the costly instruments look at: all up to `limit`; beyond, the first ones of every stratum.

    copies int [U]. Strata share the limit by size, but each keeps at least min(its size, `least`) images; the weights
    make a weighted mean stand for all images.
    """
    if len(copies) <= limit:
        return Subset(torch.arange(len(copies), device=copies.device), torch.ones_like(copies, dtype=torch.float64))
    weight = torch.zeros_like(copies, dtype=torch.float64)
    for r in copies.unique():
        members = (copies == r).nonzero().squeeze(1)
        kept = max(limit * len(members) // len(copies), min(len(members), least))
        weight[members[:kept]] = len(members) / kept
    index = weight.nonzero().squeeze(1)
    return Subset(index, weight[index])


def mean_and_se(losses: Tensor, weight: Tensor | None = None) -> Estimate:
    """Mean over images [N] and its standard error over images; weight [N] from `measured_images`. Raises on N = 0."""
    mean, error = _deviations(losses, weight)
    return Estimate(float(mean), _norm(error))


def gap_and_se(seen: Tensor, holdout: Tensor, weight: Tensor | None = None) -> Estimate:
    """Mean holdout - mean seen loss and its standard error: seen [N] (of this weight), holdout [M], by position.

    With as many images on both sides and no weights, image i of one shares its noise with image i of the other and
    their covariance is taken off.
    """
    (mean_s, error_s), (mean_h, error_h) = _deviations(seen, weight), _deviations(holdout, None)
    paired = len(seen) == len(holdout) and weight is None
    se = _norm(error_h - error_s) if paired else (_norm(error_s) ** 2 + _norm(error_h) ** 2) ** 0.5
    return Estimate(float(mean_h - mean_s), se)


def _deviations(losses: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean and what each image adds to its error [N]: the squares of these sum to the squared standard error."""
    if not len(losses):
        raise ValueError("the mean over 0 images was asked for: leave its column empty")
    losses = losses.double()
    share = torch.ones_like(losses) if weight is None else weight.to(losses)
    share = share / share.sum()
    mean, n = (share * losses).sum(), len(losses)
    return mean, share * (losses - mean) * ((n / (n - 1)) ** 0.5 if n > 1 else torch.nan)


def _norm(error: Tensor) -> float:
    return float(torch.linalg.vector_norm(error))
