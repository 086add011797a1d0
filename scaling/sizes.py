"""Sizes without torch: parameter counts of the families in closed form, and the ladder's rung nearest to a target.

Standard library only, since a run's identity needs its width. Tests hold every count equal to the real network's.
"""

from math import log
from typing import Protocol

RUNGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
DIT_PATCH = 2
HEAD = 8  # channels of an attention head, at most


class ModelShape(Protocol):
    """What of a model's configuration decides its size."""

    # Properties: a frozen configuration has them to read, not to set.
    @property
    def family(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def channel_mult(self) -> list[int]: ...
    @property
    def blocks(self) -> int: ...
    @property
    def attention(self) -> bool: ...


def norm_groups(width: int) -> int:
    """Groups of every GroupNorm: the largest divisor of the width up to 8."""
    return max(g for g in range(1, 9) if width % g == 0)


def _conv(i: int, o: int, kernel: int = 3) -> int:
    return i * o * kernel**2 + o


def _linear(i: int, o: int) -> int:
    return i * o + o


def _resnet(i: int, o: int, time: int) -> int:
    shortcut = _conv(i, o, 1) if i != o else 0
    return 2 * i + _conv(i, o) + _linear(time, o) + 2 * o + _conv(o, o) + shortcut


def head_size(width: int, channel_mult: list[int]) -> int:
    """Channels of an attention head of the unet: HEAD, or the narrowest attended layer's channels if fewer."""
    return min(HEAD, *(width * mult for mult in channel_mult[1:]))


def _attention(channels: int, head: int) -> int:
    inner = channels // head * head
    return 2 * channels + 3 * _linear(channels, inner) + _linear(inner, channels)


def unet_params(width: int, channel_mult: list[int], blocks: int, attention: bool, channels: int, labels: int) -> int:
    """Weights of diffusers' UNet2DModel as models/ladder.py builds it."""
    time, levels = 4 * width, [width * mult for mult in channel_mult]
    attends, head = [attention and depth > 0 for depth in range(len(levels))], head_size(width, channel_mult)
    total = _conv(channels, levels[0]) + _linear(width, time) + _linear(time, time) + labels * time
    before, skips = levels[0], [levels[0]]
    for depth, level in enumerate(levels):
        for _ in range(blocks):
            total += _resnet(before, level, time) + attends[depth] * _attention(level, head)
            before = level
            skips.append(level)
        if depth < len(levels) - 1:
            total += _conv(level, level)
            skips.append(level)
    total += 2 * _resnet(before, before, time) + attention * _attention(before, head)
    for depth, level in reversed(list(enumerate(levels))):
        for _ in range(blocks + 1):
            total += _resnet(before + skips.pop(), level, time) + attends[depth] * _attention(level, head)
            before = level
        if depth > 0:
            total += _conv(level, level)
    return total + 2 * levels[0] + _conv(levels[0], channels)


def mlp_params(width: int, blocks: int, pixels: int, labels: int) -> int:
    """Weights of the residual network of models/mlp.py on `pixels` = channels x image_size^2 inputs."""
    return (
        _linear(pixels, width)
        + blocks * (2 * width + 2 * _linear(width, width))
        + _linear(width, pixels)
        + labels * width
    )


def dit_params(width: int, blocks: int, image_size: int, channels: int, labels: int) -> int:
    """Weights of the small transformer of models/dit.py."""
    patch, tokens = channels * DIT_PATCH**2, (image_size // DIT_PATCH) ** 2
    block = (
        _linear(width, 6 * width) + 4 * _linear(width, width) + _linear(width, 4 * width) + _linear(4 * width, width)
    )
    ends = _linear(patch, width) + tokens * width + _linear(width, 2 * width) + _linear(width, patch)
    return ends + 2 * _linear(width, width) + labels * width + blocks * block


def count_params(model: ModelShape, width: int, image_size: int, channels: int = 1, labels: int = 0) -> int:
    """Trainable weights of the network that `model` describes at this width; labels = number of label embeddings."""
    if model.family == "unet":
        return unet_params(width, model.channel_mult, model.blocks, model.attention, channels, labels)
    if model.family == "mlp":
        return mlp_params(width, model.blocks, channels * image_size**2, labels)
    return dit_params(width, model.blocks, image_size, channels, labels)


def _smallest(model: ModelShape, varying_sigma: bool) -> int:
    return 2 if model.family != "unet" or varying_sigma else 1  # width 1 has no usable time embedding


def nearest_width(model: ModelShape, image_size: int, params: int, *, varying_sigma: bool = True) -> int:
    """The rung whose count (grey, unconditional) is nearest to `params` in ratio.

    Raises ValueError where the target is more than 1.5 times off either end of the ladder.
    """
    counts = {w: count_params(model, w, image_size) for w in RUNGS if w >= _smallest(model, varying_sigma)}
    smallest, largest = min(counts.values()), max(counts.values())
    if not smallest / 1.5 <= params <= largest * 1.5:
        low = params < smallest
        noise = " for varying sigma" if model.family == "unet" and low else ""
        remedy = "ask for more, or use --model.family=mlp" if low else "ask for less, or give --model.width"
        raise ValueError(
            f"model.params={params}: the {'smallest' if low else 'largest'} {model.family}{noise} has "
            f"{smallest if low else largest:,}; {remedy}"
        )
    return min(counts, key=lambda w: abs(log(counts[w] / params)))


def check(model: ModelShape, image_size: int, *, varying_sigma: bool) -> None:
    """Raises ValueError where the family cannot work at this width or image size, saying what it can."""
    if model.width is not None and model.width < _smallest(model, varying_sigma):
        raise ValueError(
            f"model.width={model.width}: below 2 there is no usable time embedding; use 2 or more (or a fixed sigma)"
        )
    if model.family == "dit" and model.width is not None and model.width % 2:
        raise ValueError(f"model.width={model.width}: a dit needs an even width")
    factor = {"unet": 2 ** (len(model.channel_mult) - 1), "mlp": 1, "dit": DIT_PATCH}[model.family]
    if image_size % factor or image_size < 2 * factor:
        fitting = max(2 * factor, image_size - image_size % factor)
        raise ValueError(
            f"data.image_size={image_size}: this {model.family} halves the image to whole pixels and needs a multiple "
            f"of {factor}, at least {2 * factor}; use {fitting} or {fitting + factor}"
        )
