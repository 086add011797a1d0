"""The log-density bound of every measured image, and what it says of the model's memory in bits."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.sampler import Denoises
from scaling.fields import EvaluateConfig
from scaling.memorization.bits import bits_memorized, bits_optimism
from scaling.memorization.density import LogDensity, density_sigmas, level_errors, log_density
from scaling.memorization.losses import LIMIT
from scaling.training.bench import Bench, Group
from scaling.training.instruments.measurement import Measurement

log = logging.getLogger(__name__)
Errors = tuple[Tensor, Tensor]  # of the training images measured [N L R], of held-out ones [M L R]


@dataclass(frozen=True)
class Minimum:
    """The run at the smallest hold-out loss before this evaluation; `errors` measures it there (again)."""

    holdout_loss: float
    errors: Callable[[], Errors]


def lowest(holdout_loss: float | None, minimum: Minimum | None) -> bool:
    """Whether this evaluation is itself the run's hold-out minimum so far."""
    return holdout_loss is not None and (minimum is None or holdout_loss <= minimum.holdout_loss)


def density(
    denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement, minimum: Minimum | None
) -> None:
    """The instrument `density`; bits_memorized needs the hold-out minimum, and so the instrument `loss`."""
    sigmas = density_sigmas(bench.sigma_min, config.density_levels).to(bench.sigmas.device)
    errors = density_errors(denoiser, bench, config)
    found.density_errors = errors
    held_group = _held(bench)
    of_seen = _bound(errors[0], bench.measured, sigmas, bench)
    of_held = _bound(errors[1], held_group, sigmas, bench)
    first = len(bench.data.pool)
    parts = [(bench.measured.positions.tolist(), of_seen), (list(range(first, first + len(of_held.value))), of_held)]
    if bench.left_out is not None:
        left = level_errors(
            denoiser, bench.left_out.images, bench.left_out.labels, bench.left_out.positions, sigmas,
            draws=config.density_draws,
        )  # fmt: skip
        parts.append((bench.left_out.positions.tolist(), _bound(left, bench.left_out, sigmas, bench)))
    for rows, bound in parts:
        found.fill_images(rows, "log_density_bound", bound.value)
        found.fill_images(rows, "log_density_se", bound.se)
    found.evals["sigma_min"] = bench.sigma_min
    weight = bench.loss_subset.weight
    optimism = bits_optimism(of_seen.value, of_held.value, bench.data.n_unique, weight)
    _bits(found, "bits_optimism", optimism.value, optimism.se)
    references = _references(errors, bench, config, found, minimum, sigmas)
    memorized = bits_memorized(
        errors[0], {name: pair[0] for name, pair in references.items()}, errors[1],
        {name: pair[1] for name, pair in references.items()}, sigmas, n_unique=bench.data.n_unique, weight=weight,
    )  # fmt: skip
    _bits(found, "bits_memorized", memorized.value, memorized.se)


def density_errors(denoiser: Denoises, bench: Bench, config: EvaluateConfig) -> Errors:
    """Squared errors of the training images measured and of the held-out ones, at the levels of the bound."""
    sigmas = density_sigmas(bench.sigma_min, config.density_levels).to(bench.sigmas.device)
    made = [
        level_errors(denoiser, group.images, group.labels, group.positions, sigmas, draws=config.density_draws)
        for group in (bench.measured, _held(bench))
    ]
    return made[0], made[1]


def _held(bench: Bench) -> Group:
    return bench.holdout.take(np.arange(min(len(bench.holdout.images), LIMIT)))


def _bound(errors: Tensor, group: Group, sigmas: Tensor, bench: Bench) -> LogDensity:
    return log_density(errors, group.images, sigmas, mean=bench.data.mean, variance=bench.data.std**2)


def _references(
    errors: Errors,
    bench: Bench,
    config: EvaluateConfig,
    found: Measurement,
    minimum: Minimum | None,
    sigmas: Tensor,
) -> dict[str, Errors]:
    """The run at its hold-out minimum, the linear denoiser, and a network that answers 0 (measures.md 2.11)."""
    made = bench.once(
        "density references",
        lambda: {
            "linear": density_errors(bench.train.linear, bench, config),
            "zero": density_errors(bench.silent, bench, config),
        },
    )
    now = found.evals.get("holdout_loss")
    if now is None:
        log.warning("evaluate.measures has no loss: bits_memorized knows no hold-out minimum of the run")
        return dict(made)
    return {"minimum": errors if lowest(now, minimum) else minimum.errors(), **made}


def _bits(found: Measurement, name: str, value: float, se: float) -> None:
    found.evals[name] = found.number(value + 0.0, name)  # -0.0 would be shown as such
    # 0 only where the run is its own reference at every level: a value by definition, not an estimate with an error
    found.evals[f"{name}_se"] = None if found.evals[name] is None or se == 0 else found.number(se, f"{name}_se")
