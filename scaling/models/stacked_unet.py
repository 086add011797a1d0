"""K U-Nets of one shape as one function of their stacked weights: the forward pass of training.

The layers are those of diffusers' UNet2DModel without attention, the weights keep its names, and what comes out equals
it (a test says how closely). K networks lie side by side in the channels: a convolution has K groups, a GroupNorm K
times the groups, a linear layer is a batched product. One network (K = 1) takes the same way and is rid of what the
library does around its layers; K of them share the cost of starting each operation, which is most of a small step.
"""

from collections.abc import Callable, Mapping

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, interpolate, silu

Weights = Mapping[str, Tensor]  # by the names of models/unet.py, each [K ...]


class StackedUNet:
    """x [B K C H W], noise [B K], labels [B K] or None -> [B K C H W] of K networks shaped like `model`.

    alive: of the skip tensors of each up block, how many are kept, those first used (models/unet.py).
    """

    def __init__(self, model: UNet2DModel, alive: list[int]) -> None:
        self.alive = alive
        self.groups, self.eps = model.conv_norm_out.num_groups, model.conv_norm_out.eps
        self.down = [(len(block.resnets), block.downsamplers is not None) for block in model.down_blocks]
        self.up = [(len(block.resnets), block.upsamplers is not None) for block in model.up_blocks]
        self.sinusoids: Callable[[Tensor], Tensor] = model.time_proj
        names = {f"model.{name}": weight for name, weight in model.named_parameters()}
        self.resnets = [name.removesuffix(".time_emb_proj.weight") for name in names if "time_emb_proj.weight" in name]
        self.projected = [len(names[f"{name}.time_emb_proj.weight"]) for name in self.resnets]
        self.shortcuts = {name for name in self.resnets if f"{name}.conv_shortcut.weight" in names}
        self.labelled = model.class_embedding is not None

    def __call__(self, weights: Weights, x: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        run = _Pass(self, weights, x.shape[1])
        return run.through(x.flatten(1, 2), run.embedding(noise, labels)).view_as(x)


class _Pass:
    """One forward pass; hidden tensors are [B K*C H W]."""

    def __init__(self, shape: StackedUNet, weights: Weights, k: int) -> None:
        self.shape, self.weights, self.k = shape, weights, k

    def embedding(self, noise: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """What each residual layer adds to its channels, [B K*C 1 1] by the layer's name: one product for all."""
        shape, weights, k = self.shape, self.weights, self.k
        sines = shape.sinusoids(noise.t().reshape(-1)).view(k, len(noise), -1).to(noise.dtype)
        hidden = silu(self._linear("model.time_embedding.linear_1", sines))
        hidden = self._linear("model.time_embedding.linear_2", hidden)
        if shape.labelled:
            assert labels is not None  # a labelled network is never asked without
            table = weights["model.class_embedding.weight"]
            hidden = hidden + table.gather(1, labels.t()[:, :, None].expand(-1, -1, table.shape[2]))
        weight = torch.cat([weights[f"{name}.time_emb_proj.weight"] for name in shape.resnets], dim=1)
        bias = torch.cat([weights[f"{name}.time_emb_proj.bias"] for name in shape.resnets], dim=1)
        added = torch.baddbmm(bias[:, None], silu(hidden), weight.mT).split(shape.projected, dim=2)
        return {
            name: part.transpose(0, 1).reshape(len(noise), -1, 1, 1)
            for name, part in zip(shape.resnets, added, strict=True)
        }

    def through(self, x: Tensor, added: dict[str, Tensor]) -> Tensor:
        hidden = self._conv("model.conv_in", x)
        skips = [hidden]
        for depth, (layers, downsampled) in enumerate(self.shape.down):
            for layer in range(layers):
                skips.append(hidden := self._resnet(f"model.down_blocks.{depth}.resnets.{layer}", hidden, added))
            if downsampled:
                skips.append(hidden := self._conv(f"model.down_blocks.{depth}.downsamplers.0.conv", hidden, stride=2))
        for layer in range(2):
            hidden = self._resnet(f"model.mid_block.resnets.{layer}", hidden, added)
        for depth, (layers, upsampled) in enumerate(self.shape.up):
            for layer in range(layers):
                skip = skips.pop()
                kept = skip if layer < self.shape.alive[depth] else torch.zeros_like(skip)
                hidden = self._resnet(f"model.up_blocks.{depth}.resnets.{layer}", self._beside(hidden, kept), added)
            if upsampled:
                hidden = self._conv(f"model.up_blocks.{depth}.upsamplers.0.conv", interpolate(hidden, scale_factor=2.0))
        return self._conv("model.conv_out", self._activated("model.conv_norm_out", hidden))

    def _resnet(self, name: str, x: Tensor, added: dict[str, Tensor]) -> Tensor:
        hidden = self._conv(f"{name}.conv1", self._activated(f"{name}.norm1", x)) + added[name]
        hidden = self._conv(f"{name}.conv2", self._activated(f"{name}.norm2", hidden))
        return hidden + (self._conv(f"{name}.conv_shortcut", x) if name in self.shape.shortcuts else x)

    def _activated(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"].reshape(-1), self.weights[f"{name}.bias"].reshape(-1)
        return silu(group_norm(x, self.k * self.shape.groups, weight, bias, self.shape.eps))

    def _conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"].flatten(0, 1), self.weights[f"{name}.bias"].reshape(-1)
        return conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2, groups=self.k)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        """x [K B I] -> [K B O]."""
        return torch.baddbmm(self.weights[f"{name}.bias"][:, None], x, self.weights[f"{name}.weight"].mT)

    def _beside(self, one: Tensor, other: Tensor) -> Tensor:
        """The channels of both, network by network."""
        if self.k == 1:
            return torch.cat([one, other], dim=1)
        apart = (x.unflatten(1, (self.k, -1)) for x in (one, other))
        return torch.cat([*apart], dim=2).flatten(1, 2)
