"""What every evaluation of a run shares: images, levels and references on the device, made once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from scaling.data.noise import normals, uniforms
from scaling.data.sources import ImageSet, to_unit
from scaling.data.streams import CONSTANT
from scaling.data.training_set import TrainingSet
from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser, collapse_sigma, covariance_eigenvalues
from scaling.fields import ExperimentConfig
from scaling.memorization.losses import Subset, evaluation_sigmas, measured_images
from scaling.memorization.neighbors import nearest
from scaling.memorization.subset import equal_subset

SPECTRUM_IMAGES = 4096  # of the source, evenly spaced: enough for the eigenvalues of its covariance


@dataclass(eq=False)
class Group:
    """A set of unique images with all that instruments ask of it: those in training, or held-out ones as their null."""

    images: Tensor  # [N C H W] float32 in [-1, 1]
    positions: Tensor  # [N] in the pool or in the hold-out: keys of the evaluation noise
    copies: np.ndarray  # [N]; the null takes the copies of the same index
    labels: Tensor | None  # [N] given to the network
    members: Tensor  # [M D] what neighbours are searched among
    family: Tensor | None  # [M] index into the N images; None: members are the images

    @property
    def strata(self) -> list[int]:
        return [int(r) for r in np.unique(self.copies)]

    def copies_tensor(self) -> Tensor:
        return torch.tensor(self.copies, device=self.images.device)

    @cached_property
    def ideal(self) -> IdealDenoiser:
        return IdealDenoiser(self.images, self.copies_tensor(), self.labels)

    @cached_property
    def linear(self) -> LinearDenoiser:
        return LinearDenoiser(self.images, self.copies_tensor())

    def take(self, rows: np.ndarray) -> "Group":
        """The images at `rows`; what neighbours are searched among stays whole."""
        at = torch.tensor(rows, device=self.images.device)
        labels = None if self.labels is None else self.labels[at]
        return Group(self.images[at], self.positions[at], self.copies[rows], labels, self.members, self.family)


@dataclass(eq=False)
class Bench:
    """The groups of one run and the fixed choices of its instruments, on one device."""

    data: TrainingSet
    train: Group  # the unique images in training
    null: Group  # the first min(n, |H|) hold-out images in their place
    holdout: Group  # all of them, for losses and quality
    left_out: Group | None  # pool images that a fold left out
    loss_subset: Subset  # of train: those whose loss is measured
    basin_rows: np.ndarray  # of train: those whose basin is measured
    null_basin_rows: np.ndarray  # of null
    sigmas: Tensor  # [J] float64
    basin_sigma: float

    @classmethod
    def of(cls, config: ExperimentConfig, data: TrainingSet, source: ImageSet, device: torch.device) -> "Bench":
        """On `device`; the cost of an instrument is bounded by fixed subsets of the images (measures.md 2.1)."""
        conditioned = data.n_labels > 0
        train = _training_group(data, device, conditioned)
        everything = np.arange(len(data.holdout))
        held = _group(data.holdout, everything, np.zeros(len(everything), int), data.holdout_given, device, conditioned)
        count = min(data.n_unique, len(data.holdout))
        null = _group(
            data.holdout[:count],
            everything[:count],
            data.copies[:count],
            data.holdout_given[:count],
            device,
            conditioned,
        )
        out = np.flatnonzero(~data.in_training)
        left = (
            _group(data.pool[out], out, data.pool_copies[out], data.labels[out], device, conditioned)
            if len(out)
            else None
        )
        limit = config.evaluate.basin_images
        return cls(
            data=data,
            train=train,
            null=null,
            holdout=held,
            left_out=left,
            loss_subset=measured_images(torch.tensor(data.copies, device=device)),
            basin_rows=equal_subset(data.copies, limit),
            null_basin_rows=equal_subset(null.copies, limit),
            sigmas=evaluation_sigmas(config.train.sigma, config.evaluate.draws).to(device),
            basin_sigma=config.evaluate.basin_sigma or source_collapse_sigma(source),
        )

    def sample_noise(self, count: int) -> Tensor:
        """Initial noise [count C H W] of the generated samples, the same in every run."""
        shape, device = self.train.images.shape[1:], self.train.images.device
        return normals(CONSTANT, "sample", torch.arange(count, device=device), shape.numel()).view(count, *shape)

    def sample_labels(self, count: int) -> Tensor | None:
        """Labels [count] of the generated samples, as often as training gave them (by copies); None without labels."""
        if not self.data.n_labels:
            return None
        place = uniforms(CONSTANT, "sample_label", torch.arange(count), 1)[:, 0] * self.data.n_train
        rows = self.data.rows[place.long().numpy()]
        return torch.tensor(self.data.labels[self.data.member_position[rows]], device=self.train.images.device)

    @cached_property
    def density(self) -> dict[str, np.ndarray]:
        """Distances (rms pixel) of pool and hold-out images to the nearest and the 10th nearest other training image.

        [P + H] each, in that order; NaN where there are not so many others.
        """
        everything = np.concatenate([self.data.pool, self.data.holdout])
        images = torch.tensor(to_unit(everything), device=self.train.images.device).flatten(1)
        inside = np.concatenate([self.data.in_training, np.zeros(len(self.data.holdout), bool)])
        found = nearest(images, self.train.members, min(11, len(self.train.images)), self.train.family).distance
        distance = torch.nn.functional.pad(found, (0, 11 - found.shape[1]), value=torch.nan).cpu().numpy()
        own = inside.astype(int)  # a training image is its own nearest neighbour
        at, scale = np.arange(len(own)), np.sqrt(images.shape[1])
        return {"nearest_train_distance": distance[at, own] / scale, "distance_10": distance[at, 9 + own] / scale}


def _group(
    images: np.ndarray,
    positions: np.ndarray,
    copies: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    conditioned: bool,
) -> Group:
    unit = torch.tensor(to_unit(images), device=device)
    given = torch.tensor(labels, device=device) if conditioned else None
    return Group(unit, torch.tensor(positions, device=device), copies, given, unit.flatten(1), None)


def _training_group(data: TrainingSet, device: torch.device, conditioned: bool) -> Group:
    plain = _group(
        data.pool[data.in_training], data.positions, data.copies, data.labels[data.in_training], device, conditioned
    )
    if len(data.members) == data.n_unique:
        return plain
    members = torch.tensor(to_unit(data.members), device=device).flatten(1)
    index = np.cumsum(data.in_training) - 1  # pool position -> index among the images in training
    family = torch.tensor(index[data.member_position], device=device)
    return Group(plain.images, plain.positions, plain.copies, plain.labels, members, family)


def source_collapse_sigma(source: ImageSet) -> float:
    """sigma_c of a source: from the eigenvalues of its images' covariance and their number (measures.md 2.10)."""
    step = -(-len(source.pixels) // SPECTRUM_IMAGES)
    return collapse_sigma(covariance_eigenvalues(torch.tensor(to_unit(source.pixels[::step]))), len(source.pixels))
