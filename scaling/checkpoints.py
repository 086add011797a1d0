"""Checkpoints and weights: tensors in safetensors, the rest in JSON, nothing that could execute. Two generations."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from scaling.atomic import replace_bytes
from scaling.limits import open_regular, parse_json, read_bytes
from scaling.store_errors import StoreError, refused_write

GENERATIONS = 2
TENSOR_BYTES, SHEET_BYTES = 2**36, 2**20
log = logging.getLogger(__name__)


class Checkpoints:
    """Numbered pairs <n>.safetensors + <n>.json in a folder. The JSON, written last, names the hash of the tensors."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
        """A new generation, on disk when it returns; then all but the last two are removed.

        Raises StoreError where the disk takes no more: the earlier generations stay.
        """
        numbers = self._numbers()
        number = max(numbers, default=0) + 1
        content = bytes_of(_plain(tensors))
        sheet = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "meta": meta}
        text = json.dumps(sheet, allow_nan=False).encode()
        try:
            self.folder.mkdir(exist_ok=True)  # without parents: a run folder that was removed stays so
            replace_bytes(self._tensors(number), content)
            replace_bytes(self._sheet(number), text)
        except OSError as error:
            self._tensors(number).unlink(missing_ok=True)
            message = f"{self.folder}: checkpoint not written ({error.strerror}); make room, then repeat"
            raise refused_write(error, message) from error
        for old in numbers[: 1 - GENERATIONS]:
            self._remove(old)

    def load(
        self, wanted: Callable[[dict[str, Any]], bool] = lambda meta: True
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and meta of the newest whole generation whose meta is wanted; None where there is none.

        A damaged one is logged.
        """
        numbers = self._numbers()
        for number in reversed(numbers):
            try:
                sheet = parse_json(read_bytes(self._sheet(number), SHEET_BYTES))
                content = read_bytes(self._tensors(number), TENSOR_BYTES)
                if hashlib.sha256(content).hexdigest() != sheet["sha256"]:
                    raise ValueError(f"{len(content)} bytes of {sheet['bytes']}, or changed ones")
                if wanted(meta := _mapping(sheet["meta"])):
                    return tensors_of(content), meta
                log.warning("%s is left out: it comes after what has to be measured again", self._sheet(number))
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                log.warning("%s is damaged (%s): going back to the checkpoint before it", self._sheet(number), error)
        if numbers:
            log.warning("%s: no usable checkpoint is left: training starts anew, records stay", self.folder)
        return None

    def clear(self) -> None:
        """Removes every generation: the run is done."""
        if self.folder.is_symlink() or not self.folder.exists():  # what a link leads to is not ours
            return
        for path in self.folder.iterdir():
            if path.is_symlink() or not path.is_dir():
                path.unlink()
        with suppress(OSError):  # somebody put a folder into it
            self.folder.rmdir()

    def _numbers(self) -> list[int]:
        stems = [path.stem for path in self.folder.glob("*.json")]
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit() and str(int(stem)) == stem)

    def _sheet(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _tensors(self, number: int) -> Path:
        return self.folder / f"{number}.safetensors"

    def _remove(self, number: int) -> None:
        self._sheet(number).unlink()  # first: tensors without their sheet are never read
        self._tensors(number).unlink(missing_ok=True)


def _mapping(meta: object) -> dict[str, Any]:
    if not isinstance(meta, dict):
        raise ValueError(f"meta is {type(meta).__name__}, wanted a mapping")
    return meta


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def save_weights(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """One safetensors file with `meta` as JSON in its header, whole or not at all; raises StoreError on a full disk."""
    content = bytes_of(_plain(tensors), metadata={"meta": json.dumps(meta, allow_nan=False)})
    try:
        path.parent.mkdir(exist_ok=True)
        replace_bytes(path, content)
    except OSError as error:
        raise refused_write(error, f"{path}: weights not written ({error.strerror}); make room, then repeat") from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and meta of `save_weights`; raises StoreError if the file is missing or damaged."""
    try:
        open_regular(path, TENSOR_BYTES).close()  # safe_open would follow a link and wait for a pipe
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable itself)
            return tensors, _mapping(parse_json((file.metadata() or {})["meta"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: no weights can be read ({error}); remove the run folder to train it again") from None
