"""The images a model was trained on, and those it was not: sources -> unique images with copies. No torch.

Equal images of the source are one unique image with as many copies: among rows the second neighbour of a sample would
be the copy, and a perfect copier would count as new.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scaling.audits.copies import read_copies
from scaling.audits.refusal import AuditError
from scaling.compare.runs import Run
from scaling.data.cache import content_hash
from scaling.data.folder import find_files
from scaling.data.pixels import SourceError, grid
from scaling.data.sources import ImageSet, first_of_each, pictures
from scaling.data.training_set import TrainingSet

MOST_ROWS = 10**8  # training images, copies included
NO_NULL = (
    "no held-out images, so no null: how many real images that the model never saw would pass the same tests is not "
    "known, and a count of copies cannot be told from chance; give --holdout N or --holdout-data SOURCE"
)


@dataclass(frozen=True, eq=False)
class AuditImages:
    """Training and held-out images of an audit."""

    source: ImageSet  # all unique images of --data: their spread and spectrum
    data: TrainingSet
    names: tuple[str, ...]  # [U] file of each unique training image, or its index in the source
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """A source's images as they stand in it."""

    pixels: np.ndarray  # uint8 [n C S S], equal ones too
    labels: np.ndarray  # int64 [n]
    files: tuple[str, ...] | None  # relative to the folder
    notes: tuple[str, ...]


def audit_images(
    source: str,
    channels: int,
    size: int,
    *,
    resize: bool,
    holdout: int | None = None,
    holdout_source: str | None = None,
    copies: Path | None = None,
) -> AuditImages:
    """Raises AuditError. resize: pictures of another size are brought to `size`, else refused.

    holdout: the last so many unique images of the source were not trained on; holdout_source: those of another one.
    """
    rows = _read("--data", source, channels, size, resize)
    weights = (
        np.ones(len(rows.pixels), np.int64) if copies is None else read_copies(copies, rows.files, len(rows.pixels))
    )
    first, family = _families(rows.pixels)
    totals = np.bincount(family, weights=weights, minlength=len(first)).astype(np.int64)
    names = tuple(str(at) if rows.files is None else rows.files[at] for at in first)
    notes = [*rows.notes]
    if twins := len(rows.pixels) - len(first):
        notes.append(f"{twins:,} of the {len(rows.pixels):,} images of --data equal an earlier one: counted as copies")
    unique = len(first) - _held_back(holdout, len(first))
    if unique < 2:
        raise AuditError(f"--data {source}: {unique} unique training image(s); the gap ratio needs at least 2")
    pixels = rows.pixels[first]
    held, said = pixels[unique:], []
    if holdout_source is not None:
        held, said = _other(holdout_source, channels, size, resize, pixels[:unique])
    elif holdout is None:
        said = [NO_NULL]
    if totals[:unique].sum() > MOST_ROWS:
        raise AuditError(f"--copies: {totals[:unique].sum():,} training images in all, more than {MOST_ROWS:,}")
    images = ImageSet(pixels, rows.labels[first].astype(np.int64), 0, content_hash(pixels), twins)
    data = _training_set(images, pixels[:unique], images.labels[:unique], totals[:unique], held)
    return AuditImages(images, data, names[:unique], (*notes, *said))


def own_images(run: Run) -> AuditImages:
    """The images of a run of ours, as its configuration has them."""
    names = tuple(f"pool position {at}" for at in run.data.positions)
    return AuditImages(run.source, run.data, names, ())


def _held_back(holdout: int | None, unique: int) -> int:
    if holdout is None:
        return 0
    if holdout < 2 or unique - holdout < 2:
        raise AuditError(
            f"--holdout {holdout}: the source has {unique:,} unique images, and both sides need 2; "
            + (f"give 2 to {unique - 2:,}" if unique >= 4 else "give a larger source")
        )
    return holdout


def _read(option: str, source: str, channels: int, size: int, resize: bool) -> Rows:
    kind, _, place = source.partition(":")
    try:
        found, labels, _ = pictures(source)
        files = tuple(str(p.relative_to(place)) for p in find_files(Path(place))) if kind == "folder" else None
        pixels = grid(found if resize else _of_size(found, size, files), size, None)
    except (SourceError, OSError) as error:
        raise AuditError(f"{option} {source}: {str(error).removeprefix(f'data.source={source}: ')}") from None
    if not len(pixels):
        raise AuditError(f"{option} {source}: no images; check the path")
    grey = pixels.shape[1] < channels
    notes = (f"the images of {option} are grey, the samples in colour: each stands in three equal channels",) * grey
    return Rows(_of_channels(pixels, channels, f"{option} {source}"), labels, files, notes)


def _of_size(found: np.ndarray | Iterable[Image.Image], size: int, files: tuple[str, ...] | None):
    """The pictures, refused where one is not of this size."""
    remedy = f"if the model was trained on them cut to squares and resized, say --image-size {size}"
    if isinstance(found, np.ndarray):
        if found.shape[1:3] != (size, size):
            raise SourceError(f"images of {found.shape[2]}x{found.shape[1]} pixels, samples of {size}x{size}; {remedy}")
        return found
    return _each_of_size(found, size, files, remedy)


def _each_of_size(
    found: Iterable[Image.Image], size: int, files: tuple[str, ...] | None, remedy: str
) -> Iterator[Image.Image]:
    for at, picture in enumerate(found):
        if picture.size != (size, size):
            name = f"image {at}" if files is None else files[at]
            width, height = picture.size
            raise SourceError(f"{name} has {width}x{height} pixels, the samples {size}x{size}; {remedy}")
        yield picture


def _of_channels(pixels: np.ndarray, channels: int, where: str) -> np.ndarray:
    if pixels.shape[1] == 3 and channels == 1:
        if (pixels != pixels[:, :1]).any():
            raise AuditError(
                f"{where}: colour images, grey samples; make them grey in the way the model was trained on"
            )
        return np.ascontiguousarray(pixels[:, :1])
    return np.repeat(pixels, 3, axis=1) if pixels.shape[1] < channels else pixels


def _families(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [U] of the first of each group of equal images, and the group [n] of each image."""
    first = first_of_each(pixels)
    place = {pixels[at].tobytes(): group for group, at in enumerate(first)}
    return first, np.array([place[image.tobytes()] for image in pixels], np.int64)


def _other(source: str, channels: int, size: int, resize: bool, trained: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Unique images of the hold-out that are no training images, and what is said."""
    rows = _read("--holdout-data", source, channels, size, resize)
    pixels = rows.pixels[first_of_each(rows.pixels)]
    known = {image.tobytes() for image in trained}
    new = np.array([image.tobytes() not in known for image in pixels], bool)
    if new.sum() < 2:
        raise AuditError(
            f"--holdout-data {source}: {new.sum()} image(s) that are no training images; give at least 2 others"
        )
    said = list(rows.notes)
    if overlap := int((~new).sum()):
        said.append(f"{overlap:,} images of --holdout-data are training images: left out of the null")
    return pixels[new], said


def _training_set(
    source: ImageSet, pool: np.ndarray, labels: np.ndarray, copies: np.ndarray, held: np.ndarray
) -> TrainingSet:
    """The training set of a model without labels, keys, folds and near copies."""
    everything, total = np.arange(len(pool)), int(copies.sum())
    return TrainingSet(
        pool=pool,
        pool_labels=labels,
        pool_copies=copies,
        in_training=np.ones(len(pool), bool),
        holdout=held,
        holdout_labels=np.full(len(held), -1, np.int64),
        members=pool,
        member_position=everything,
        rows=np.repeat(everything, copies),
        row_copy=np.arange(total) - np.repeat(np.cumsum(copies) - copies, copies),
        labels=np.zeros(len(pool), np.int64),
        holdout_given=np.zeros(len(held), np.int64),
        n_labels=0,
        keys=None,
        holdout_keys=None,
        mean=source.mean,
        std=source.std,
        data_sha256=source.data_sha256,
    )
