"""A folder of image files; labels follow the rule of `datasets`' imagefolder. Nothing is written, nothing unpacked.

Read here, not by load_dataset("imagefolder"): that skips what is no image without a word, unpacks archives and writes
into a cache.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from scaling.data.pixels import SourceError, open_picture

SPLITS = ("train", "validation", "valid", "val", "dev", "test")


def find_files(folder: Path) -> list[Path]:
    """All files below the folder but hidden ones, by name; raises SourceError on what is no regular file."""
    found = []
    for place, inside, names in os.walk(folder, onerror=_raise):
        inside[:] = [name for name in inside if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    for path in found:
        if not path.is_file():  # a broken link; a pipe, which would wait for ever
            raise SourceError(f"{path.relative_to(folder)} is no regular file; remove it")
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error  # os.walk leaves out an unreadable folder unless told otherwise


def read_folder(folder: Path) -> tuple[Iterator[Image.Image], np.ndarray, int]:
    """Pictures in the order of their paths, labels int64 [n] (-1 = none), number of classes.

    An image's label is the folder it lies in, where all lie equally deep and in two or more such folders; a folder
    train, test or validation at the top is a split, no label. Raises SourceError naming a file that is no image.
    """
    paths = find_files(folder)
    if not paths:
        raise SourceError("the folder holds no files; give a folder of images")
    inside = [path.relative_to(folder).parts[:-1] for path in paths]
    inside = [parts[1:] if parts and parts[0].lower() in SPLITS else parts for parts in inside]
    names = sorted({parts[-1] for parts in inside if parts})
    labelled = len(names) > 1 and len({len(parts) for parts in inside}) == 1
    labels = np.array([names.index(parts[-1]) if labelled else -1 for parts in inside], np.int64)
    pictures = (open_picture(path, str(path.relative_to(folder))) for path in paths)
    return pictures, labels, len(names) if labelled else 0
