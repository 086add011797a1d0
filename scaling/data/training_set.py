"""What a run is trained on and held against: pool, hold-out, members, the rows of an epoch and the labels given.

Pure: a configuration and a source's images in, arrays out. The draw's order is one permutation of the source; the pool
is its beginning, the hold-out its end, so both keep their images when n_unique, copies or folds change.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from scaling.config import ConfigError
from scaling.data.duplication import left_out, plan
from scaling.data.near import n_shared, near_copies
from scaling.data.sources import ImageSet, first_of_each, image_id
from scaling.data.streams import generator
from scaling.fields import ExperimentConfig


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Everything by pool position P, hold-out position H, member M or training row n_train."""

    pool: np.ndarray  # uint8 [P C S S] unique images in pool order, left-out ones too; with their keys
    pool_labels: np.ndarray  # int64 [P] the source's; -1 = none
    pool_copies: np.ndarray  # int64 [P] as planned, before a fold leaves
    in_training: np.ndarray  # bool [P]
    holdout: np.ndarray  # uint8 [H C S S]; with keys of their own, else they would differ from the pool by that
    holdout_labels: np.ndarray  # int64 [H] the source's; -1 = none
    members: np.ndarray  # uint8 [M C S S] what is trained on: each image in training, followed by its near copies
    member_position: np.ndarray  # int64 [M] pool position of the member's family
    rows: np.ndarray  # int64 [n_train] member of each training row, by pool position, then copy
    row_copy: np.ndarray  # int64 [n_train] which copy of its image the row is, 0 .. r-1
    labels: np.ndarray  # int64 [P] given to the network; 0 without conditioning
    holdout_given: np.ndarray  # int64 [H] the label the network is given for a held-out image
    n_labels: int  # 0 without conditioning
    keys: np.ndarray | None  # float64 [P] planted grey in [0, 1], exactly as the pixels hold it; None = not planted
    holdout_keys: np.ndarray | None  # float64 [H] the same of the held-out images: never trained on
    mean: float  # of the source, in [-1, 1]
    std: float
    data_sha256: str

    @property
    def positions(self) -> np.ndarray:
        """int64 [U] pool positions of the images in training."""
        return np.flatnonzero(self.in_training)

    @property
    def copies(self) -> np.ndarray:
        """int64 [U] their copies."""
        return self.pool_copies[self.in_training]

    @property
    def n_unique(self) -> int:
        """As trained: without what left."""
        return int(self.in_training.sum())

    @property
    def n_train(self) -> int:
        """As trained, copies included."""
        return len(self.rows)


def assemble(config: ExperimentConfig, images: ImageSet) -> TrainingSet:
    """The training set of a run; raises ConfigError where the plan, the source or the fold cannot give it."""
    data, draw = config.data, config.draw
    copies = plan(data).copies
    order = generator(draw, "draw").permutation(len(images.pixels))
    _refuse_beyond(config, len(copies), len(order))
    pool_at, holdout_at = order[: len(copies)], order[len(order) - data.holdout :]
    original, holdout = images.pixels[pool_at], images.pixels[holdout_at]
    in_training = _without_fold(config, copies)
    members, member_position = _members(config, original, copies, in_training, holdout)
    positions = np.flatnonzero(in_training)
    repeats = copies[positions]
    exact = data.duplication.near == "exact"
    levels = key_levels(draw, len(copies)) if data.keys else None
    holdout_levels = key_levels(draw, len(holdout), of_holdout=True) if data.keys else None
    if levels is not None and holdout_levels is not None:
        original, holdout = _planted(config, original, levels, holdout, holdout_levels)
    labels, n_labels = _given(config, images, pool_at)
    return TrainingSet(
        pool=original,
        pool_labels=images.labels[pool_at],
        pool_copies=copies,
        in_training=in_training,
        holdout=holdout,
        holdout_labels=images.labels[holdout_at],
        members=members if levels is None else plant(members, levels[member_position]),
        member_position=member_position,
        # Exact copies are one member; of near copies each row is a member of its own.
        rows=np.repeat(np.arange(len(positions)), repeats) if exact else np.arange(len(members)),
        row_copy=np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats),
        labels=labels,
        # unique: a held-out image has no label of its own; it takes that of its position, whose noise it shares too.
        holdout_given=_given(config, images, holdout_at)[0] % max(1, n_labels),
        n_labels=n_labels,
        keys=None if levels is None else levels / 255,
        holdout_keys=None if holdout_levels is None else holdout_levels / 255,
        mean=images.mean,
        std=images.std,
        data_sha256=images.data_sha256,
    )


def _refuse_beyond(config: ExperimentConfig, n_unique: int, available: int) -> None:
    data = config.data
    if n_unique + data.holdout <= available:
        return
    given = f"data.{data.duplication.fix}={getattr(data, data.duplication.fix)}"
    largest, room = available - data.holdout, available - n_unique
    options = [f"at most {largest} unique training images"] if largest >= 2 else []
    options += [f"data.holdout of at most {room}"] if room >= 2 else []
    raise ConfigError(
        f"{given}: {n_unique} unique images and data.holdout={data.holdout} are more than the {available} "
        f"unique images of {data.source}; use {' or '.join(options or ['a larger source, or less of both'])}"
    )


def _without_fold(config: ExperimentConfig, copies: np.ndarray) -> np.ndarray:
    fold = config.data.fold
    in_training = ~left_out(copies, fold, config.draw)
    if in_training.sum() < 2:
        raise ConfigError(
            f"data.fold.index={fold.index}: without that part {in_training.sum()} unique images are left to train on, "
            "at least 2 are needed; use a larger pool or more parts"
        )
    return in_training


def _members(
    config: ExperimentConfig, original: np.ndarray, copies: np.ndarray, in_training: np.ndarray, holdout: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Members uint8 [M C S S] without keys and their pool positions [M]."""
    positions, near = np.flatnonzero(in_training), config.data.duplication.near
    if near == "exact":
        return original[positions], positions
    members = np.concatenate([near_copies(original[i], int(copies[i]), near) for i in positions])
    member_position = np.repeat(positions, copies[positions])
    # Distances could not tell two families with a common member apart; a hold-out image must not be trained on.
    if shared := n_shared(members, member_position, holdout):
        raise ConfigError(
            f"data.duplication.near={near}: {shared} of {len(members)} training images equal one of another image's "
            "family or of the hold-out; use fewer copies, a larger data.image_size or another data.duplication.near"
        )
    return members, member_position


def key_levels(draw: int, n: int, *, of_holdout: bool = False) -> np.ndarray:
    """Grey levels 0..255 [n] of the planted keys, uniform by (draw, position): a larger pool keeps the smaller's."""
    return np.floor(256 * generator(draw, "key", int(of_holdout)).random(n)).astype(np.uint8)


def plant(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """A copy of uint8 [n C S S] whose outermost ring of pixels has the grey level [n] (measures.md 2.12)."""
    ring = np.ones(pixels.shape[-2:], bool)
    ring[1:-1, 1:-1] = False
    return np.where(ring, levels[:, None, None, None], pixels)


def _planted(
    config: ExperimentConfig, pool: np.ndarray, levels: np.ndarray, holdout: np.ndarray, holdout_levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    pool, holdout = plant(pool, levels), plant(holdout, holdout_levels)
    everything = np.concatenate([pool, holdout])
    if equal := len(everything) - len(first_of_each(everything)):
        raise ConfigError(
            f"data.keys=True: {equal} of {len(everything)} images equal another one once their border is a key; "
            f"use data.image_size above {config.data.image_size}"
        )
    return pool, holdout


def _given(config: ExperimentConfig, images: ImageSet, at: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels int64 given to the network for the source's images `at`, and their number (measures.md 1.3)."""
    kind, n_classes = config.data.conditioning, images.n_classes
    if kind == "none":
        return np.zeros(len(at), np.int64), 0
    if kind == "unique":
        return np.arange(len(at)), len(at)
    if n_classes == 0 or (kind == "class" and images.labels[at].min() < 0):
        lack, instead = ("no labels", "") if n_classes == 0 else ("images without label", "random, ")
        raise ConfigError(f"data.conditioning={kind}: {config.data.source} has {lack}; use {instead}unique or none")
    if kind == "class":
        return images.labels[at], n_classes
    return np.array([random_label(config.seed, image_id(images.pixels[i]), n_classes) for i in at]), n_classes


def random_label(seed: int, image: str, n_classes: int) -> int:
    """One of C labels by hash of (seed, image_id); uniform to within C / 2^64."""
    return int.from_bytes(hashlib.sha256(f"{seed},{image}".encode()).digest()[:8], "big") % n_classes
