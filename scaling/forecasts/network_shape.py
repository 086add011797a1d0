"""The layers of a network without torch: how many, how large, with how many weights. What each costs is cost_model's.

The walk is that of sizes.py and flops.py layer by layer; tests hold its sums equal to their closed forms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scaling.sizes import DIT_PATCH, ModelShape, head_size

OF_A_LAYER = 2  # tensors of a convolution, linear layer or norm: weight and bias
LANES_IN, LANES_OUT = 8, 16  # float32 channels that a core's convolutions take at once: 2 cost what these do


class Layer(NamedTuple):
    """A convolution or linear layer: inputs and outputs of one of its `tokens` products; window: pixels of a kernel."""

    inputs: int
    outputs: int
    tokens: int = 1
    window: int = 0  # of a linear layer

    @property
    def convolution(self) -> int:
        """FLOPs of a convolution as they cost, the channels rounded up; 0 of a linear layer."""
        channels = _rounded(self.inputs // self.window, LANES_IN) if self.window else 0
        return 2 * self.window * channels * _rounded(self.outputs, LANES_OUT) * self.tokens

    @property
    def flops(self) -> int:
        """2 per multiply-add."""
        return 2 * self.inputs * self.outputs * self.tokens


def _rounded(channels: int, lanes: int) -> int:
    return -(-channels // lanes) * lanes


@dataclass(frozen=True)
class NetworkShape:
    """Sums over the layers, of one image's forward pass."""

    convolutions: int  # layers
    linears: int  # layers
    activations: int  # numbers that the layers put out
    tensors: int  # of weights
    convolution: int  # FLOPs, channels rounded up
    convolution_exact: int  # FLOPs


def network_shape(model: ModelShape, image_size: int, channels: int, labels: int = 0) -> NetworkShape:
    """labels: number of label embeddings."""
    found = list(layers(model, image_size, channels))
    norms, tables = _norms(model), int(labels > 0) + int(model.family == "dit")  # dit: its places
    return NetworkShape(
        convolutions=sum(layer.window > 0 for layer in found),
        linears=sum(layer.window == 0 for layer in found),
        activations=sum(layer.outputs * layer.tokens for layer in found),
        tensors=OF_A_LAYER * (len(found) + norms) + tables,
        convolution=sum(layer.convolution for layer in found),
        convolution_exact=sum(layer.flops for layer in found if layer.window),
    )


def layers(model: ModelShape, image_size: int, channels: int) -> Iterator[Layer]:
    """Every layer with weights, in the order of a forward pass."""
    if model.family == "unet":
        yield from _unet(model, image_size, channels)
    elif model.family == "mlp":
        yield from _mlp(model, channels * image_size**2)
    else:
        yield from _dit(model, image_size, channels)


def _conv(i: int, o: int, size: int, kernel: int = 3) -> Layer:
    return Layer(i * kernel**2, o, size**2, kernel**2)


def _resnet(i: int, o: int, time: int, size: int) -> Iterator[Layer]:
    yield from (_conv(i, o, size), Layer(time, o), _conv(o, o, size))
    if i != o:
        yield _conv(i, o, size, 1)


def _attention(width: int, head: int, tokens: int) -> Iterator[Layer]:
    inner = width // head * head
    yield from (Layer(width, inner, tokens), Layer(width, inner, tokens), Layer(width, inner, tokens))
    yield Layer(inner, width, tokens)


def _unet(model: ModelShape, size: int, channels: int) -> Iterator[Layer]:
    width, time, levels = model.width, 4 * model.width, [model.width * mult for mult in model.channel_mult]
    sizes, head = [size // 2**depth for depth in range(len(levels))], head_size(width, model.channel_mult)
    yield from (_conv(channels, levels[0], size), Layer(width, time), Layer(time, time))
    before, skips = levels[0], [levels[0]]
    for depth, level in enumerate(levels):
        for _ in range(model.blocks):
            yield from _resnet(before, level, time, sizes[depth])
            if model.attention and depth:
                yield from _attention(level, head, sizes[depth] ** 2)
            before = level
            skips.append(level)
        if depth < len(levels) - 1:
            yield _conv(level, level, sizes[depth + 1])
            skips.append(level)
    yield from (*_resnet(before, before, time, sizes[-1]), *_resnet(before, before, time, sizes[-1]))
    if model.attention:
        yield from _attention(before, head, sizes[-1] ** 2)
    for depth, level in reversed(list(enumerate(levels))):
        for _ in range(model.blocks + 1):
            yield from _resnet(before + skips.pop(), level, time, sizes[depth])
            if model.attention and depth:
                yield from _attention(level, head, sizes[depth] ** 2)
            before = level
        if depth:
            yield _conv(level, level, sizes[depth - 1])
    yield _conv(levels[0], channels, size)


def _mlp(model: ModelShape, pixels: int) -> Iterator[Layer]:
    yield Layer(pixels, model.width)
    yield from (Layer(model.width, model.width) for _ in range(2 * model.blocks))
    yield Layer(model.width, pixels)


def _dit(model: ModelShape, size: int, channels: int) -> Iterator[Layer]:
    width, tokens, patch = model.width, (size // DIT_PATCH) ** 2, channels * DIT_PATCH**2
    yield from (Layer(patch, width, tokens), Layer(width, width), Layer(width, width))
    for _ in range(model.blocks):
        yield Layer(width, 6 * width)
        yield from (Layer(width, width, tokens) for _ in range(4))
        yield from (Layer(width, 4 * width, tokens), Layer(4 * width, width, tokens))
    yield from (Layer(width, 2 * width), Layer(width, patch, tokens))


def _norms(model: ModelShape) -> int:
    """Group norms of the unet, layer norms of the mlp; those of the dit have no weights."""
    if model.family == "unet":
        blocks = len(model.channel_mult) * (2 * model.blocks + 1) + 2
        attended = (len(model.channel_mult) - 1) * (2 * model.blocks + 1) + 1
        return 2 * blocks + 1 + model.attention * attended
    return model.blocks if model.family == "mlp" else 0
