"""copies.png: generated samples beside the training images that they are nearest to."""

import io

import numpy as np
from PIL import Image, ImageDraw

from scaling.training.instruments.samples import to_bytes

PAIRS, COLUMNS = 48, 6
SIDE, GAP, TEXT = 64, 8, 14  # pixels: least side of an image shown, between pairs, of a line of text


def contact_sheet(samples: np.ndarray, ratio: np.ndarray, nearest: np.ndarray, training: np.ndarray) -> bytes:
    """PNG of at most PAIRS pairs: sample left, training image right, the gap ratio below, the smallest first.

    The best copy of every training image comes before the second of any.

    samples float32 [S C H W] in [-1, 1], ratio [S], nearest int64 [S] rows of training uint8 [U C H W].
    """
    import torch

    by_ratio = np.argsort(ratio, kind="stable")
    first = np.zeros(len(ratio), bool)
    first[np.unique(nearest[by_ratio], return_index=True)[1]] = True
    shown = np.concatenate([by_ratio[first], by_ratio[~first]])[:PAIRS]
    left, right = to_bytes(torch.from_numpy(samples[shown])), training[nearest[shown]]
    factor = max(1, -(-SIDE // left.shape[-1]))
    side, columns = factor * left.shape[-1], min(COLUMNS, len(shown))
    width, height = 2 * side + GAP, side + TEXT + GAP
    sheet = Image.new("RGB", (GAP + columns * width, GAP + -(-len(shown) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for at, row in enumerate(shown):
        x, y = GAP + at % columns * width, GAP + at // columns * height
        sheet.paste(_picture(left[at], factor), (x, y))
        sheet.paste(_picture(right[at], factor), (x + side, y))
        draw.text((x, y + side), f"{ratio[row]:.3f}", fill="black")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _picture(image: np.ndarray, factor: int) -> Image.Image:
    """uint8 [C H W] with every pixel `factor` times as large."""
    planes = np.moveaxis(np.repeat(image, 3 // len(image), axis=0), 0, 2)
    return Image.fromarray(planes.repeat(factor, axis=0).repeat(factor, axis=1))
