"""Named image sources -> unique uint8 images with labels and one content hash. No torch.

digits (scikit-learn, values 0..16 as round(v 255/16)), fashion_mnist (Debian's files, else the hub), cifar10,
hf:REPO[@REVISION], folder:DIR, parquet:FILE, idx:DIR. A hub source without @REVISION stays, on this machine, what it
was when first read: name the revision, or empty the cache (cache.py).
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from scaling.data import cache
from scaling.data.folder import find_files, read_folder
from scaling.data.idx import find_idx, read_idx_folder
from scaling.data.pixels import SourceError, grid

Pictures = tuple[np.ndarray | Iterable[Image.Image], np.ndarray, int]  # pictures, labels int64 [n], n_classes

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
HUB = {"fashion_mnist": "zalando-datasets/fashion_mnist", "cifar10": "uoft-cs/cifar10"}
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?", re.ASCII)
ALLOWED = ("digits", *HUB, "hf:REPO[@REVISION]", "folder:DIR", "parquet:FILE", "idx:DIR")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The unique images of a source at one size, in the source's order."""

    pixels: np.ndarray  # uint8 [n C S S], no two equal
    labels: np.ndarray  # int64 [n]; -1 = none
    n_classes: int  # 0 = no labels
    data_sha256: str
    n_removed: int  # exact duplicates that were removed (the first of each stays)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        # Exact integer counts of the 256 values, by blocks: 55 million pixels as float64 would take 440 MB.
        flat = self.pixels.reshape(-1)
        counts = sum(np.bincount(flat[i : i + 2**20], minlength=256) for i in range(0, flat.size, 2**20))
        values, share = np.arange(256) / 127.5 - 1, counts / flat.size
        mean = float(share @ values)
        return mean, float(np.sqrt(share @ (values - mean) ** 2))

    @property
    def mean(self) -> float:
        """Mean grey in [-1, 1] over all pixels of all unique images."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """Standard deviation of the pixel values in [-1, 1]: sigma_data."""
        return self._moments[1]


def image_id(pixels: np.ndarray) -> str:
    """First 16 hex digits of SHA-256 over the bytes of one image uint8 [C S S]."""
    return hashlib.sha256(np.ascontiguousarray(pixels, np.uint8).data).hexdigest()[:16]


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return (pixels / np.float32(127.5) - np.float32(1)).astype(np.float32)


def load_images(source: str, image_size: int, channels: int | None = None) -> ImageSet:
    """The source's unique images at image_size; channels 1 grey, 3 colour, None = colour if any image has it.

    Raises SourceError, one line, where the source is unknown, missing, empty, broken or out of reach.
    """
    try:
        read, files = _reader(source)
        key = cache.request_key(source, image_size, channels, files)
        if (kept := cache.load(key)) is not None:
            return _as_kept(kept)
        pictures, labels, n_classes = read()
        pixels = grid(pictures, image_size, channels)
        if not len(pixels):
            raise SourceError("holds no images; check the path")
    except (SourceError, OSError) as error:  # OSError: no permission, a file that vanished meanwhile
        raise SourceError(f"data.source={source}: {error}") from error
    first = first_of_each(pixels)
    images = ImageSet(
        pixels=pixels[first],
        labels=labels[first].astype(np.int64),
        n_classes=n_classes,
        data_sha256=cache.content_hash(pixels[first]),
        n_removed=len(pixels) - len(first),
    )
    rest: dict[str, np.ndarray | int] = {
        "labels": images.labels,
        "n_classes": images.n_classes,
        "n_removed": images.n_removed,
    }
    cache.save(key, images.pixels, images.data_sha256, rest)
    return images


def pictures(source: str) -> Pictures:
    """All pictures of a source as they stand in it: equal ones too, each at its own size. Nothing is kept.

    Raises SourceError, one line; what a picture of a folder holds is known only when it is taken from the iterator.
    """
    try:
        return _reader(source)[0]()
    except (SourceError, OSError) as error:
        raise SourceError(f"data.source={source}: {error}") from error


def _as_kept(kept: Mapping[str, np.ndarray]) -> ImageSet:
    return ImageSet(
        pixels=kept["pixels"],
        labels=kept["labels"],
        n_classes=int(kept["n_classes"]),
        data_sha256=str(kept["data_sha256"]),
        n_removed=int(kept["n_removed"]),
    )


def first_of_each(pixels: np.ndarray) -> np.ndarray:
    """Positions, ascending, of the first of each group of equal images [n …]."""
    seen: dict[bytes, int] = {}
    for position, image in enumerate(pixels):
        seen.setdefault(hashlib.sha256(np.ascontiguousarray(image).data).digest(), position)
    return np.fromiter(seen.values(), np.int64, len(seen))


def _reader(source: str) -> tuple[Callable[[], Pictures], list[Path]]:
    """What reads the source, and the local files whose change makes it another source."""
    kind, colon, place = source.partition(":")
    if source == "digits":
        return _digits, []
    if source == "fashion_mnist" and (files := _debian_fashion()):
        return lambda: read_idx_folder(DEBIAN_FASHION), files
    if source in HUB:
        return lambda: _hub(HUB[source], source), []
    if place and kind == "hf":
        if not REPOSITORY.fullmatch(place) or ".." in place:  # `datasets` would read a folder of this machine
            raise SourceError("no repository; write hf:NAME or hf:OWNER/NAME, with @REVISION if wanted, or folder:DIR")
        return lambda: _hub(place, source), []
    if place and kind == "folder":
        folder = _existing(Path(place), "folder")
        return lambda: read_folder(folder), find_files(folder)
    if place and kind == "idx":
        folder = _existing(Path(place), "folder")
        return lambda: read_idx_folder(folder), [path for pair in find_idx(folder) for path in pair if path]
    if place and kind == "parquet":
        path = _existing(Path(place), "file")
        return lambda: _parquet(path), [path]
    near = difflib.get_close_matches(kind if colon else source, [form.partition(":")[0] for form in ALLOWED], 1)
    hint = next((f" (did you mean {form}?)" for form in ALLOWED if near and form.startswith(near[0])), "")
    raise SourceError(f"no such source{hint}; allowed are {', '.join(ALLOWED)}")


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise SourceError(f"{path.absolute()} does not exist; check the path")
    if path.is_dir() != (what == "folder"):
        raise SourceError(f"{path.absolute()} is no {what}; give a {what}")
    return path


# scikit-learn, datasets and pyarrow take a second each to import: only where they read.


def _digits() -> Pictures:
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target, 10


def _debian_fashion() -> list[Path]:
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    files = [DEBIAN_FASHION / name for name in names]
    return files if all(path.is_file() for path in files) else []


def _parquet(path: Path) -> Pictures:
    from scaling.data.columns import read_parquet

    return read_parquet(path)


def _hub(place: str, source: str) -> Pictures:
    from scaling.data.columns import OFFLINE_REMEDY, read_hub

    repository, _, revision = place.partition("@")
    debian = "install Debian's package dataset-fashion-mnist, or " if source == "fashion_mnist" else ""
    return read_hub(repository, revision or None, debian + OFFLINE_REMEDY)
