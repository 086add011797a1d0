"""A study whose every answer is known: images drawn from a population in closed form, and three models of them.

Copier, generalizer and half copier (measures.md, section 5) stand where a trained network would: `measure` is called on
the same bench of the same training set, so that the columns themselves are checked, not only the functions below them.
"""

from collections.abc import Mapping
from functools import cached_property
from math import log, pi, prod

import numpy as np
import torch
from torch import Tensor

from scaling.config import build
from scaling.data.noise import normals
from scaling.data.sources import ImageSet
from scaling.data.training_set import assemble
from scaling.selfcheck.reference_models import Copier, Generalizer, HalfCopier
from scaling.selfcheck.table import Given, shown
from scaling.training.bench import Bench
from scaling.training.instruments.density import Minimum, density_errors
from scaling.training.instruments.measurement import Measurement
from scaling.training.measure import measure

# Six standard deviations of noise and the mean fit into [-1, 1]. The images of U and H alike are rounded to grey levels
# of step 2/255: noise of sd .0023 in images of sd .2, of which the population's exact denoiser knows nothing; it moves
# a loss by a part in 10,000, and seen and held-out losses alike.
SPREAD, MEAN = 0.2, 0.1
DRAWS = 32  # of the noise in `log_smoothed`

N, HOLDOUT, SAMPLES = 128, 256, 512
SIGMA_MIN = 0.1  # of the log-density: half the spread of the population
# 40 levels: with 18 the sampler alone makes images of this spread 14 % too wide, which coverage sees.
MAIN = {
    "data": {"n_unique": N, "holdout": HOLDOUT, "duplication": {"design": "spectrum", "levels": 4}},
    "evaluate": {"samples": SAMPLES, "sampler_steps": 40, "cycles": 10, "sigma_min": SIGMA_MIN, "prompts": 48},
}
BELOW = MAIN | {"evaluate": MAIN["evaluate"] | {"basin_sigma": 0.2}}  # of a collapse level of .45
KEYS = MAIN | {"data": MAIN["data"] | {"keys": True}}
# In 4 dimensions a ratio of 1/3 comes about by chance (1/81, K4), so that here the nulls are no zeros.
TINY = {
    "data": {"image_size": 2, "n_unique": 64, "holdout": 128},
    "evaluate": {"samples": 2048, "sampler_steps": 40, "cycles": 1},
}
HALVES = tuple(
    {
        "data": MAIN["data"] | {"n_unique": 64, "holdout": 32, "fold": {"index": index}},
        "evaluate": {"sigma_min": SIGMA_MIN, "density_levels": 128},
    }
    for index in (0, 1)
)
COPIER, GENERALIZER, HALF = "copier", "generalizer", "half copier"


class Study:
    """One training set, its bench, and what the instruments find in each of the three models: measured when asked."""

    def __init__(self, tree: Mapping[str, Mapping[str, object]], device: torch.device) -> None:
        self.config = build({"model": {"family": "mlp", "width": 32}} | tree)
        data, side = self.config.data, self.config.data.image_size
        mu = torch.linspace(-MEAN, MEAN, side**2, dtype=torch.float64, device=device).reshape(1, side, side)
        self.population = Generalizer(mu, SPREAD)
        drawn = self.population.draw(torch.arange(data.n_unique + data.holdout, device=device))
        pixels = ((drawn + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
        source = ImageSet(pixels, np.full(len(pixels), -1), n_classes=0, data_sha256="", n_removed=0)
        self.data = assemble(self.config, source)
        self.bench = Bench.of(self.config, self.data, source, device)
        self.kept: dict[tuple[str, ...], Measurement] = {}

    @cached_property
    def models(self) -> dict[str, Copier | Generalizer | HalfCopier]:
        """By name, on this training set."""
        train = self.bench.train
        rows = train.images.repeat_interleave(train.copies_tensor(), dim=0)  # copies weigh in the half copier too
        return {
            "copier": Copier(train.images, train.copies_tensor()),
            "generalizer": self.population,
            "half copier": HalfCopier(rows, SPREAD),
        }

    def found(self, model: str, *instruments: str) -> Measurement:
        """What these instruments find in a model.

        The reference of bits_memorized is the generalizer, as a run at its hold-out minimum is; for the generalizer
        itself one that has not quite got there.
        """
        if (model, *instruments) not in self.kept:
            before = Generalizer(self.population.mu, 1.25 * SPREAD) if model == "generalizer" else self.population
            minimum = Minimum(-1.0, lambda: density_errors(before, self.bench, self.config.evaluate))
            asked = self.config.evaluate.model_copy(update={"measures": list(instruments)})
            self.kept[model, *instruments] = measure(self.models[model], self.bench, asked, minimum=minimum)
        return self.kept[model, *instruments]

    def evals(self, model: str, *instruments: str) -> dict[str, object]:
        """The evals columns of `found`."""
        return self.found(model, *instruments).evals


def log_of_copier(images: Tensor, unique: Tensor, copies: Tensor, sigma: float) -> Tensor:
    """E ln q(x + sigma eps) [N] of the copier's images blurred by sigma: images [N D], unique [U D], copies [U]."""
    share = (copies.double() / copies.sum()).log()
    return _log_smoothed(images, unique, share, sigma, sigma)


def log_of_population(images: Tensor, population: Generalizer, sigma: float) -> Tensor:
    """The same [N] of the population: its two Gaussians, each wider by sigma; images [N D]."""
    mu = population.mu.flatten()
    share = mu.new_full((2,), 0.5).log()
    return _log_smoothed(images, torch.stack([mu, -mu]), share, (population.spread**2 + sigma**2) ** 0.5, sigma)


def _log_smoothed(images: Tensor, means: Tensor, log_share: Tensor, width: float, sigma: float) -> Tensor:
    """Mean over DRAWS noises eps of ln sum_k exp(log_share_k) N(x + sigma eps; means_k, width^2 I)."""
    total, d = 0, images.shape[1]
    for draw in range(DRAWS):
        eps = normals(draw, "density", torch.arange(len(images), device=images.device), d)
        squared = torch.cdist(images.double() + sigma * eps, means.double()).square()
        # |eps|^2 in place of its mean d is what these logarithms vary by: taken off, with mean 0.
        excess = (eps.double().square().sum(dim=1) - d) * sigma**2 / (2 * width**2)
        total = total + (log_share - squared / (2 * width**2)).logsumexp(dim=1) + excess
    return total / DRAWS - d / 2 * log(2 * pi * width**2)


class Studies:
    """The training sets that the rows share, each made when it is first asked."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @cached_property
    def main(self) -> Study:
        """A spectrum of 1 to 8 copies."""
        return Study(MAIN, self.device)

    @cached_property
    def below(self) -> Study:
        """Basin recovery from below the collapse level."""
        return Study(BELOW, self.device)

    @cached_property
    def keys(self) -> Study:
        """With planted keys."""
        return Study(KEYS, self.device)

    @cached_property
    def tiny(self) -> Study:
        """Images of 4 pixels, among which matches come about by chance."""
        return Study(TINY, self.device)

    @cached_property
    def halves(self) -> tuple[Study, Study]:
        """The two folds of one pool."""
        return Study(HALVES[0], self.device), Study(HALVES[1], self.device)


def counts(evals: dict[str, object], *names: str) -> list[int]:
    """These columns."""
    return [evals[name] for name in names]


def _as_expected(found: Tensor, expected: Tensor | float, se: Tensor | float) -> bool:
    return bool(((found - expected).abs() <= 3 * se).all())


def emission(study: Study, model: str, efficiency: float) -> Given:
    """E_r = n_hits_r N / (B r n_images_r) of every stratum, and whether it is `efficiency` within 3 binomial SE."""
    strata = study.found(model, "neighbors").strata
    hits = torch.tensor([float(row["n_hits"]) for row in strata])
    share = torch.tensor([row["copies"] * row["n_images"] / study.data.n_train for row in strata])
    p = efficiency * share
    found, se = hits / (SAMPLES * share), (p * (1 - p) / SAMPLES).sqrt() / share
    return Given(shown(found.tolist()), _as_expected(found, efficiency, se))


def in_errors(row: dict[str, float]) -> float:
    """holdout_loss - seen_loss in standard errors; pairs share noise only in part, so the squares add."""
    return (row["holdout_loss"] - row["seen_loss"]) / (row["holdout_loss_se"] ** 2 + row["seen_loss_se"] ** 2) ** 0.5


def gap(study: Study, model: str) -> float:
    """The loss gap of a model in standard errors."""
    return in_errors(study.evals(model, "loss"))


def coverage(samples: int, k: int = 5) -> float:
    """K34b with the ball to the k-th nearest other image: what `samples` images of the same law give."""
    return 1 - prod((HOLDOUT - 1 - j) / (HOLDOUT + samples - 1 - j) for j in range(k))


def counterfactual(halves: tuple[Study, Study], model: str) -> Tensor:
    """Mbar [pool] in nats: L of each image in the run trained on it, less L in the run that it was left out of."""
    tables = [study.found(model, "loss", "density").images[: len(study.data.pool)] for study in halves]
    scores = []
    for pair in zip(*tables, strict=True):
        with_it, without = sorted(pair, key=lambda row: row["in_training"], reverse=True)
        scores.append(with_it["log_density_bound"] - without["log_density_bound"])
    return torch.tensor(scores, dtype=torch.float64)


def in_training(study: Study, model: str, column: str) -> Tensor:
    """A column of the images table [U] after the instruments loss and density."""
    rows = study.found(model, "loss", "density").in_training(study.bench)
    return torch.tensor([row[column] for row in rows], dtype=torch.float64)


def zero_mean(errors: Tensor) -> bool:
    """Within 3 standard errors over images [N]."""
    return abs(float(errors.mean())) <= 3 * float(errors.std()) / len(errors) ** 0.5
