"""What an export says of a finished run: its configuration, its last evaluation, its strata. No torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from scaling.data.duplication import left_out, plan
from scaling.data.sources import HUB, REPOSITORY
from scaling.fields import ExperimentConfig
from scaling.finished_run import finished
from scaling.limits import parse_json, read_bytes
from scaling.links import refuse_links
from scaling.records import RECORDS, records
from scaling.store_errors import StoreError
from scaling.tables import complete_record

HASHES = ("run_id", "cell_id", "train_id", "data_sha256", "code_version")
HASH = re.compile(r"[0-9a-f]{12,64}")
CONSTANTS_BYTES = 2**16
NEEDED = ("channels", "image_size", "params", "n_holdout", "draw", "epochs", "duplication_rate")  # by card and network
LOCAL = ("folder", "parquet", "idx")  # sources that are places on a machine


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished run of the family unet with its last evaluation."""

    folder: Path
    config: ExperimentConfig
    evals: Mapping[str, object]  # the row of the evaluation whose weights are exported
    strata: Sequence[Mapping[str, object]]  # its rows
    multiplicities: Mapping[int, int]  # copies: unique training images that have so many, after the fold left
    mean: float  # preconditioning: grey mean and standard deviation of the source's pixels
    sigma_data: float

    @property
    def images_seen(self) -> int:
        """At which the weights were measured."""
        return self.evals["images_seen"]


def measured(folder: Path) -> Measured:
    """Raises StoreError, ConfigError or SchemaError, one line, on what is no finished, exportable run."""
    refuse_links(folder)
    config, status = finished(folder)
    if config.model.family != "unet":
        raise StoreError(
            f"run {folder.name}: model.family={config.model.family}: diffusers has no such network, so others could "
            f"load nothing without this code; give them the run folder: scaling.models.ladder.build makes the network, "
            f"weights/{status['images_seen']}.safetensors has its tensors"
        )
    source_kind(config.data.source)
    if not (folder / "model").is_dir():
        raise StoreError(f"run {folder.name} has no model/; remove the run folder and train it again")
    record = _last_record(folder, status["images_seen"])
    evals = record["evals"]
    for name in HASHES:
        if not HASH.fullmatch(evals[name] or ""):
            raise StoreError(f"{folder / RECORDS}: {name}={evals[name]!r} is no hash; train the run again")
    if missing := [name for name in NEEDED if evals[name] is None]:
        raise StoreError(f"{folder / RECORDS}: {missing[0]} is empty; train the run again")
    mean, sigma_data = _constants(folder / "model" / "preconditioning.json")
    counts = _multiplicities(config)
    n_unique, n_train = sum(counts.values()), sum(copies * images for copies, images in counts.items())
    if (n_unique, n_train) != (evals["n_unique"], evals["n_train"]):
        raise StoreError(
            f"run {folder.name}: {evals['n_unique']} unique and {evals['n_train']} training images in its records, "
            f"{n_unique} and {n_train} by its configuration; train the run again"
        )
    return Measured(folder, config, evals, record["strata"], counts, mean, sigma_data)


def source_kind(source: str) -> str:
    """digits, fashion_mnist, cifar10, hf, folder, parquet or idx; raises StoreError on any other."""
    kind, _, place = source.partition(":")
    if source in ("digits", *HUB) or (kind == "hf" and REPOSITORY.fullmatch(place)) or (kind in LOCAL and place):
        return kind
    raise StoreError(f"data.source={source}: no source that a run is trained on; see README, data.source")


def _last_record(folder: Path, images_seen: int) -> dict:
    for record in records(folder / RECORDS):
        if record["evals"]["images_seen"] == images_seen:
            return complete_record(record)
    raise StoreError(f"{folder / RECORDS}: no record at {images_seen:,} images_seen, its end; train the run again")


def _constants(path: Path) -> tuple[float, float]:
    try:
        found = parse_json(read_bytes(path, CONSTANTS_BYTES))
        mean, sigma_data = (float(found[name]) for name in ("mean", "sigma_data"))
        if not (isfinite(mean) and isfinite(sigma_data) and sigma_data > 0):
            raise ValueError(f"mean={mean}, sigma_data={sigma_data}")
        return mean, sigma_data
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        line = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path}: no constants of a preconditioning ({line}); train the run again") from None


def _multiplicities(config: ExperimentConfig) -> dict[int, int]:
    """copies: images, from the plan alone: exact, whatever was measured."""
    copies = plan(config.data).copies
    kept = copies[~left_out(copies, config.data.fold, config.draw)]
    values, counts = np.unique(kept, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
