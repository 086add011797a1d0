"""A small diffusion transformer (Peebles & Xie 2023, adaLN-Zero)."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from scaling.models.embedding import sinusoidal
from scaling.sizes import DIT_PATCH, HEAD


def heads(width: int) -> int:
    """Attention heads: as many as HEAD channels each allow, dividing the width."""
    return max(n for n in range(1, max(width // HEAD, 1) + 1) if width % n == 0)


class Block(nn.Module):
    """Attention and perceptron, each shifted, scaled and gated by the condition [B width] (adaLN-Zero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = heads(width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.condition = nn.Linear(width, 6 * width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention over the tokens: x [B T W] -> [B T W]."""
        q, k, v = (rearrange(f(x), "b t (h d) -> b h t d", h=self.heads) for f in (self.query, self.key, self.value))
        return self.out(rearrange(scaled_dot_product_attention(q, k, v), "b h t d -> b t (h d)"))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B T W], condition [B W] -> [B T W]."""
        shift_a, scale_a, gate_a, shift_p, scale_p, gate_p = self.condition(condition)[:, None].chunk(6, dim=-1)
        x = x + gate_a * self.attend(self.norm(x) * (1 + scale_a) + shift_a)
        return x + gate_p * self.perceptron(self.norm(x) * (1 + scale_p) + shift_p)


class DiT(nn.Module):
    """x [B C H W], noise [B], labels [B] or None -> [B C H W]; patches of 2x2 pixels, learned positions."""

    def __init__(self, width: int, blocks: int, image_size: int, channels: int, n_labels: int) -> None:
        super().__init__()
        side, pixels = image_size // DIT_PATCH, channels * DIT_PATCH**2
        self.width, self.side = width, side
        self.first = nn.Linear(pixels, width)
        self.position = nn.Parameter(torch.randn(side**2, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(n_labels, width) if n_labels else None
        self.blocks = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, pixels)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], noise [B] = ln(sigma) / 4, labels int64 [B] or None -> [B C H W]."""
        condition = self.time(sinusoidal(noise, self.width))
        if self.labels is not None:
            condition = condition + self.labels(labels)
        condition = nn.functional.silu(condition)
        patches = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=DIT_PATCH, q=DIT_PATCH)
        hidden = self.first(patches) + self.position
        for block in self.blocks:
            hidden = block(hidden, condition)
        shift, scale = self.final(condition)[:, None].chunk(2, dim=-1)
        out = self.last(self.norm(hidden) * (1 + scale) + shift)
        return rearrange(out, "b (h w) (c p q) -> b c (h p) (w q)", h=self.side, p=DIT_PATCH, q=DIT_PATCH)

    def time_weights(self) -> list[Tensor]:
        """The weights of the time embedding."""
        return list(self.time.parameters())
