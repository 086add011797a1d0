"""The part of an evaluation's record that is known without measuring: identity, design, size, cost, optimised loss."""

from math import sqrt

from torch import Tensor

from scaling.code_version import code_version, commit
from scaling.columns import SCHEMA_VERSION
from scaling.data.training_set import TrainingSet
from scaling.diffusion.denoiser import Denoiser
from scaling.fields import ExperimentConfig
from scaling.identity import SCIENCE_VERSION, canonical, cell_id, run_id, train_id
from scaling.models.ladder import count_params, count_params_no_time, forward_flops
from scaling.training.member import learning_rate
from scaling.training.points import protocol


def standing_columns(config: ExperimentConfig, data: TrainingSet, denoiser: Denoiser) -> dict[str, object]:
    """The columns of the evals table that are equal in every evaluation of a run."""
    duplication, fold = config.data.duplication, config.data.fold
    folded = fold.index is not None
    return {
        "run_id": run_id(config),
        "cell_id": cell_id(config),
        "train_id": train_id(config),
        "config": canonical(config),
        "schema_version": SCHEMA_VERSION,
        "science_version": SCIENCE_VERSION,
        "code_version": code_version(),
        "commit": commit(),
        "seed": config.seed,
        "dataset": config.data.source,
        **data_columns(data),
        "fraction": None if duplication.fraction is None else float(duplication.fraction),
        "design": duplication.design,
        "near": duplication.near,
        "rotate": duplication.rotate,
        "draw": config.draw,
        "noise_draws": config.data.noise_draws,
        "conditioning": config.data.conditioning,
        "fold_index": fold.index,
        "fold_of": fold.of if folded else None,
        "fold_split": fold.split if folded else None,
        "protocol": protocol(config.train),
        "batch_size": config.train.batch_size,
        "lr": learning_rate(config.train, config.model.width),
        "weight_decay": config.train.weight_decay,
        "ema": config.train.ema,
        **network_columns(config, denoiser, *data.pool.shape[1:3]),
    }


def data_columns(data: TrainingSet) -> dict[str, object]:
    """What the images themselves tell."""
    _, channels, size, _ = data.pool.shape
    return {
        "data_sha256": data.data_sha256,
        "image_size": size,
        "channels": channels,
        "n_unique": data.n_unique,
        "n_train": data.n_train,
        "n_holdout": len(data.holdout),
        "n_duplicated": int((data.copies > 1).sum()),
        "copies": int(data.copies.max()),
        "duplication_rate": 1 - data.n_unique / data.n_train,
    }


def network_columns(config: ExperimentConfig, denoiser: Denoiser, channels: int, size: int) -> dict[str, object]:
    """The network's shape and size."""
    return {
        "family": config.model.family,
        "width": config.model.width,
        "params": count_params(denoiser.network),
        "params_no_time": count_params_no_time(denoiser.network),
        "blocks": config.model.blocks,
        "attention": config.model.attention,
        "skips": float(config.model.skips),
        "prune": float(config.model.prune),
        "forward_flops": forward_flops(denoiser.network, image_size=size, channels=channels),
    }


def moving_columns(standing: dict[str, object], images_seen: int, wall_seconds: float) -> dict[str, object]:
    """The columns that follow the clock."""
    return {
        "images_seen": images_seen,
        "epochs": images_seen / standing["n_train"],
        "train_flops": float(images_seen * 3 * standing["forward_flops"]),
        "wall_seconds": wall_seconds,
    }


def train_loss_columns(sums: Tensor, before: Tensor) -> dict[str, float | None]:
    """Mean optimised loss between two evaluations, and its standard error over batches.

    sums, before [4] float64: sum, sum of squares, number of batch losses so far (scaling.training.module). Empty where
    no batch, or for the standard error only one, lies between.
    """
    total, squares, count, _ = (sums - before).tolist()
    if not count:
        return {"train_loss": None, "train_loss_se": None}
    mean = total / count
    spread = sqrt(max(squares / count - mean**2, 0) / (count - 1)) if count > 1 else None
    return {"train_loss": mean, "train_loss_se": spread}
