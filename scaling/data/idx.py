"""The IDX files of MNIST and its relatives: a header of big-endian counts, then bytes; plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from scaling.data.pixels import SourceError

PARTS = ("train", "t10k")
LARGEST = 2**33  # bytes; a header that claims more is broken or hostile


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes of one file as uint8 [n …] with so many dimensions; raises SourceError on anything that is not that."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0":
                raise SourceError(
                    f"{path.name}: no IDX file (begins with {magic.hex() or 'nothing'}); give MNIST-like files"
                )
            if magic[2] != 8 or magic[3] != dimensions:
                raise SourceError(
                    f"{path.name}: IDX type {magic[2]:#04x} with {magic[3]} dimensions; "
                    f"expected are bytes (0x08) with {dimensions}: write it as 8-bit"
                )
            header = file.read(4 * dimensions)
            if len(header) < 4 * dimensions:
                raise SourceError(f"{path.name}: truncated inside its header; get the file again")
            shape = np.frombuffer(header, ">u4").tolist()
            size = int(np.prod(shape, dtype=object))
            if size > LARGEST or 0 in shape:
                raise SourceError(f"{path.name}: its header claims {shape} = {size:,} bytes; get the file again")
            content = file.read(size + 1)
    except FileNotFoundError:
        raise SourceError(f"{path.name}: no such file; check the path") from None
    except (EOFError, zlib.error, OSError) as error:
        raise SourceError(f"{path.name}: truncated or unreadable ({error}); get the file again") from error
    if len(content) != size:
        found = f"only {len(content):,}" if len(content) < size else "more"
        raise SourceError(
            f"{path.name}: its header claims {size:,} bytes after it, there are {found}; get the file again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def find_idx(folder: Path) -> list[tuple[Path, Path | None]]:
    """(images, labels or None) of the parts train and t10k that the folder holds; raises SourceError if none."""
    found = []
    for part in PARTS:
        images = sorted(path for path in folder.glob(f"{part}-images*idx3*") if path.is_file())
        labels = sorted(path for path in folder.glob(f"{part}-labels*idx1*") if path.is_file())
        if images:
            found.append((images[0], labels[0] if labels else None))
    if not found:
        raise SourceError(
            "the folder holds no IDX images; they are named train-images-idx3-ubyte or t10k-images-idx3-ubyte (.gz)"
        )
    return found


def read_idx_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Pictures uint8 [n H W], labels int64 [n] (-1 = none), number of classes, train before t10k.

    Raises SourceError on parts that do not belong together.
    """
    pictures, labels = [], []
    for images_path, labels_path in find_idx(folder):
        pictures.append(read_idx(images_path, 3))
        labels.append(
            np.full(len(pictures[-1]), -1) if labels_path is None else read_idx(labels_path, 1).astype(np.int64)
        )
        if labels_path is not None and len(labels[-1]) != len(pictures[-1]):
            raise SourceError(
                f"{labels_path.name}: {len(labels[-1]):,} labels for {len(pictures[-1]):,} images; "
                "give files that belong together"
            )
        if pictures[-1].shape[1:] != pictures[0].shape[1:]:
            raise SourceError(
                f"{images_path.name}: images of {pictures[-1].shape[1:]} pixels, the other part has "
                f"{pictures[0].shape[1:]}; keep parts of one size in a folder"
            )
    together = np.concatenate(labels)
    return np.concatenate(pictures), together, int(together.max(initial=-1)) + 1
