"""The sheet of copies, read back pixel by pixel."""

import io

import numpy as np
from PIL import Image

from scaling.audits.contact_sheet import contact_sheet


def test_every_image_comes_once_before_any_comes_twice():
    """Two grey images: the nearest sample of each first, although the second nearest is of the first image."""
    training = np.array([50, 200], np.uint8).reshape(2, 1, 1, 1).repeat(8, 2).repeat(8, 3)
    samples = (np.array([51, 52, 53, 201]).reshape(4, 1, 1, 1) / 127.5 - 1).repeat(8, 2).repeat(8, 3).astype(np.float32)
    made = contact_sheet(samples, np.array([0.2, 0.1, 0.05, 0.3]), np.array([0, 0, 0, 1]), training)
    row = np.asarray(Image.open(io.BytesIO(made)).convert("L"))[8 + 32]
    assert [int(row[8 + 136 * pair + 32]) for pair in range(4)] == [53, 201, 52, 51]
    assert [int(row[8 + 136 * pair + 96]) for pair in range(4)] == [50, 200, 50, 50]
