"""What every evaluation of a run shares: images, levels and references on the device, made once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scaling.data.noise import normals, uniforms
from scaling.data.sources import ImageSet, to_unit
from scaling.data.streams import CONSTANT
from scaling.data.training_set import TrainingSet
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser, collapse_sigma, covariance_eigenvalues
from scaling.diffusion.sampler import karras_sigmas
from scaling.fields import EvaluateConfig, ExperimentConfig
from scaling.memorization.density import grey_step, sigma_floor
from scaling.memorization.losses import Subset, evaluation_sigmas, measured_images
from scaling.memorization.neighbors import nearest
from scaling.memorization.subset import equal_subset
from scaling.memorization.trajectory import Trajectory

T = TypeVar("T")
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
        """The numbers of copies, ascending."""
        return [int(r) for r in np.unique(self.copies)]

    def copies_tensor(self) -> Tensor:
        """int64 [U], beside the images."""
        return torch.tensor(self.copies, device=self.images.device)

    @cached_property
    def ideal(self) -> IdealDenoiser:
        """The closed-form optimal denoiser of the group."""
        return IdealDenoiser(self.images, self.copies_tensor(), self.labels)

    @cached_property
    def linear(self) -> LinearDenoiser:
        """The best linear denoiser of the group."""
        return LinearDenoiser(self.images, self.copies_tensor())

    def take(self, rows: np.ndarray) -> "Group":
        """The images at rows int64 [B]; what neighbours are searched among stays whole."""
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
    left_out: Group | None  # pool images that a fold left out, as far as they are measured
    loss_subset: Subset  # of train: those whose loss is measured
    basin_rows: np.ndarray  # of train: those whose basin is measured
    null_basin_rows: np.ndarray  # of null
    prompt_rows: np.ndarray  # of train: those that are prompted
    null_prompt_rows: np.ndarray  # of null
    sigmas: Tensor  # [J] float64
    basin_sigma: float
    sigma_min: float  # lower end of the log-density bound
    kept: dict[str, object] = field(default_factory=dict)  # what `once` made

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
        # Chosen from the pool before the fold leaves, so that runs which differ in it measure the same images.
        chosen = measured_images(torch.tensor(data.pool_copies)).index.numpy()
        out = chosen[~data.in_training[chosen]]
        left = (
            _group(data.pool[out], out, data.pool_copies[out], data.labels[out], device, conditioned)
            if len(out)
            else None
        )
        chains, prompted = config.evaluate.basin_images, config.evaluate.prompts
        return cls(
            data=data,
            train=train,
            null=null,
            holdout=held,
            left_out=left,
            loss_subset=_subset(data, chosen, device),
            basin_rows=equal_subset(data.copies, chains),
            null_basin_rows=equal_subset(null.copies, chains),
            prompt_rows=equal_subset(data.copies, prompted),
            null_prompt_rows=equal_subset(null.copies, prompted),
            sigmas=evaluation_sigmas(config.train.sigma, config.evaluate.draws).to(device),
            basin_sigma=config.evaluate.basin_sigma or source_collapse_sigma(source),
            sigma_min=config.evaluate.sigma_min or sigma_floor(config.train.sigma, grey_step(source.pixels)),
        )

    @cached_property
    def measured(self) -> Group:
        """The training images of `loss_subset`."""
        return self.train.take(self.loss_subset.index.cpu().numpy())

    @cached_property
    def silent(self) -> Denoiser:
        """The preconditioned denoiser whose network always answers 0."""
        return Denoiser(Zero(), mean=self.data.mean, sigma_data=self.data.std)

    @cached_property
    def chance_of_label(self) -> float:
        """Chance that an image drawn as training draws has the label of another draw: sum_c (N_c / N)^2 (1.3)."""
        n_c = np.bincount(self.data.labels[self.data.in_training], weights=self.data.copies)
        return float(((n_c / n_c.sum()) ** 2).sum())

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made at the first evaluation only: it depends on the data, not on the weights."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def chain_steps(self, config: EvaluateConfig) -> int:
        """Levels of a path that starts at basin_sigma: as many as the sampler's own path has below that start."""
        return 1 + int((karras_sigmas(config.sampler_steps)[:-1] < self.basin_sigma).sum())

    def trajectory(self, config: EvaluateConfig) -> Trajectory:
        """What follows the sampler's path; the distances of noised training images are found at the first call."""
        sigmas = karras_sigmas(config.sampler_steps).to(self.sigmas.device)
        train = self.train
        return self.once(
            "trajectory",
            lambda: Trajectory(train.members, train.family, train.images, train.positions, sigmas, config.samples),
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


class Zero(nn.Module):
    """A network that answers 0."""

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Zeros of the images' shape."""
        return torch.zeros_like(x)


def _subset(data: TrainingSet, chosen: np.ndarray, device: torch.device) -> Subset:
    """Those of the chosen pool images that are in training: index among these, and weights that restore the strata."""
    place = np.cumsum(data.in_training) - 1
    index = place[chosen[data.in_training[chosen]]]
    strata, of_image = np.unique(data.copies, return_inverse=True)
    all_of, kept_of = (np.bincount(which, minlength=len(strata)) for which in (of_image, of_image[index]))
    weight = (all_of / np.maximum(kept_of, 1))[of_image[index]]
    return Subset(torch.tensor(index, device=device), torch.tensor(weight, dtype=torch.float64, device=device))


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
