"""The preconditioned denoiser: a network seen as D(x; sigma), the expected clean image."""

from typing import NamedTuple

from einops import rearrange
from torch import Tensor, nn


class Preconditioning(NamedTuple):
    """Karras et al. 2022, Table 1, column "Ours": input and target of the network have variance 1."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def preconditioning(sigma: Tensor, sigma_data: Tensor | float) -> Preconditioning:
    """Karras et al. 2022, Table 1, column "Ours": sigma and sigma_data [...] of any shapes that broadcast."""
    norm = (sigma**2 + sigma_data**2).sqrt()
    return Preconditioning((sigma_data / norm) ** 2, sigma * sigma_data / norm, 1 / norm, sigma.log() / 4)


class Denoiser(nn.Module):
    """D(x; sigma) of Karras et al. 2022, Eq. 7, over a network (x [B C H W], noise [B], labels [B]) -> [B C H W].

    `mean` is the grey mean of the source, subtracted before preconditioning and added back after: without it an output
    of 0 would not score 1. `sigma_data` is the standard deviation of the source's pixels. Both belong to the source,
    not to the run.
    """

    def __init__(self, network: nn.Module, *, mean: float, sigma_data: float, n_labels: int = 0) -> None:
        super().__init__()
        self.network, self.mean, self.sigma_data, self.n_labels = network, mean, sigma_data, n_labels

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noisy images x [B C H W] at noise levels sigma [B] -> clean images [B C H W], float32."""
        made = preconditioning(rearrange(sigma, "b -> b 1 1 1"), self.sigma_data)
        centred = x - self.mean
        output = self.network(made.c_in * centred, sigma.log() / 4, labels if self.n_labels else None)
        return self.mean + made.c_skip * centred + made.c_out * output.to(x.dtype)
