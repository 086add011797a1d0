"""A residual multilayer perceptron over flattened images."""

from einops import rearrange
from torch import Tensor, nn

from scaling.models.embedding import sinusoidal


class ResidualBlock(nn.Module):
    """Two linear layers beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x [B W] -> [B W]."""
        return x + self.layers(x)


class MLP(nn.Module):
    """x [B C H W], noise [B], labels [B] or None -> [B C H W].

    The noise level enters as fixed sines added to the hidden vector, so it costs no weights.
    """

    def __init__(self, width: int, blocks: int, image_size: int, channels: int, n_labels: int) -> None:
        super().__init__()
        pixels = channels * image_size**2
        self.width, self.shape = width, (channels, image_size)
        self.first = nn.Linear(pixels, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
        self.last = nn.Linear(width, pixels)
        self.labels = nn.Embedding(n_labels, width) if n_labels else None

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], noise [B] = ln(sigma) / 4, labels int64 [B] or None -> [B C H W]."""
        hidden = self.first(rearrange(x, "b c h w -> b (c h w)")) + sinusoidal(noise, self.width)
        if self.labels is not None:
            hidden = hidden + self.labels(labels)
        channels, size = self.shape
        return rearrange(self.last(self.blocks(hidden)), "b (c h w) -> b c h w", c=channels, h=size)

    def time_weights(self) -> list[Tensor]:
        """The weights of the time embedding: none."""
        return []
