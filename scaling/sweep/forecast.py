"""What a cell will cost before it runs: weights, images, FLOPs and seconds; and when a whole sweep will end. No torch.

Seconds come from finished runs where there are any: a replicate of the cell says it directly, other runs correct the
model by their median ratio. Without any, the model alone speaks, measured on one thread of a plain server core
(UNet2DModel, 8x8 grey, batch 64 and 256, widths 2 to 48): it met those 13 speeds within 17 %.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from scaling import sizes
from scaling.config import cell_id
from scaling.data.duplication import plan
from scaling.fields import ExperimentConfig
from scaling.flops import forward_flops
from scaling.training.cost import instrument_costs
from scaling.training.points import evaluation_steps, total_steps

STEP_SECONDS = 5.8e-3  # of a step or a sampler's pass, whatever its size
PIXEL_SECONDS = 1.64e-6  # of one pixel's forward and backward pass through a network of no weights
FLOP_SECONDS = 8.0e-12
KNOWN_CHANNELS = {"digits": 1, "fashion_mnist": 1, "cifar10": 3}  # others count as grey unless data.channels says more
CLASSES = 10  # of a source whose images were not read yet


@dataclass(frozen=True)
class Forecast:
    """seconds: of one run on one worker."""

    params: int
    n_unique: int
    n_train: int
    copies: int
    images: int
    train_flops: float
    seconds: float


def forecast(config: ExperimentConfig) -> Forecast:
    """The uncorrected forecast; raises ConfigError on duplication that cannot be made."""
    made, model, size = plan(config.data), config.model, config.data.image_size
    channels = config.data.channels or KNOWN_CHANNELS.get(config.data.source, 1)
    labels = {"none": 0, "unique": made.n_unique}.get(config.data.conditioning, CLASSES)
    stays = 1 if config.data.fold.index is None else 1 - 1 / config.data.fold.of
    n_train = round(made.n_train * stays)
    steps, batch = total_steps(config.train, n_train), config.train.batch_size
    images = steps * batch
    forward = forward_flops(model, image_size=size, channels=channels)
    pixels = channels * size**2
    training = steps * STEP_SECONDS + images * (pixels * PIXEL_SECONDS + 3 * forward * FLOP_SECONDS)
    points = len(evaluation_steps(config.evaluate, config.train, n_train))
    costs = instrument_costs(
        config.evaluate, round(made.n_unique * stays), config.data.holdout, keys=config.data.keys
    )  # fmt: skip
    of_image = pixels * PIXEL_SECONDS / 3 + forward * FLOP_SECONDS
    evaluation = sum(
        (cost.calls * STEP_SECONDS / 3 + cost.images * of_image) * (1 if name == "leverage" else points)
        for name, cost in costs.items()
    )
    return Forecast(
        params=sizes.count_params(model, model.width, size, channels, labels),
        n_unique=round(made.n_unique * stays),
        n_train=n_train,
        copies=made.max_copies,
        images=images,
        train_flops=3.0 * forward * images,
        seconds=training + evaluation,
    )


def corrected(
    configs: Sequence[ExperimentConfig], forecasts: Sequence[Forecast], measured: Mapping[int, float]
) -> list[float]:
    """Seconds of each cell, by the wall_seconds of those that are done; measured: position in `configs` -> seconds."""
    ratio = median([seconds / forecasts[at].seconds for at, seconds in measured.items()] or [1.0])
    replicates: dict[str, list[float]] = {}
    for at, seconds in measured.items():
        replicates.setdefault(cell_id(configs[at]), []).append(seconds)
    return [
        fmean(replicates[cell]) if (cell := cell_id(config)) in replicates else made.seconds * ratio
        for config, made in zip(configs, forecasts, strict=True)
    ]


def makespan(running: Sequence[float], pending: Sequence[float], workers: int) -> float:
    """Seconds until all is done: seconds left of the running, and each pending one taken by the next free worker."""
    free = [*running, *[0.0] * max(workers - len(running), 0)]
    heapq.heapify(free)
    for seconds in sorted(pending, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free, default=0.0)
