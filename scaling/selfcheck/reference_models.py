"""Three denoisers in closed form whose memorization is known: a copier, a generalizer and a half copier.

measures.md, section 5. Each is called as a trained denoiser is, D(x; sigma), and computes in float64; the last two
ignore labels, and also draw from their density: `draw(index)` gives image `index` of an endless keyed sequence.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from scaling.data.noise import normals, uniforms
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import IdealDenoiser

Copier = IdealDenoiser  # of U: every sample is a training image, by copies


@dataclass(frozen=True)
class Generalizer:
    """The posterior mean of the population N(mu, s^2 I)/2 + N(-mu, s^2 I)/2: mu [C H W], s = `spread`.

    D = x s^2/v + mu (sigma^2/v) tanh(x.mu/v), v = s^2 + sigma^2. Seen and held-out images are alike to it.
    """

    mu: Tensor
    spread: float = 1.0

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], sigma [B] -> [B C H W] in the dtype of x."""
        flat, s2 = x.flatten(1).double(), rearrange(sigma.double().square(), "b -> b 1")
        mu, v = self.mu.to(flat).flatten(), self.spread**2 + s2
        along = rearrange(flat @ mu, "b -> b 1")
        return (flat * self.spread**2 / v + mu * (s2 / v) * torch.tanh(along / v)).to(x.dtype).reshape(x.shape)

    def draw(self, index: Tensor, seed: int = CONSTANT) -> Tensor:
        """Images [B C H W] of the population, index int64 [B]."""
        sign = torch.where(_coin(index, seed), 1.0, -1.0).to(self.mu)
        return rearrange(sign, "b -> b 1 1 1") * self.mu + self.spread * _noise(index, seed, self.mu)


@dataclass(frozen=True)
class HalfCopier:
    """The posterior mean of half U, half N(0, s^2 I): unique [n C H W], s = `spread`.

    Component weights (1/2n) N(x; u_i, sigma^2 I) and (1/2) N(x; 0, v I), v = s^2 + sigma^2; means u_i and x s^2/v.
    """

    unique: Tensor
    spread: float = 1.0

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], sigma [B] -> [B C H W] in the dtype of x."""
        flat, s2 = x.flatten(1).double(), rearrange(sigma.double().square(), "b -> b 1")
        u, v = self.unique.to(flat).flatten(1), self.spread**2 + s2
        (n, d), squared = u.shape, flat.square().sum(dim=1, keepdim=True)
        copied = -(torch.cdist(flat, u).square() / s2 + d * s2.log()) / 2 - torch.tensor(n).to(flat).log()
        new = -(squared / v + d * v.log()) / 2
        weight = torch.cat([copied, new], dim=1).softmax(dim=1)
        return (weight[:, :n] @ u + weight[:, n:] * flat * self.spread**2 / v).to(x.dtype).reshape(x.shape)

    def draw(self, index: Tensor, seed: int = CONSTANT) -> Tensor:
        """Images [B C H W]: each a training image or a new one, by a fair coin; index int64 [B]."""
        choice = (uniforms(seed, "draw", index, 2)[:, 1] * len(self.unique)).long()
        new = self.spread * _noise(index, seed, self.unique[0])
        return torch.where(rearrange(_coin(index, seed), "b -> b 1 1 1"), self.unique[choice], new)


def _coin(index: Tensor, seed: int) -> Tensor:
    return uniforms(seed, "draw", index, 1)[:, 0] < 0.5


def _noise(index: Tensor, seed: int, like: Tensor) -> Tensor:
    # Not the stream "sample": a model's sample b starts there, and would resemble image b of its own population.
    return normals(seed, "near", index, like.numel()).reshape(-1, *like.shape).to(like)
