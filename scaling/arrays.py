"""The arrays beside the tables: samples.npz of a run and gallery.npz of a study, and their one reader.

numpy is imported only where a file is read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.columns import SchemaError
from scaling.limits import Refused, read_npz

if TYPE_CHECKING:
    import numpy as np

# samples.npz of a run (last evaluation), G samples chosen to be looked at: half of them the first ones drawn, half
# those with the smallest gap ratio. gallery.npz of a study holds the same arrays as "<run_id>.<name>".
GALLERY = (
    "gallery_samples",  # [G C H W] uint8
    "gallery_nearest",  # [G C H W] uint8: the unique training image nearest to each
    "gallery_ratio",  # [G] float32: gap ratio
    "gallery_copies",  # [G] int64: copies of the nearest image
)
# Where `prompts` was measured: a few prompts of every context with what the model made of them. Named in the same way.
PROMPT_GALLERY = (
    "prompt_context",  # [P] str
    "prompt_known",  # [P H W] bool: the pixels given
    "prompt_images",  # [P C H W] uint8: the training images
    "prompt_completions",  # [P C H W] uint8
    "prompt_recovered",  # [P] bool
    "prompt_copies",  # [P] int64
)
# Where `cliques` was measured: the medoid of the largest spurious groups (n_spurious), the largest first; none where
# there was none. Named in the same way; missing from runs that were evaluated before it was kept.
SPURIOUS_GALLERY = (
    "spurious_samples",  # [Q C H W] uint8
    "spurious_nearest",  # [Q C H W] uint8: the unique training image nearest to each
    "spurious_ratio",  # [Q] float32: gap ratio, 1/3 or more
    "spurious_size",  # [Q] int64: samples in the group
)
# Pixels by image_id, of the pool and the hold-out; in gallery.npz each image stands once, without a run's name.
IMAGE_GALLERY = (
    "image_ids",  # [K] str
    "image_pixels",  # [K C H W] uint8
)
ARRAYS = {  # numpy's kinds of type, and dimensions
    "gallery_samples": ("u", 4), "gallery_nearest": ("u", 4), "gallery_ratio": ("f", 1), "gallery_copies": ("iu", 1),
    "prompt_context": ("U", 1), "prompt_known": ("b", 3), "prompt_images": ("u", 4), "prompt_completions": ("u", 4),
    "prompt_recovered": ("b", 1), "prompt_copies": ("iu", 1), "image_ids": ("U", 1), "image_pixels": ("u", 4),
    "spurious_samples": ("u", 4), "spurious_nearest": ("u", 4), "spurious_ratio": ("f", 1), "spurious_size": ("iu", 1),
}  # fmt: skip


def arrays(path: Path, names: Sequence[str] | None = None) -> "dict[str, np.ndarray]":
    """Arrays of a run's samples.npz or a study's gallery.npz (of it only `names`), {} where there is none.

    Nothing is unpickled, and nothing is unpacked that claims to be larger than it may be. Raises SchemaError, also on
    arrays of another kind, shape or length than they have.
    """
    try:
        found = read_npz(path, names)
        _check_arrays(found)
        return found
    except FileNotFoundError:
        return {}
    except (Refused, OSError) as error:
        raise SchemaError(f"{path}: {error}; remove the file, or evaluate the run again") from None


def _check_arrays(found: "Mapping[str, np.ndarray]") -> None:
    groups: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for key, array in found.items():
        run, _, name = key.rpartition(".")
        for at, group in enumerate((GALLERY, PROMPT_GALLERY, SPURIOUS_GALLERY, IMAGE_GALLERY)):
            if name in group:
                groups.setdefault((run, at), {})[name] = array
    for given in groups.values():
        for name, array in given.items():
            kinds, dimensions = ARRAYS[name]
            if array.dtype.kind not in kinds or array.ndim != dimensions:
                raise Refused(f"{name} is {array.dtype} {list(array.shape)}")
        lengths = {array.shape[0] for array in given.values()}
        sides = {array.shape[-2:] for array in given.values() if array.ndim > 2}
        channels = {array.shape[1] for array in given.values() if array.ndim == 4}
        empty = any(0 in side for side in sides)
        if len(lengths) > 1 or len(sides) > 1 or len(channels) > 1 or channels - {1, 3} or empty:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in given.items())
            raise Refused(f"arrays that do not belong together: {shapes}")
