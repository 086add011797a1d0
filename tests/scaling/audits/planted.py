"""Folders of images in which it is known what is a copy of what."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from scaling.data.sources import load_images

TRAIN, HELD, NEW = slice(0, 60), slice(60, 160), slice(160, 220)


def digits() -> np.ndarray:
    """uint8 [n 8 8] in a fixed random order."""
    pixels = load_images("digits", 8).pixels[:, 0]
    return pixels[np.random.default_rng(0).permutation(len(pixels))]


def save(folder: Path, images: Sequence[np.ndarray], prefix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for at, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{prefix}{at:03}.png")
    return folder


def as_jpeg(image: np.ndarray) -> np.ndarray:
    """What JPEG makes of an image."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return np.asarray(Image.open(buffer))


def planted_samples(copied: Sequence[int]) -> list[np.ndarray]:
    """Copies of these training images, in turn exact, through JPEG and noisy, and 60 images that nobody trained on."""
    images, rng = digits(), np.random.default_rng(1)
    kinds = (
        lambda x: x,
        as_jpeg,
        lambda x: np.clip(x + rng.normal(0, 6, x.shape), 0, 255).round().astype(np.uint8),
    )
    return [kinds[at % 3](images[TRAIN][i]) for at, i in enumerate(copied)] + list(images[NEW])
