"""Pictures in columns of tables: datasets of the Hugging Face hub and parquet files. Nothing is executed.

A column of pictures is one of encoded files (the `Image` feature) or of nested lists of 0..255. Labels are a column
named label, labels or fine_label, else the only ClassLabel column; words become numbers in alphabetical order.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Array2D, Array3D, ClassLabel, Features, Image, LargeList, List, load_dataset
from datasets.exceptions import DatasetNotFoundError
from PIL.Image import Image as Picture

from scaling import limits
from scaling.data.pixels import SourceError, one_line, open_picture

IMAGE_NAMES = ("image", "img", "images", "pixels")
LABEL_NAMES = ("label", "labels", "fine_label")
OFFLINE_REMEDY = (
    "go online once (without HF_HUB_OFFLINE=1) or use what needs no hub: digits, folder:DIR, parquet:FILE, idx:DIR"
)


def read_parquet(path: Path) -> tuple[np.ndarray | Iterator[Picture], np.ndarray, int]:
    """Pictures, labels int64 [n] (-1 = none), number of classes; raises SourceError on a file that cannot be read."""
    # pyarrow, not load_dataset: that copies the file into a cache, and its streaming can abort the process at the end.
    try:
        table = limits.read_parquet(path, follow=True, texts=False, threads=True)
    except (limits.Refused, OSError) as error:
        raise SourceError(f"truncated or no parquet file ({one_line(error)}); get the file again") from error
    return from_table(table)


def read_hub(
    repository: str, revision: str | None, remedy: str = OFFLINE_REMEDY
) -> tuple[np.ndarray | Iterator[Picture], np.ndarray, int]:
    """As read_parquet, of all splits of a dataset on the hub, one after the other; `remedy` if it cannot be reached."""
    try:
        found = load_dataset(repository, revision=revision)
    except DatasetNotFoundError as error:
        raise SourceError(f"no such dataset on the Hugging Face hub ({one_line(error)}); check the name") from error
    except Exception as error:  # the libraries below (httpx, fsspec, pyarrow) have no common error
        layer = type(error).__module__.partition(".")[0]
        if isinstance(error, (ConnectionError, TimeoutError)) or layer in ("httpx", "httpcore", "huggingface_hub"):
            raise SourceError(f"the Hugging Face hub cannot be reached ({one_line(error)}); {remedy}") from error
        raise SourceError(
            f"{repository} cannot be read as a dataset of images ({one_line(error)}); "
            "give a repository with one configuration, or parquet:FILE of the part wanted"
        ) from error
    return from_table(pa.concat_tables([split.with_format("arrow")[:] for split in found.values()]))


def from_table(table: pa.Table) -> tuple[np.ndarray | Iterator[Picture], np.ndarray, int]:
    """As read_parquet, of one table; raises SourceError where it is not told which column holds images."""
    try:
        features = Features.from_arrow_schema(table.schema)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"unknown kinds of columns ({one_line(error)}); write it with a current `datasets`"
        ) from error
    column = table[_image_column(features)]
    labels, n_classes = _labels(table, features)
    pictures = _encoded(column) if pa.types.is_struct(column.type) else _nested(column)
    return pictures, labels, n_classes


def _image_column(features: Features) -> str:
    kinds = (Image, Array2D, Array3D, List, LargeList)
    found = [key for key, value in features.items() if isinstance(value, kinds) or _holds_bytes(value)]
    encoded = [key for key in found if isinstance(features[key], Image)]
    for choice in (encoded, found):
        named = [key for key in choice if key in IMAGE_NAMES]
        if len(choice) == 1 or named:
            return (named or choice)[0]
    what = f"several could hold images ({', '.join(found)})" if found else "none holds images"
    raise SourceError(f"of its columns {', '.join(features)} {what}; name the right one `image`")


def _holds_bytes(feature: object) -> bool:
    return isinstance(feature, dict) and "bytes" in feature


def _encoded(column: pa.ChunkedArray) -> Iterator[Picture]:
    contents = (cell.as_py() for chunk in column.chunks for cell in pc.struct_field(chunk, "bytes"))
    for row, content in enumerate(contents):
        # A path in a table is never followed: the table may come from anywhere.
        if content is None:
            raise SourceError(f"row {row} holds no image bytes; store the images inside the table")
        yield open_picture(content, f"row {row}")


def _nested(column: pa.ChunkedArray) -> np.ndarray:
    """uint8 [n H W] or [n H W 3] of nested lists [n H W], [n H W C] or [n C H W] with C = 1 or 3."""
    chunks = [_unnested(chunk) for chunk in column.chunks if len(chunk)]
    if len({chunk.shape[1:] for chunk in chunks}) > 1:
        raise SourceError("its nested images differ in size; store them as encoded images")
    pictures = np.concatenate(chunks) if chunks else np.empty((0, 1, 1), np.uint8)
    return _channels_last(pictures)


def _unnested(values: pa.Array) -> np.ndarray:
    """uint8 array of nested lists, by flattening level after level."""
    values, shape = getattr(values, "storage", values), [len(values)]
    while not pa.types.is_primitive(values.type):
        if not hasattr(values, "flatten"):
            raise SourceError(f"its images hold {values.type}; store encoded images or nested lists of 0 to 255")
        lengths = pc.unique(pc.list_value_length(values))
        if len(lengths) != 1 or not lengths[0].is_valid:
            raise SourceError("its nested images differ in size or are missing; store them as encoded images")
        shape.append(lengths[0].as_py())
        values = values.flatten()
    if not pa.types.is_integer(values.type) or values.null_count or len(shape) not in (3, 4):
        raise SourceError(
            f"its images are {len(shape) - 1}-dimensional {values.type}; allowed are [H W], [H W C] or [C H W] "
            "of whole numbers 0 to 255"
        )
    numbers = values.to_numpy(zero_copy_only=False).reshape(shape)
    if numbers.size == 0 or numbers.min() < 0 or numbers.max() > 255:
        found = f"go from {numbers.min()} to {numbers.max()}" if numbers.size else "are missing"
        raise SourceError(f"pixels {found}; store 0 to 255")
    return numbers.astype(np.uint8)


def _channels_last(pictures: np.ndarray) -> np.ndarray:
    """[n H W], or [n H W 3] of [n H W C] or [n C H W]; raises SourceError where neither end is 1 or 3."""
    if pictures.ndim == 4 and pictures.shape[3] not in (1, 3):
        pictures = np.moveaxis(pictures, 1, 3)
    if pictures.ndim == 4 and pictures.shape[3] not in (1, 3):
        raise SourceError(f"images of shape {pictures.shape[1:]} have neither 1 nor 3 channels; store grey or RGB")
    return pictures[..., 0] if pictures.ndim == 4 and pictures.shape[3] == 1 else pictures


def _labels(table: pa.Table, features: Features) -> tuple[np.ndarray, int]:
    classed = [key for key, value in features.items() if isinstance(value, ClassLabel)]
    named = [key for key in LABEL_NAMES if key in features]
    if not named and len(classed) != 1:
        return np.full(len(table), -1), 0
    key = (named or classed)[0]
    column = table[key].combine_chunks()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        words = sorted(pc.unique(column.drop_null()).to_pylist())
        found = pc.index_in(column, value_set=pa.array(words, column.type))
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64), len(words)
    if not pa.types.is_integer(column.type):
        raise SourceError(f"column {key} holds {column.type}; labels are whole numbers or words")
    labels = pc.fill_null(column, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    n_classes = features[key].num_classes if isinstance(features[key], ClassLabel) else int(labels.max(initial=-1)) + 1
    return np.maximum(labels, -1), n_classes
