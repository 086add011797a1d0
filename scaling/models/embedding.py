"""The sinusoidal embedding of the noise level."""

from math import log

import torch
from torch import Tensor

MAX_PERIOD = 10_000


def sinusoidal(noise: Tensor, width: int) -> Tensor:
    """noise [B] -> [B width] sines and cosines, Vaswani et al. 2017, Sec. 3.5; the last is 0 where width is odd."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=noise.device, dtype=torch.float32) * (-log(MAX_PERIOD) / max(half, 1)))
    angle = noise.float()[:, None] * rates
    return torch.nn.functional.pad(torch.cat([angle.sin(), angle.cos()], dim=-1), (0, width % 2))
