"""The log-density a denoiser gives each image, in nats, from its squared errors over noise levels (measures.md 2.7).

A bound on the density at one point, which grows without end where sigma_min falls onto a copier: one sigma_min a study.
"""

from math import exp, log, pi, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange, reduce
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.sampler import SIGMA_MAX, Denoises
from scaling.fields import SigmaConfig

SLOTS = 1024  # noise of draw k at level j at position i is that of index (SLOTS i + j) SLOTS + k
BLOCK = 2**24  # pixels looked at together
WINDOW = 5  # levels compared for their noise
NODES = 64  # of Gauss-Hermite quadrature over the noise of one pixel


class LogDensity(NamedTuple):
    """Lower bounds on the log-density of N images."""

    value: Tensor  # [N] nats
    se: Tensor  # [N] over noise draws; NaN where one draw at fewer than 5 levels leaves it unknown


def grey_step(pixels: np.ndarray) -> float:
    """Step between grey levels of a source in [-1, 1]: the median gap of the values in pixels uint8 [N ...].

    Raises ValueError where all pixels are equal.
    """
    flat, found = pixels.reshape(-1), np.zeros(256, dtype=bool)
    for start in range(0, len(flat), BLOCK):  # in blocks: counting makes an int64 of every pixel
        found |= np.bincount(flat[start : start + BLOCK], minlength=256) > 0
    if found.sum() < 2:
        raise ValueError(
            f"{len(pixels)} images with {found.sum()} grey level(s): a step needs 2 levels; give evaluate.sigma_min"
        )
    return float(np.median(np.diff(np.flatnonzero(found)))) / 127.5


def sigma_floor(sigma: SigmaConfig, step: float) -> float:
    """The least noise level of the integral: step/sqrt(12), but no level below the 1 % quantile of the training law.

    Below step/sqrt(12), the sd of rounding to grey levels, the density is that of the grid; below the training law the
    network extrapolates.
    """
    if sigma.value is not None:  # the law `fixed`
        return max(step / sqrt(12), sigma.value)
    quantile = exp(sigma.p_mean + sigma.p_std * NormalDist().inv_cdf(0.01))
    return max(step / sqrt(12), quantile)


def density_sigmas(sigma_min: float, levels: int, sigma_max: float = SIGMA_MAX) -> Tensor:
    """Noise levels [L] of the integral, log-spaced, ascending, float64; ValueError on L < 2 and sigma_min outside."""
    if levels < 2:
        raise ValueError(f"evaluate.density_levels={levels}: an integral over noise levels needs at least 2")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"evaluate.sigma_min={sigma_min:g}: the integral runs from it up to {sigma_max:g}")
    return torch.linspace(log(sigma_min), log(sigma_max), levels, dtype=torch.float64).exp()


@torch.no_grad()
def level_errors(
    denoiser: Denoises,
    images: Tensor,
    labels: Tensor | None,
    positions: Tensor,
    sigmas: Tensor,
    *,
    draws: int = 1,
    batch_size: int = 1024,
) -> Tensor:
    """||D(x + sigma eps; sigma) - x||^2, summed over pixels: images [N C H W], sigmas [L] -> [N L R], float64.

    eps is keyed by (constant, positions int64 [N] in pool or hold-out, level, draw): the same for all models, and for
    position i of the pool and of the hold-out. Raises ValueError on more than 1024 levels or draws.
    """
    if not (1 <= draws <= SLOTS and len(sigmas) <= SLOTS):
        raise ValueError(
            f"evaluate.density_draws={draws}, evaluate.density_levels={len(sigmas)}: an image has noise for "
            f"1 to {SLOTS} of each"
        )
    errors = torch.empty(len(images), len(sigmas), draws, dtype=torch.float64, device=images.device)
    for level, sigma in enumerate(sigmas.tolist()):
        for draw in range(draws):
            for rows in torch.arange(len(images), device=images.device).split(batch_size):
                clean, keys = images[rows], (positions.to(images.device)[rows] * SLOTS + level) * SLOTS + draw
                noise = normals(CONSTANT, "density", keys, clean[0].numel()).reshape(clean.shape).to(clean)
                at = clean.new_full((len(rows),), sigma)
                denoised = denoiser(clean + sigma * noise, at, None if labels is None else labels[rows])
                errors[rows, level, draw] = reduce((denoised - clean).double().square(), "b c h w -> b", "sum")
    return errors


def log_density(errors: Tensor, images: Tensor, sigmas: Tensor, *, mean: float, variance: float) -> LogDensity:
    """The bound L(x) of Kingma et al. 2021 at SNR 1/sigma^2 (exact: Kong et al. 2023), in nats.

    errors [N L R], images [N C H W], sigmas [L] ascending; mean and variance of the source's pixels. If D is the
    posterior mean of a density q, L(x) = E ln q_s(x + sigma_min eps), q_s = q smoothed by sigma_min, up to the prior.
    """
    d = images[0].numel()
    entropy = d / 2 * (1 + log(2 * pi * float(sigmas[0]) ** 2))
    value = -(error_integral(errors, sigmas) + entropy + _prior(images, float(sigmas[-1]), mean, variance))
    return LogDensity(value, _noise_se(errors, sigmas))


def discrete_nats(
    errors: Tensor, images: Tensor, sigmas: Tensor, greys: Tensor, *, mean: float, variance: float
) -> Tensor:
    """Bound [N] on -ln P(x), x an image of grey levels greys [K] ascending in [-1, 1]; / (d ln 2) gives bits/dim.

    The density's bound with the entropy term replaced by that of reading each pixel back from z = x + sigma_min eps by
    softmax_k(-(z - g_k)^2 / (2 sigma_min^2)): finite for a copier. Raises ValueError on pixels between grey levels.
    """
    greys, pixels = greys.double(), images.flatten(1).double()
    middles = (greys[1:] + greys[:-1]) / 2
    grey = torch.bucketize(pixels, middles)
    off = (pixels - greys[grey]).abs().amax()
    if off > 1e-5:
        raise ValueError(
            f"greys: a pixel lies {float(off):g} from the nearest of {len(greys)} levels; give all levels of the source"
        )
    nodes, weights = (torch.as_tensor(part).to(greys) for part in np.polynomial.hermite_e.hermegauss(NODES))
    s = float(sigmas[0])
    z = rearrange(greys, "k -> k 1") + s * nodes
    logits = -(rearrange(z, "k q -> k q 1") - greys).square() / (2 * s**2)
    own = torch.diagonal(logits.log_softmax(dim=2), dim1=0, dim2=2)  # [q k]: level k read back from its own noise
    reading = -einsum(own, weights / sqrt(2 * pi), "q k, q -> k")
    return error_integral(errors, sigmas) + _prior(images, float(sigmas[-1]), mean, variance) + reading[grey].sum(dim=1)


def error_integral(errors: Tensor, sigmas: Tensor) -> Tensor:
    """Integral of e/sigma^2 over ln sigma by the trapezoid rule: errors [N L R], mean over draws -> [N]."""
    mean = errors.double().mean(dim=2)
    return mean / sigmas.to(mean).square() @ trapezoid_weights(sigmas).to(mean)


def trapezoid_weights(sigmas: Tensor) -> Tensor:
    """Weights [L] of the trapezoid rule over ln sigma."""
    half = sigmas.double().log().diff() / 2
    zero = half.new_zeros(1)
    return torch.cat([half, zero]) + torch.cat([zero, half])


def _prior(images: Tensor, sigma_max: float, mean: float, variance: float) -> Tensor:
    """KL(N(x, sigma_max^2 I) || N(mean, T I)) [N], T = sigma_max^2 + variance."""
    x, t = images.flatten(1).double(), sigma_max**2 + variance
    share = sigma_max**2 / t
    return ((x - mean).square().sum(dim=1) / t + x.shape[1] * (share - 1 - log(share))) / 2


def _noise_se(errors: Tensor, sigmas: Tensor) -> Tensor:
    """Standard error [N] of the integral over noise draws [N L R]; levels have independent noise."""
    errors, sigmas = errors.double(), sigmas.to(errors.device, torch.float64)
    integrand = errors / rearrange(sigmas.square(), "l -> l 1")
    weights, draws = trapezoid_weights(sigmas), errors.shape[2]
    if draws > 1:
        return (integrand.var(dim=2) / draws @ weights.square()).sqrt()
    if len(sigmas) < WINDOW:
        return errors.new_full((len(errors),), torch.nan)
    # Gasser, Sroka & Jennen-Steinmetz 1986: a level against its neighbours, here against the cubic through four of them
    # (a fourth difference): a straight line through two takes the rise of e/sigma^2 as sigma^-2 for noise.
    t = sigmas.log().unfold(0, WINDOW, 1)
    gap = rearrange(t, "l i -> l i 1") - rearrange(t, "l j -> l 1 j")
    gap.diagonal(dim1=1, dim2=2).fill_(1)
    share = 1 / gap.prod(dim=2)
    share = share / torch.linalg.vector_norm(share, dim=1, keepdim=True)
    variance = einsum(integrand[:, :, 0].unfold(1, WINDOW, 1), share, "n l i, l i -> n l").square()
    # The two levels at each end take the variance of their neighbour.
    variance = torch.cat([variance[:, :1].expand(-1, 2), variance, variance[:, -1:].expand(-1, 2)], dim=1)
    return (variance @ weights.square()).sqrt()
