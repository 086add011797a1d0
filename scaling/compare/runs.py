"""The two runs, and whether they belong together: no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scaling.config import ConfigError
from scaling.data.sources import ImageSet, image_id, load_images
from scaling.data.training_set import TrainingSet, assemble
from scaling.fields import ExperimentConfig
from scaling.finished_run import finished
from scaling.store_errors import StoreError


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run on disk with the images it was made from."""

    folder: Path
    config: ExperimentConfig
    images_seen: int  # of the weights
    source: ImageSet
    data: TrainingSet

    @property
    def name(self) -> str:
        """Its run_id."""
        return self.folder.name


class Rows(NamedTuple):
    """Which images were trained on by whom; rows among A's or B's images in training, or among A's hold-out."""

    only_a: np.ndarray
    only_b: np.ndarray
    both: np.ndarray  # among A's
    holdout: np.ndarray  # in both hold-outs, and trained on by neither


def open_runs(folder_a: Path, folder_b: Path) -> tuple[Run, Run]:
    """Raises StoreError, SourceError or ConfigError, one line, on what is no finished run, and on runs that differ."""
    (config_a, status_a), (config_b, status_b) = finished(folder_a), finished(folder_b)
    of_a, of_b = _must_share(config_a, status_a), _must_share(config_b, status_b)
    for key in of_a | of_b:
        if of_a.get(key) != of_b.get(key):
            raise ConfigError(
                f"{key}: {of_a.get(key)} in {folder_a.name}, {of_b.get(key)} in {folder_b.name}; "
                f"only runs that share it can be compared"
            )
    a, b = _run(folder_a, config_a, status_a), _run(folder_b, config_b, status_b)
    _refuse_other_pools(a, b)
    return a, b


def open_run(folder: Path) -> Run:
    """Raises StoreError, SourceError or ConfigError, one line, on what is no finished run."""
    return _run(folder, *finished(folder))


def _must_share(config: ExperimentConfig, status: Mapping[str, object]) -> dict[str, object]:
    """Key -> value of all that makes the noised images, or what the networks are told of them, differ."""
    data, sigma = config.data, config.train.sigma.model_dump(exclude_none=True)
    made = {
        "data.image_size": data.image_size,
        "data_sha256": status["data_sha256"][:12],
        "train.sigma": " ".join(f"{name}={value}" for name, value in sigma.items()),
        "data.conditioning": data.conditioning,
        "data.keys": data.keys,
    }
    if data.conditioning != "none":  # the same pixels may have other labels elsewhere
        made["data.source"] = data.source
    if data.conditioning == "random":
        made["seed (of random labels)"] = config.seed
    return made


def _run(folder: Path, config: ExperimentConfig, status: Mapping[str, object]) -> Run:
    source = load_images(config.data.source, config.data.image_size, config.data.channels)
    if source.data_sha256 != status["data_sha256"]:
        raise StoreError(
            f"run {folder.name}: the images of data.source={config.data.source} changed since it was trained "
            f"({status['data_sha256'][:12]} then, {source.data_sha256[:12]} now); restore them, or train it again"
        )
    return Run(folder, config, status["images_seen"], source, assemble(config, source))


def _refuse_other_pools(a: Run, b: Run) -> None:
    """Labels of single images and planted keys belong to positions in the pool."""
    pool, held, trained = (
        np.array_equal(getattr(a.data, name), getattr(b.data, name)) for name in ("pool", "holdout", "in_training")
    )
    if a.config.data.conditioning == "unique" and not (pool and trained):
        raise ConfigError(
            f"data.conditioning=unique: a label is one image, and {a.name} and {b.name} were not trained on the same: "
            f"a network cannot be asked for a label it never saw; compare runs with conditioning none or class"
        )
    if a.config.data.keys and not (pool and held):
        raise ConfigError(
            f"data.keys=True: keys belong to positions of a draw, and {a.name} and {b.name} have other pools or "
            f"hold-outs: one image would count as two; give both the same data.draw, data.n_unique and data.holdout"
        )


def ids(data: TrainingSet) -> list[str]:
    """image_id [U] of the unique images in training."""
    return [image_id(image) for image in data.pool[data.positions]]


def image_rows(a: TrainingSet, b: TrainingSet) -> Rows:
    """By pixels, whatever the draws: near copies of an image were trained on too."""
    own = [np.array(ids(data)) for data in (a, b)]
    trained = [np.array([image_id(image) for image in data.members]) for data in (a, b)]
    held_a, held_b = (np.array([image_id(image) for image in data.holdout]) for data in (a, b))
    free = np.isin(held_a, held_b)  # each hold-out is free of its own run's training images
    shared = np.isin(own[0], trained[1])
    return Rows(*map(np.flatnonzero, (~shared, ~np.isin(own[1], trained[0]), shared, free)))


def overlap(a: Run, b: Run, rows: Rows) -> str | None:
    """A line where a run has no image of its own."""
    if len(rows.only_a) and len(rows.only_b):
        return None
    if not len(rows.only_a) and not len(rows.only_b):
        return f"{a.name} and {b.name} were trained on the same {len(rows.both):,} images: no independent images"
    inside, whole = (a, b) if len(rows.only_b) else (b, a)
    return (
        f"the {inside.data.n_unique:,} training images of {inside.name} are all among those of {whole.name}: "
        f"no independent images"
    )
