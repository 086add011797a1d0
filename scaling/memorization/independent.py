"""Have two models, trained on other images, become one function? Asked of denoisers and of samples from one noise.

Kadkhodaie et al. 2024 (arXiv 2310.02557): on disjoint halves of enough images two networks learn the same denoiser and
draw the same samples from the same noise; on few images each draws its own training images (measures.md 2.10, 2.13).
TRAP: two untrained networks are close as well (both answer little beyond c_skip x): near is only convergence where the
held-out loss has fallen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.diffusion.loss import weighted_loss
from scaling.diffusion.sampler import Denoises
from scaling.memorization.criteria import MEMORIZED, Match
from scaling.memorization.losses import Estimate, mean_and_se, noisy_batches

STILL = 1e-6  # rms pixel: a sample nearer to its run's mean than float32 tells has no direction


@dataclass(frozen=True, eq=False)
class DenoiserDistance:
    """sqrt(A/W): A = sum of lambda ||D_a(y) - D_b(y)||^2, W = the mean of both models' sums to the linear denoiser.

    0 = one function, 1 = as far from each other as each is from linear, sqrt 2 = what they have beyond linear is
    unrelated (or one of them is linear), 2 = opposite. Its square is the harmonic mean of the two squares of
    `ideal_distance` that take one model for the ideal one of the other: unlike these it is bounded and symmetric.
    """

    apart: Tensor  # [N J] float64 lambda ||D_a(y) - D_b(y)||^2 / d
    scale: Tensor  # [N J] float64 the mean over a and b of lambda ||D(y) - D_linear(y)||^2 / d

    def over(self, levels: Tensor | None = None) -> Estimate:
        """The distance over these levels (bool [J]; None = all) and its standard error, clustered by image.

        Raises ValueError where there is no such level.
        """
        chosen = slice(None) if levels is None else levels
        a, w = self.apart[:, chosen], self.scale[:, chosen]
        if not a.shape[1]:
            raise ValueError("the distance over 0 noise levels was asked for: leave its column empty")
        if not a.any():
            return Estimate(0.0, 0.0)  # one function at every image, also where it is the linear one and W is 0
        a, w = a.sum(dim=1), w.sum(dim=1)
        ratio = a.sum() / w.sum()
        value, of_ratio = float(ratio.sqrt()), mean_and_se((a - ratio * w) / w.mean())  # delta method, twice
        return Estimate(value, of_ratio.se / (2 * value))


@torch.no_grad()
def denoiser_distance(
    a: Denoises,
    b: Denoises,
    linear: Denoises,
    images: Tensor,
    positions: Tensor,
    sigmas: Tensor,
    *,
    sigma_data: float,
    labels: Tensor | None = None,
    batch_size: int = 1024,
) -> DenoiserDistance:
    """How far a and b are apart at y = u + sigma_j eps: images [N C H W], positions int64 [N], sigmas [J], labels [N].

    linear: one denoiser for both, that of the two training sets together. Raises ValueError on fewer than 2 images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} image(s): a distance of denoisers and its standard error need at least 2")
    apart, scale = torch.zeros(2, len(images), len(sigmas), dtype=torch.float64, device=images.device)
    for rows, level, _, x, sigma, given in noisy_batches(images, labels, positions, sigmas, batch_size):
        of_a, of_b, of_linear = (denoiser(x, sigma, given) for denoiser in (a, b, linear))
        apart[rows, level] = weighted_loss(of_a, of_b, sigma, sigma_data).double()
        both = [weighted_loss(one, of_linear, sigma, sigma_data).double() for one in (of_a, of_b)]
        scale[rows, level] = (both[0] + both[1]) / 2
    return DenoiserDistance(apart, scale)


class SampleCosines(NamedTuple):
    """se: over samples; value -+ 1.96 se is the 95 % interval."""

    value: Estimate
    null: Estimate  # sample i of one run with sample i + 1 of the other: 0 but for order 1/B, as both means are removed


def sample_cosines(x_a: Tensor, x_b: Tensor) -> SampleCosines:
    """Mean cosine of x_A(z) and x_B(z) [B C H W], row by row of one z, each minus its run's mean sample.

    The mean goes because it is common to any two models of one source: with it every cosine is near 1. Labels stay: of
    conditional models a part of the cosine is the label that z shares, and the null, whose labels differ, has it not.
    Raises ValueError on fewer than 3 samples, on samples that are not finite and on one that equals its run's mean.
    """
    if x_a.shape != x_b.shape or len(x_a) < 3:
        raise ValueError(f"samples {list(x_a.shape)} and {list(x_b.shape)}: pairs are needed, at least 3 of them")
    directions = []
    for name, x in (("A", x_a), ("B", x_b)):
        if not x.isfinite().all():
            raise ValueError(f"samples of {name} are not finite: leave out their pairs and count them")
        moved = x.flatten(1).double()
        moved = moved - moved.mean(dim=0)
        length = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        if still := int((length < STILL * moved.shape[1] ** 0.5).sum()):
            raise ValueError(f"{still} of {len(x)} samples of {name} equal its mean sample: they have no direction")
        directions.append(moved / length)
    d_a, d_b = directions
    return SampleCosines(mean_and_se((d_a * d_b).sum(dim=1)), mean_and_se((d_a * d_b.roll(-1, dims=0)).sum(dim=1)))


def n_same_image(a: Match, b: Match, number_a: Tensor, number_b: Tensor) -> int:
    """Pairs of samples of one noise that both memorized the same image.

    a, b: each run's samples among its own training images; number_a [U_A], number_b [U_B]: int64 one numbering of all
    images. 0 where the training sets are disjoint.
    """
    memorized = (a.ratio < MEMORIZED) & (b.ratio < MEMORIZED)
    return int((memorized & (number_a[a.image] == number_b[b.image])).sum())
