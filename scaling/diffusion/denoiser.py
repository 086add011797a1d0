"""The preconditioned denoiser: a network seen as D(x; sigma), the expected clean image."""

from einops import rearrange
from torch import Tensor, nn


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
        # Karras et al. 2022, Table 1, column "Ours": input and target of the network have variance 1.
        s = rearrange(sigma, "b -> b 1 1 1")
        norm = (s**2 + self.sigma_data**2).sqrt()
        c_skip, c_out, c_in, c_noise = (
            (self.sigma_data / norm) ** 2,
            s * self.sigma_data / norm,
            1 / norm,
            sigma.log() / 4,
        )
        centred = x - self.mean
        output = self.network(c_in * centred, c_noise, labels if self.n_labels else None)
        return self.mean + c_skip * centred + c_out * output.to(x.dtype)
