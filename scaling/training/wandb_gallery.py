"""The picture that W&B shows of an evaluation: generated samples beside their nearest training images."""

from collections.abc import Mapping
from math import ceil, sqrt

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scaling.arrays import GALLERY

CELL_PIXELS, GAP_PIXELS, CAPTION_PIXELS = 64, 2, 14  # gallery: smallest side of an image, space between, text below


def gallery_grid(gallery: Mapping[str, np.ndarray]) -> Image.Image:
    """Every generated sample beside its nearest training image, gap ratio and copies below; arrays as schema.GALLERY.

    Pixels are repeated, not interpolated: an 8x8 image stays one.
    """
    samples, nearest, ratios, copies = (np.asarray(gallery[name]) for name in GALLERY)
    scale = ceil(CELL_PIXELS / samples.shape[-1])
    side = scale * samples.shape[-1]
    width, height = 2 * side + 3 * GAP_PIXELS, side + CAPTION_PIXELS + 2 * GAP_PIXELS
    columns = max(1, round(sqrt(len(samples) * height / width)))
    sheet = Image.new("RGB", (columns * width, ceil(len(samples) / columns) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for at, pair in enumerate(zip(samples, nearest, strict=True)):
        left, top = at % columns * width + GAP_PIXELS, at // columns * height + GAP_PIXELS
        for place, image in enumerate(pair):
            big = np.moveaxis(image, 0, -1).repeat(scale, axis=0).repeat(scale, axis=1)
            pixels = np.broadcast_to(big, (side, side, 3)).astype(np.uint8)
            sheet.paste(Image.fromarray(pixels), (left + place * (side + GAP_PIXELS), top))
        draw.text((left, top + side), f"{ratios[at]:.2f}  x{copies[at]}", fill="black", font=font)
    return sheet
