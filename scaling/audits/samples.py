"""Samples that somebody else drew: a folder of images or one array in an npz file. No torch; nothing is unpickled."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.audits.refusal import AuditError
from scaling.data.folder import find_files
from scaling.data.pixels import SourceError, fit, open_picture
from scaling.data.sources import to_unit
from scaling.limits import Refused, read_npz

ROUNDING = 1e-3  # beyond the ends of the range that float samples may lie: half precision leaves so much


@dataclass(frozen=True, eq=False)
class Samples:
    """What was given, in the order of names or rows."""

    images: np.ndarray  # float32 [S C H W] in [-1, 1], clamped; not rounded where they were floats
    n_nonfinite: int  # samples left out because they held NaN or infinity
    sha256: str
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and image size."""
        return self.images.shape[1], self.images.shape[2]


def read_samples(path: Path, image_size: int | None) -> Samples:
    """A folder or an npz file; raises AuditError. image_size: pictures of a folder are resized to it (None: refused).

    Of an array nothing is resized: it holds what the model made.
    """
    if path.is_dir():
        made, said = _of_folder(path, image_size)
    else:
        made, said = _of_npz(path)
    if made.shape[2] != made.shape[3]:
        raise AuditError(f"{path}: samples of {made.shape[3]}x{made.shape[2]} pixels; only squares can be audited")
    finite = np.isfinite(made).all(axis=(1, 2, 3))
    made = np.clip(made[finite], -1, 1)
    if made.shape[1] == 3 and (made == made[:, :1]).all():  # grey, as most programs save it
        made = np.ascontiguousarray(made[:, :1])
    if len(made) < 2:
        raise AuditError(f"{path}: {len(made)} finite sample(s); a rate needs at least 2, an interval hundreds")
    digest = hashlib.sha256(",".join(map(str, made.shape)).encode() + np.ascontiguousarray(made).tobytes())
    return Samples(made, int((~finite).sum()), digest.hexdigest(), (*said, *_twins(made)))


def _of_folder(path: Path, image_size: int | None) -> tuple[np.ndarray, list[str]]:
    try:
        files = find_files(path)
        if not files:
            raise AuditError(f"{path}: no files; give a folder of images, an .npz file or a model's folder")
        if links := [file for file in files if file.is_symlink()]:
            raise AuditError(f"{path}: {links[0].relative_to(path)} is a symbolic link; put the file itself there")
        pictures = [open_picture(file, str(file.relative_to(path))) for file in files]
    except (SourceError, OSError) as error:
        raise AuditError(f"{path}: {error}") from None
    sizes = [picture.size for picture in pictures]
    if image_size is not None:
        pictures = [fit(picture, image_size) for picture in pictures]
    elif odd := next((at for at, size in enumerate(sizes) if size != sizes[0]), None):
        raise AuditError(
            f"{path}: {files[odd].relative_to(path)} has {_by(sizes[odd])} pixels, {files[0].relative_to(path)} "
            f"{_by(sizes[0])}; give samples of one size, or --image-size N"
        )
    mode = "RGB" if any(picture.mode == "RGB" for picture in pictures) else "L"
    arrays = [np.asarray(picture.convert(mode)) for picture in pictures]
    made = np.stack([array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0) for array in arrays])
    resized = sum(size != picture.size for size, picture in zip(sizes, pictures, strict=True))
    return to_unit(made), [f"{resized:,} samples were resized to {_by(pictures[0].size)} pixels"] if resized else []


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _of_npz(path: Path) -> tuple[np.ndarray, list[str]]:
    try:
        found = read_npz(path)
    except (Refused, OSError) as error:
        raise AuditError(f"{path}: {getattr(error, 'strerror', None) or error}; save one array with np.savez") from None
    if len(found) != 1:
        raise AuditError(
            f"{path}: {len(found)} arrays ({', '.join(sorted(found)[:8])}); it must hold the samples alone"
        )
    ((name, array),) = found.items()
    if array.ndim != 4 or not {array.shape[1], array.shape[3]} & {1, 3} or 0 in array.shape:
        raise AuditError(
            f"{path}: {name} is {array.dtype} {list(array.shape)}; wanted [S, C, H, W] or [S, H, W, C] with 1 or 3 "
            f"channels"
        )
    said = []
    if array.shape[1] not in (1, 3):
        array = np.moveaxis(array, 3, 1)
    elif array.shape[3] in (1, 3):
        said = [f"{name} {list(array.shape)} was read as [S, C, H, W]"]
    if array.dtype == np.uint8:
        return to_unit(array), said
    if array.dtype.kind != "f":
        raise AuditError(f"{path}: {name} is {array.dtype}; save uint8 from 0 to 255, or floats in [-1, 1] or [0, 1]")
    return _unit(array, path, name, said)


def _unit(array: np.ndarray, path: Path, name: str, said: list[str]) -> tuple[np.ndarray, list[str]]:
    """Floats as float32 in [-1, 1]; what they are is read from where they lie, and said."""
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < -1 - ROUNDING or high > 1 + ROUNDING:
        raise AuditError(
            f"{path}: {name} holds {low:g} to {high:g}; floats must lie in [-1, 1] or [0, 1] "
            f"(0 to 255: save them as uint8)"
        )
    if low < -ROUNDING:
        return array.astype(np.float32), said
    return array.astype(np.float32) * 2 - 1, [*said, f"{name} lies in {low:g} to {high:g}: read as [0, 1]"]


def _twins(made: np.ndarray) -> list[str]:
    distinct = len({image.tobytes() for image in made})
    if distinct == len(made):
        return []
    return [
        f"{len(made) - distinct:,} of {len(made):,} samples equal an earlier one exactly (saved twice, one seed used "
        f"twice, or a model that emits one image): they are not independent, and intervals are too narrow"
    ]
