"""Images as they were read, kept by their content hash: a repeated run imports no reader.

`<data_sha256>.npz` holds pixels; `<request>.npz`, named after a hash of the source, size, channels and the names, sizes
and times of its files, says which. What cannot be read back whole counts as absent and is made again; a cache that
cannot be written only costs time.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling.atomic import replace_file
from scaling.limits import read_npz

SHA256 = re.compile(r"[0-9a-f]{64}")
VERSION = 1  # raised when the same request gives other pixels: resizing, order or the hash changed


def content_hash(pixels: np.ndarray) -> str:
    """data_sha256: SHA-256 over shape and bytes of the unique pixels uint8 [n C S S] in the source's order."""
    digest = hashlib.sha256(",".join(map(str, pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def cache_folder() -> Path | None:
    """$XDG_CACHE_HOME (or ~/.cache)/diffusion-memorization-scaling; None where there is no home."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "diffusion-memorization-scaling"


def request_key(source: str, image_size: int, channels: int | None, files: Sequence[Path]) -> str:
    """Name of a request: changes with the source's files (absolute path, size, time of change)."""
    stats = [(path, path.stat()) for path in files]
    state = [(str(path.absolute()), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    text = json.dumps([VERSION, source, image_size, channels, state])
    return "request-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def load(key: str) -> dict[str, np.ndarray] | None:
    """Arrays saved under this request, with pixels uint8 [n C H W]; None if absent, damaged or of other content."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        found = read_npz(folder / f"{key}.npz")
        if not SHA256.fullmatch(str(found["data_sha256"])):  # it names a file
            return None
        pixels = read_npz(folder / f"{found['data_sha256']}.npz")["pixels"]
    except (OSError, ValueError, KeyError):
        return None
    whole = pixels.dtype == np.uint8 and pixels.ndim == 4 and np.shape(found.get("labels", 0)) == (len(pixels),)
    return {**found, "pixels": pixels} if whole and content_hash(pixels) == found["data_sha256"] else None


def save(key: str, pixels: np.ndarray, data_sha256: str, rest: Mapping[str, np.ndarray | int]) -> None:
    """Keep pixels uint8 [n C H W] under their hash, then the request that names them; each whole or not at all."""
    folder = cache_folder()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{data_sha256}.npz", lambda file: np.savez(file, pixels=pixels), durable=False)
        request: dict[str, Any] = {**rest, "data_sha256": data_sha256}
        replace_file(folder / f"{key}.npz", lambda file: np.savez(file, **request), durable=False)
    except OSError:  # read-only or full: the images are at hand, only the next reading is slow
        return
