"""Random numbers on any device as a pure function of (seed, stream, index): Philox4x32-10 in integer tensor operations.

The bits are equal on CPU and GPU; a normal number may differ in the last place of its logarithm or cosine.
"""

from math import pi

import torch
from torch import Tensor

from scaling.data.streams import STREAMS

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10, Salmon et al. 2011: four int64 tensors [...] of 32-bit words that broadcast -> four [...].

    A product of two 32-bit words wraps in int64, but its bits are those of the unsigned product: masks recover them.
    """
    a, b, c, d = counter
    for turn in range(10):
        k0, k1 = (key[0] + turn * _WEYL[0]) & _WORD, (key[1] + turn * _WEYL[1]) & _WORD
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = ((second >> 32) & _WORD) ^ b ^ k0, second & _WORD, ((first >> 32) & _WORD) ^ d ^ k1, first & _WORD
    return a, b, c, d


def _words(seed: int, stream: str, index: Tensor, n: int) -> Tensor:
    """index [B] int64 -> [B ceil(n/4) 4] random 32-bit words; each index has its own, whatever the batch around it."""
    block = torch.arange((n + 3) // 4, device=index.device)
    low, high = (index & _WORD)[:, None], ((index >> 32) & _WORD)[:, None]
    name = torch.full((), STREAMS.index(stream), device=index.device)
    return torch.stack(
        torch.broadcast_tensors(*philox((block[None], low, high, name), (seed & _WORD, seed >> 32))), dim=-1
    )


def uniforms(seed: int, stream: str, index: Tensor, n: int) -> Tensor:
    """index [B] int64 -> [B n] float64 in (0, 1), never 0 or 1."""
    return ((_words(seed, stream, index, n).double() + 0.5) / 2**32).flatten(1)[:, :n]


def normals(seed: int, stream: str, index: Tensor, n: int) -> Tensor:
    """index [B] int64 -> [B n] float32 standard normal numbers (Box & Muller 1958)."""
    words = _words(seed, stream, index, n)
    # float32 throughout but for the uniform itself, whose 32 bits float32 would round to 0 or 1
    radius = ((words[..., :2].double() + 0.5) / 2**32).log().mul(-2).sqrt().float()
    angle = words[..., 2:].float() * (2 * pi / 2**32)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)[:, :n]


def integers(seed: int, stream: str, index: Tensor, n: int) -> Tensor:
    """index [B] int64 -> [B n] int64 random numbers of 62 bits: sort keys of a permutation."""
    words = _words(seed, stream, index, 2 * n)
    return ((words[..., 0::2] << 30) | (words[..., 1::2] >> 2)).flatten(1)[:, :n]
