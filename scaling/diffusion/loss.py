"""The weighted denoising loss. Every loss of the project, optimised or measured, is this one."""

from einops import reduce
from torch import Tensor


def weighted_loss(denoised: Tensor, clean: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """lambda(sigma) ||D - x||^2 / d: denoised, clean [B C H W], sigma [B] -> [B]; a network output of 0 scores 1.

    lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2, Karras et al. 2022, Table 1.
    """
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * reduce((denoised - clean).square(), "b c h w -> b", "mean")
