"""The convolutional U-Net: diffusers' UNet2DModel at any width, with its skips kept or zeroed."""

from collections.abc import Callable
from fractions import Fraction
from math import floor
from typing import Any

from diffusers import UNet2DModel
from torch import Tensor, nn

from scaling.sizes import head_size, norm_groups


class UNet(nn.Module):
    """x [B C H W], noise [B], labels [B] or None -> [B C H W]. `model` is saved and loaded by diffusers as it is."""

    def __init__(
        self,
        width: int,
        channel_mult: list[int],
        blocks: int,
        attention: bool,
        skips: Fraction,
        image_size: int,
        channels: int,
        n_labels: int,
    ) -> None:
        super().__init__()
        self.labelled, self.attends = n_labels > 0, attention
        lower = len(channel_mult) - 1
        kind = "Attn" if attention else ""
        self.model = UNet2DModel(
            sample_size=image_size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=[width * mult for mult in channel_mult],
            layers_per_block=blocks,
            norm_num_groups=norm_groups(width),
            down_block_types=["DownBlock2D"] + [f"{kind}DownBlock2D"] * lower,
            up_block_types=[f"{kind}UpBlock2D"] * lower + ["UpBlock2D"],
            add_attention=attention,
            attention_head_dim=head_size(width, channel_mult),
            num_class_embeds=n_labels or None,
        )
        self.alive = _alive(skips, [len(block.resnets) for block in self.model.up_blocks])
        for block, alive in zip(self.model.up_blocks, self.alive, strict=True):
            if alive < len(block.resnets):
                block.register_forward_pre_hook(_zero_all_but(alive), with_kwargs=True)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], noise [B] = ln(sigma) / 4, labels int64 [B] or None -> [B C H W]."""
        return self.model(x, noise, class_labels=labels if self.labelled else None, return_dict=False)[0]

    def time_weights(self) -> list[Tensor]:
        """The weights of the time embedding: the two layers and their projections into every residual layer."""
        return [weight for name, weight in self.model.named_parameters() if "time_emb" in name]


def _alive(share: Fraction, per_block: list[int]) -> list[int]:
    """Skip tensors kept in each up block, so that floor(share x their number), the deepest, are kept.

    per_block: deepest first, as they are used.
    """
    kept, alive = floor(share * sum(per_block)), []
    for count in per_block:
        alive.append(min(kept, count))
        kept -= alive[-1]
    return alive


def _zero_all_but(alive: int) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """A hook that zeroes the skip tensors of an up block but the `alive` first used, which are the tuple's last."""

    def hook(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden, skips, *rest = args
        gated = tuple(s if at >= len(skips) - alive else s * 0 for at, s in enumerate(skips))
        return (hidden, gated, *rest), kwargs

    return hook
