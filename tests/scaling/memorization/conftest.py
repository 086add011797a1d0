"""Images and reference denoisers with known behaviour (measures.md, section 5)."""

from collections.abc import Callable

import pytest
import torch
from einops import rearrange
from sklearn.datasets import load_digits
from torch import Tensor


@pytest.fixture(scope="session")
def digits() -> Tensor:
    """[1797 1 8 8] in [-1, 1], the order of scikit-learn."""
    return (torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1).reshape(-1, 1, 8, 8)


@pytest.fixture(scope="session")
def generalizer() -> Callable[[Tensor], Callable]:
    """mu [D] -> the posterior mean of N(mu, I)/2 + N(-mu, I)/2: x/v + mu (sigma^2/v) tanh(x.mu/v), v = 1 + sigma^2."""

    def of(mu: Tensor) -> Callable:
        def denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
            flat, s2 = x.flatten(1), rearrange(sigma.square(), "b -> b 1")
            v = 1 + s2
            return (flat / v + mu * (s2 / v) * torch.tanh(flat @ rearrange(mu, "d -> d 1") / v)).reshape(x.shape)

        return denoiser

    return of


@pytest.fixture(scope="session")
def half_copier() -> Callable[[Tensor], Callable]:
    """unique [n C H W] -> the posterior mean of half U, half N(0, I)."""

    def of(unique: Tensor) -> Callable:
        u = unique.flatten(1).double()

        def denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
            flat, s2 = x.flatten(1).double(), rearrange(sigma.double().square(), "b -> b 1")
            n, d, v = len(u), flat.shape[1], 1 + s2
            copy = -(torch.cdist(flat, u).square() / s2 + d * s2.log()) / 2 - torch.tensor(float(n)).log()
            new = -(flat.square().sum(1, keepdim=True) / v + d * v.log()) / 2
            weight = torch.cat([copy, new], dim=1).softmax(dim=1)
            return (weight[:, :n] @ u + weight[:, n:] * flat / v).to(x.dtype).reshape(x.shape)

        return denoiser

    return of
