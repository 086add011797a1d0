"""The deterministic sampler: Heun's method on the probability-flow equation, sigma as time."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Denoises = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (x, sigma, labels) -> D(x; sigma)
SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0  # Karras et al. 2022, Table 1


def karras_sigmas(steps: int, sigma_max: float = SIGMA_MAX, sigma_min: float = SIGMA_MIN) -> Tensor:
    """Noise levels [steps + 1] of Karras et al. 2022, Eq. 5, float64, falling from sigma_max to sigma_min, then 0.

    A start below 80 (basin recovery) keeps the same law between its own ends. Raises ValueError on steps < 2.
    """
    if steps < 2:
        raise ValueError(f"evaluate.sampler_steps={steps}: a path needs at least 2 noise levels")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    ends = torch.tensor([sigma_max, sigma_min], dtype=torch.float64) ** (1 / RHO)
    return torch.cat([(ends[0] + ramp * (ends[1] - ends[0])) ** RHO, torch.zeros(1, dtype=torch.float64)])


def heun_step(
    denoiser: Denoises, x: Tensor, now: Tensor | float, after: Tensor | float, labels: Tensor | None
) -> Tensor:
    """One step of Karras et al. 2022, Algorithm 1: x [B C H W] at level now -> at level after.

    The step to 0 is Euler's: there the correction would divide by 0.
    """

    def slope(at: Tensor, sigma: Tensor | float) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=at.dtype, device=at.device).expand(len(at))
        return (at - denoiser(at, levels, labels)) / sigma

    d = slope(x, now)
    euler = x + (after - now) * d
    return euler if after == 0 else x + (after - now) * (d + slope(euler, after)) / 2


def heun(
    denoiser: Denoises,
    x: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    visit: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Karras et al. 2022, Algorithm 1: x [B C H W] at noise level sigmas[0] -> images [B C H W] at level sigmas[-1].

    `visit` is told (step, x) before each step: the state at level sigmas[step], which it must not change.
    """
    for step, (now, after) in enumerate(pairwise(sigmas.to(dtype=x.dtype).tolist())):
        if visit is not None:
            visit(step, x)
        x = heun_step(denoiser, x, now, after, labels)
    return x


@torch.no_grad()
def sample(
    denoiser: Denoises,
    noise: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    *,
    batch_size: int = 256,
    visit: Callable[[int, slice, Tensor], None] | None = None,
) -> Tensor:
    """Images [B C H W], clamped to [-1, 1] but not rounded, from unit noise [B C H W]; in batches of bounded memory.

    `visit` is told (step, rows, x) before each step: the state of samples `rows` at level sigmas[step].
    """
    made = []
    for start in range(0, len(noise), batch_size):
        part = slice(start, min(start + batch_size, len(noise)))
        x = noise[part] * sigmas[0].to(noise)
        told = None if visit is None else lambda step, x, rows=part: visit(step, rows, x)
        made.append(heun(denoiser, x, sigmas, None if labels is None else labels[part], told).clamp(-1, 1))
    return torch.cat(made)
