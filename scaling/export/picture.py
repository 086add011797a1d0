"""samples.png: samples of the last evaluation over their nearest training images."""

import io

import numpy as np
from PIL import Image

from scaling.arrays import GALLERY, arrays
from scaling.export.measured import Measured
from scaling.store_errors import StoreError

SHOWN = 12  # columns
ZOOM_TO = 48  # pixels at least of a shown image's side


def samples_png(run: Measured) -> bytes:
    """Two double rows of at most SHOWN pairs; raises StoreError or SchemaError where the run keeps none."""
    path = run.folder / "samples.npz"
    found = arrays(path, GALLERY)
    if GALLERY[0] not in found or not len(found[GALLERY[0]]):
        raise StoreError(f"{path}: holds no samples with neighbours; leave --samples away, or measure `neighbors`")
    half = len(found[GALLERY[0]]) // 2  # the first drawn, then those with the smallest gap ratio
    rows = [
        _row(found[name][start : start + min(half, SHOWN)])
        for start in (0, half)
        for name in ("gallery_samples", "gallery_nearest")
    ]
    pixels = np.concatenate(rows)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _row(images: np.ndarray) -> np.ndarray:
    """uint8 [n C H W] side by side on a white frame -> [height width C]."""
    zoom = -(-ZOOM_TO // images.shape[-1])
    large = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=255)
    return np.concatenate(list(framed.transpose(0, 2, 3, 1)), axis=1)
