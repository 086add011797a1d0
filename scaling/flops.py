"""FLOPs without torch: what one image's forward pass costs, in closed form, so that a sweep can be weighed beforehand.

2 per multiply-add; convolutions, linear layers and attention products, as models/ladder.py counts them on the network
itself (a test holds both equal). Standard library only.
"""

from scaling.sizes import DIT_PATCH, ModelShape


def _conv(i: int, o: int, size: int, kernel: int = 3) -> int:
    return 2 * i * o * kernel**2 * size**2


def _linear(i: int, o: int, tokens: int = 1) -> int:
    return 2 * i * o * tokens


def _resnet(i: int, o: int, time: int, size: int) -> int:
    shortcut = _conv(i, o, size, 1) if i != o else 0
    return _conv(i, o, size) + _linear(time, o) + _conv(o, o, size) + shortcut


def _attention(width: int, tokens: int) -> int:
    """Query, key, value, output; T x T scores and as many products with the values."""
    return 4 * _linear(width, width, tokens) + 4 * tokens**2 * width


def _unet(model: ModelShape, width: int, size: int, channels: int) -> int:
    time = 4 * width
    levels = [width * mult for mult in model.channel_mult]
    sizes = [size // 2**depth for depth in range(len(levels))]
    attends = [model.attention and depth > 0 for depth in range(len(levels))]
    total = _conv(channels, levels[0], size) + _linear(width, time) + _linear(time, time)
    before, skips = levels[0], [levels[0]]
    for depth, level in enumerate(levels):
        for _ in range(model.blocks):
            total += _resnet(before, level, time, sizes[depth]) + attends[depth] * _attention(level, sizes[depth] ** 2)
            before = level
            skips.append(level)
        if depth < len(levels) - 1:
            total += _conv(level, level, sizes[depth + 1])
            skips.append(level)
    total += 2 * _resnet(before, before, time, sizes[-1]) + model.attention * _attention(before, sizes[-1] ** 2)
    for depth, level in reversed(list(enumerate(levels))):
        for _ in range(model.blocks + 1):
            total += _resnet(before + skips.pop(), level, time, sizes[depth])
            total += attends[depth] * _attention(level, sizes[depth] ** 2)
            before = level
        if depth > 0:
            total += _conv(level, level, sizes[depth - 1])
    return total + _conv(levels[0], channels, size)


def _mlp(model: ModelShape, width: int, pixels: int) -> int:
    return 2 * _linear(pixels, width) + model.blocks * 2 * _linear(width, width)


def _dit(model: ModelShape, width: int, size: int, channels: int) -> int:
    tokens, patch = (size // DIT_PATCH) ** 2, channels * DIT_PATCH**2
    perceptron = 2 * _linear(width, 4 * width, tokens)
    block = _linear(width, 6 * width) + _attention(width, tokens) + perceptron
    ends = 2 * _linear(patch, width, tokens) + _linear(width, 2 * width)
    return ends + 2 * _linear(width, width) + model.blocks * block


def forward_flops(model: ModelShape, *, image_size: int, channels: int) -> int:
    """FLOPs of one image's forward pass through the network of `model`; raises ValueError without its width."""
    if model.width is None:
        raise ValueError("model.width is empty: resolve the configuration first, which takes it from model.params")
    if model.family == "unet":
        return _unet(model, model.width, image_size, channels)
    if model.family == "mlp":
        return _mlp(model, model.width, channels * image_size**2)
    return _dit(model, model.width, image_size, channels)
