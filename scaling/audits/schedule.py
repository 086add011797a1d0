"""A network trained on timesteps seen as D(x; sigma): the conversion from alphas_cumprod, and back.

With alpha_t = alphas_cumprod[t] a timestep holds sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) eps = sqrt(alpha_t) (x_0 + sigma
eps), sigma_t = sqrt((1 - alpha_t)/alpha_t): the scaling s and noise level sigma of Karras et al. 2022, Table 1, "VP".
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

SAME = 1e-5  # relative difference up to which a float32 sigma is a level of the schedule


def schedule_sigmas(alphas_cumprod: Tensor) -> Tensor:
    """alphas_cumprod [T] -> sigma [T] float64; infinite at the end of a schedule of zero signal."""
    alpha = alphas_cumprod.double()
    return ((1 - alpha) / alpha).sqrt()


def nearest_levels(levels: Tensor, sigmas: Tensor) -> Tensor:
    """The level, nearest in ln sigma, of each wanted sigma [J] > 0: levels [T] -> [J] float64."""
    usable = levels[levels.isfinite() & (levels > 0)]
    distance = sigmas.double().log()[:, None] - usable.log()[None].to(sigmas.device)
    return usable.to(sigmas.device)[distance.abs().argmin(dim=1)]


class ScheduledDenoiser:
    """D(x; sigma) of a network (x [B C H W], timestep int64 [B]) -> its prediction, at the levels of its schedule only.

    Between timesteps the network was never trained, so any other sigma raises ValueError. At most `batch` images are
    given to the network at once. prediction: epsilon, v_prediction or sample.
    """

    def __init__(
        self, network: Callable[[Tensor, Tensor], Tensor], alphas_cumprod: Tensor, prediction: str, batch: int = 64
    ) -> None:
        self.network, self.prediction, self.batch = network, prediction, batch
        self.alphas = alphas_cumprod.double()
        self.levels = schedule_sigmas(alphas_cumprod)

    def timesteps(self, sigma: Tensor) -> Tensor:
        """Timesteps int64 [B] of sigma [B]; raises ValueError on one that is no level of the schedule."""
        levels = self.levels.to(sigma.device)
        distance, timestep = (sigma.double()[:, None] - levels[None]).abs().min(dim=1)
        if (distance > SAME * levels[timestep]).any():
            worst = sigma[(distance / levels[timestep]).argmax()]
            raise ValueError(f"sigma={float(worst):g} is no level of the schedule of {len(levels)} timesteps")
        return timestep

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noisy images x_0 + sigma eps [B C H W] at levels sigma [B] -> clean images [B C H W]."""
        timestep = self.timesteps(sigma)
        parts = zip(x.split(self.batch), timestep.split(self.batch), strict=True)
        return torch.cat([self._denoised(*part) for part in parts])

    def _denoised(self, x: Tensor, timestep: Tensor) -> Tensor:
        alpha = rearrange(self.alphas.to(x.device)[timestep], "b -> b 1 1 1")
        scaled = x * alpha.sqrt().to(x.dtype)
        # A network that also predicts its variance answers with twice the channels.
        output = self.network(scaled, timestep)[:, : x.shape[1]]
        return clean_image(output, x, alpha, self.prediction)


def clean_image(output: Tensor, x: Tensor, alpha: Tensor, prediction: str) -> Tensor:
    """x_0 of what the network answered: output, x = x_0 + sigma eps [B C H W], alpha float64 [B 1 1 1] -> [B C H W]."""
    sigma = ((1 - alpha) / alpha).sqrt().to(x.dtype)
    if prediction == "epsilon":  # x_0 = x - sigma eps
        return x - sigma * output
    if prediction == "sample":
        return output
    # v = sqrt(alpha) eps - sqrt(1 - alpha) x_0 (Salimans & Ho 2022, App. D), so x_0 = alpha x - sqrt(1 - alpha) v
    return alpha.to(x.dtype) * x - (1 - alpha).sqrt().to(x.dtype) * output


def model_output(clean: Tensor, x: Tensor, alpha: Tensor, prediction: str) -> Tensor:
    """The inverse of `clean_image`, same shapes: what a network that denoises x to `clean` would have answered."""
    sigma = ((1 - alpha) / alpha).sqrt().to(x.dtype)
    if prediction == "epsilon":
        return (x - clean) / sigma
    if prediction == "sample":
        return clean
    return (alpha.to(x.dtype) * x - clean) / (1 - alpha).sqrt().to(x.dtype)
