"""Near copies (measures.md 1.2): copy 0 of an image is the image, copy c > 0 a shifted or noised form of it.

Both forms are functions of the image alone, so the near copies of an image are the same in every draw, at every number
of copies (the first r of one list) and at every position.
"""

from itertools import product

import numpy as np

from scaling.config import ConfigError
from scaling.data.sources import image_id
from scaling.data.streams import CONSTANT, generator

NOISE = 0.03  # standard deviation in [-1, 1]


def near_copies(image: np.ndarray, copies: int, near: str, noise: float = NOISE) -> np.ndarray:
    """The first `copies` members of the family of uint8 [C S S], itself first: uint8 [copies C S S].

    Raises ConfigError where a shift is wanted that would leave nothing of the image.
    """
    if near == "exact":
        return np.repeat(image[None], copies, axis=0)
    if near == "noise":
        return _noised(image, copies, noise)
    return np.stack([_shifted(image, *offset) for offset in [(0, 0), *shift_offsets(image.shape[-1], copies - 1)]])


def shift_offsets(size: int, count: int) -> list[tuple[int, int]]:
    """The first `count` non-zero (dy, dx), all below the size, in the order of max(|dy|, |dx|), then (dy, dx).

    Raises ConfigError on more than an image of this size has.
    """
    reach = 0
    while (2 * reach + 1) ** 2 - 1 < count:
        reach += 1
    if reach >= size:
        raise ConfigError(
            f"data.duplication.near=shift: {count + 1} copies need shifts of {reach} pixels in images of {size}; "
            f"use at most {(2 * size - 1) ** 2} copies, or near=noise"
        )
    side = range(-reach, reach + 1)
    offsets = [(dy, dx) for dy, dx in product(side, side) if (dy, dx) != (0, 0)]
    return sorted(offsets, key=lambda offset: (max(map(abs, offset)), offset))[:count]


def _shifted(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The content moved down by dy and right by dx; edges repeated."""
    at = np.arange(image.shape[-1])
    return image[:, (at - dy).clip(0, len(at) - 1)][:, :, (at - dx).clip(0, len(at) - 1)]


def _noised(image: np.ndarray, copies: int, noise: float) -> np.ndarray:
    # 63 bits: NumPy reads a list with a larger integer as floating point, and images would share their noise.
    stream = generator(CONSTANT, "near", int(image_id(image), 16) >> 1)
    moved = image + 127.5 * noise * stream.standard_normal((copies - 1, *image.shape))
    return np.concatenate([image[None], np.rint(moved).clip(0, 255).astype(np.uint8)])


def n_shared(members: np.ndarray, family: np.ndarray, others: np.ndarray) -> int:
    """How many members [M C S S] equal a member of another family [M], or one of `others` [H C S S]."""
    owner = {image_id(image): -1 for image in others}
    return sum(owner.setdefault(image_id(m), f) != f for m, f in zip(members, family.tolist(), strict=True))
