"""When a run is evaluated, and how long it is: images_seen, the clock. No torch."""

from math import ceil

from scaling.config import ConfigError
from scaling.fields import EvaluateConfig, TrainConfig

FIRST_POINT = 100  # a count of log-spaced points starts at this fraction of the run: two decades


def total_steps(config: TrainConfig, n_train: int) -> int:
    """Optimisation steps of the run: its images, rounded up to whole batches."""
    images = config.images if config.images is not None else config.epochs * n_train
    return ceil(images / config.batch_size)


def protocol(config: TrainConfig) -> str:
    """What fixed the length: fixed_images or fixed_epochs."""
    return "fixed_images" if config.images is not None else "fixed_epochs"


def evaluation_steps(evaluate: EvaluateConfig, train: TrainConfig, n_train: int) -> list[int]:
    """Steps after which the run is evaluated, ascending: 0, the requested points, the last.

    A point is rounded up to a whole batch; equal points merge. Raises ConfigError on a point beyond the end.
    """
    last = total_steps(train, n_train)
    if isinstance(evaluate.at, int):
        ratio = FIRST_POINT ** (1 / max(evaluate.at - 1, 1))
        wanted = [ceil(last / ratio**back) for back in range(evaluate.at)]
    else:
        wanted = [ceil(images / train.batch_size) for images in evaluate.at]
        if wanted and max(wanted) > last:
            raise ConfigError(
                f"evaluate.at={max(evaluate.at)}: the run ends at {last * train.batch_size:,} images_seen; "
                f"lengthen it (train.images) or leave the point out"
            )
    return sorted({0, last, *wanted})
