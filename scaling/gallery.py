"""gallery.npz of a study: a few samples of its runs with their nearest training images, small enough for git."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling.arrays import GALLERY, IMAGE_GALLERY, PROMPT_GALLERY, SPURIOUS_GALLERY
from scaling.arrays import arrays as stored_arrays
from scaling.records import RECORDS, records
from scaling.store_errors import StoreError

GALLERY_BYTES = 2_000_000
IMAGE_BYTES = GALLERY_BYTES // 4  # of it for the images themselves
GALLERY_RUNS = 1_000  # looked at, at most: of 8x8 images about so many fit


def gallery(folders: Sequence[Path]) -> tuple[bytes, list[str]]:
    """gallery.npz of at most GALLERY_BYTES, and lines for the user: fewer samples of each run first, then fewer runs.

    Of more than GALLERY_RUNS runs so many, evenly spaced, are looked at. Raises StoreError where samples are missing.
    """
    looked_at = [folders[at] for at in _evenly(len(folders), GALLERY_RUNS)]
    arrays = {folder.name: found for folder in looked_at if (found := _arrays(folder))}
    images, left_out = _images_once(arrays.values())
    names = {*GALLERY, *PROMPT_GALLERY, *SPURIOUS_GALLERY}
    shown = {run: {name: found[name] for name in found if name in names} for run, found in arrays.items()}
    shown = {run: found for run, found in shown.items() if GALLERY[0] in found}
    notes = [f"gallery.npz leaves out {left_out} images, to stay small"] if left_out else []
    if not shown:
        return _packed(images), notes
    samples, runs = max(len(found[GALLERY[0]]) for found in shown.values()), len(shown)
    keep_samples, keep_runs = samples, runs
    while len(content := _packed({**images, **_thinned(shown, keep_runs, keep_samples)})) > GALLERY_BYTES:
        if keep_samples > 2:
            keep_samples = max(keep_samples * 2 // 3, 2)
        elif keep_runs > 1:
            keep_runs = keep_runs * 2 // 3
        else:
            break
    known = runs if len(looked_at) == len(folders) else len(folders)
    if (keep_samples, keep_runs) != (samples, known):
        notes.append(
            f"gallery.npz has {keep_samples} of {samples} samples of {keep_runs:,} of {known:,} runs, to stay small"
        )
    return content, notes


def missing_samples(folder: Path) -> str | None:
    """What is wrong where a record of this run says that samples were drawn and samples.npz is missing."""
    drawn = max((record["evals"].get("n_generated") or 0 for record in records(folder / RECORDS)), default=0)
    if not drawn or (folder / "samples.npz").exists():
        return None
    return (
        f"run {folder.name}: its records speak of {drawn} samples, but samples.npz is missing; restore it, or "
        f"remove the run folder to train it again"
    )


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of samples.npz, {} where nothing was drawn yet; raises StoreError where they are missing."""
    path = folder / "samples.npz"
    if not path.exists():
        if why := missing_samples(folder):
            raise StoreError(why)
        return {}
    return stored_arrays(path, (*GALLERY, *PROMPT_GALLERY, *SPURIOUS_GALLERY, *IMAGE_GALLERY))


def _images_once(arrays: Iterable[Mapping[str, np.ndarray]]) -> tuple[dict[str, np.ndarray], int]:
    """Every image of the runs once, as many as fit into their share of the gallery, and how many do not.

    Only images of the shape of the first: those of another study are not mixed in.
    """
    ids, pixels = IMAGE_GALLERY
    known: dict[str, np.ndarray] = {}
    for found in arrays:
        known |= dict(zip(found.get(ids, np.empty(0, str)).tolist(), found.get(pixels, ()), strict=True))
    if not known:
        return {}, 0
    shape = next(iter(known.values())).shape
    known = {name: image for name, image in known.items() if image.shape == shape}
    keep = min(len(known), IMAGE_BYTES // int(np.prod(shape)))
    names = list(known)[:keep]
    return {ids: np.array(names), pixels: np.stack([known[name] for name in names])}, len(known) - keep


def _thinned(shown: Mapping[str, Mapping[str, np.ndarray]], runs: int, samples: int) -> dict[str, np.ndarray]:
    names = sorted(shown)
    kept = [names[at] for at in _evenly(len(names), runs)]
    return {
        # Of spurious groups the first are the largest, and these are kept.
        f"{run}.{name}": array[:samples] if name in SPURIOUS_GALLERY else array[_evenly(len(array), samples)]
        for run in kept for name, array in shown[run].items()
    }  # fmt: skip


def _evenly(count: int, keep: int) -> np.ndarray:
    """`keep` (or all) of `count` positions, evenly spaced, the first and the last among them."""
    return np.linspace(0, count - 1, min(keep, count)).round().astype(int)


def _packed(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
