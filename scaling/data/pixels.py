"""Pictures of any size and mode -> uint8 pixels [n C S S] of one size.

A picture that is not square is cut to its central square first; then it is resized, with antialiasing, only where its
size differs: means over whole blocks of pixels where the factor is whole (28 -> 14), else Lanczos.
"""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from scaling.limits import printable
from scaling.redact import redacted


class SourceError(ValueError):
    """One line for the user: what is wrong with the source and what to do. `load_images` puts the source before it."""

    def __init__(self, message: str):
        super().__init__(printable(redacted(message)))


GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I")


def open_picture(content: Path | bytes, name: str) -> Image.Image:
    """The decoded picture, grey (mode L) or colour (RGB); `name` is the picture's in a SourceError."""
    try:
        with Image.open(content if isinstance(content, Path) else BytesIO(content)) as picture:
            picture.load()
    except UnidentifiedImageError:
        raise SourceError(f"{name} is no image; remove it or replace it by one (PNG, JPEG, …)") from None
    except Exception as error:  # decoders have no common error: OSError, SyntaxError (PNG), DecompressionBombError, …
        raise SourceError(f"{name} cannot be decoded ({one_line(error)}); replace or remove it") from error
    if picture.mode == "F":
        raise SourceError(f"{name} holds floating-point pixels; save it with 8 bits a channel")
    if picture.mode.startswith("I"):
        return _from_16_bits(picture, name)
    return picture.convert("L" if picture.mode in GREY_MODES else "RGB")


def one_line(error: BaseException) -> str:
    """What a foreign error says, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _from_16_bits(picture: Image.Image, name: str) -> Image.Image:
    # Pillow's own conversion from 16 bits clips at 255 or not, depending on its version.
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise SourceError(f"{name} holds values beyond 16 bits; save it with 8 bits a channel")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def fit(picture: Image.Image, size: int) -> Image.Image:
    """The picture's central square at size x size pixels."""
    side = min(picture.size)
    if picture.size != (side, side):
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    if side == size:
        return picture
    whole = side > size and side % size == 0
    return picture.resize((size, size), Image.Resampling.BOX if whole else Image.Resampling.LANCZOS)


def grid(pictures: np.ndarray | Iterable[Image.Image], size: int, channels: int | None) -> np.ndarray:
    """uint8 [n C S S] of pictures or of an array uint8 [n H W] or [n H W 3]; channels None = 3 if any has colour."""
    if isinstance(pictures, np.ndarray):
        native = 1 if pictures.ndim == 3 else pictures.shape[3]
        if pictures.shape[1:3] == (size, size) and channels in (None, native):
            return np.ascontiguousarray(np.moveaxis(pictures.reshape(len(pictures), size, size, native), 3, 1))
        pictures = map(Image.fromarray, pictures)
    mode = {None: None, 1: "L", 3: "RGB"}[channels]
    planes = [_planes(fit(picture.convert(mode or picture.mode), size)) for picture in pictures]
    most = max((len(plane) for plane in planes), default=1)
    out = np.empty((len(planes), most, size, size), np.uint8)
    for row, plane in zip(out, planes, strict=True):
        row[:] = plane  # grey among colour: the same value in all three
    return out


def _planes(picture: Image.Image) -> np.ndarray:
    values = np.asarray(picture)
    return values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
