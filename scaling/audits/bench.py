"""The instruments' shared images and levels, made from an audit's images instead of a run's configuration."""

import numpy as np
import torch
from torch import Tensor

from scaling.audits.images import AuditImages
from scaling.audits.refusal import AuditError
from scaling.audits.subject import Subject
from scaling.data.sources import to_unit
from scaling.fields import EvaluateConfig, SigmaConfig
from scaling.memorization.losses import evaluation_sigmas, measured_images
from scaling.memorization.subset import equal_subset
from scaling.training.bench import Bench, Group, source_collapse_sigma

SIGMA = SigmaConfig()  # the levels at which a study measures losses by default


def audit_bench(images: AuditImages, subject: Subject, config: EvaluateConfig, device: torch.device) -> Bench:
    """Losses at a study's default levels, moved to the model's nearest; basin recovery from the source's sigma_c."""
    data = images.data
    paired = min(data.n_unique, len(data.holdout))
    train = _group(data.pool, data.copies, device)
    null = _group(data.holdout[:paired], data.copies[:paired], device)
    held = _group(data.holdout, np.zeros(len(data.holdout), np.int64), device)
    sigmas, start = torch.empty(0, dtype=torch.float64), 0.0
    if subject.denoiser is not None:
        sigmas = subject.level(evaluation_sigmas(SIGMA, config.draws))
        start = subject.start(config.basin_sigma or _collapse_sigma(images))
    none = np.empty(0, np.int64)
    return Bench(
        data=data,
        train=train,
        null=null,
        holdout=held,
        left_out=None,
        loss_subset=measured_images(train.copies_tensor()),
        basin_rows=equal_subset(data.copies, config.basin_images),
        null_basin_rows=equal_subset(null.copies, config.basin_images) if paired else none,
        prompt_rows=none,
        null_prompt_rows=none,
        sigmas=sigmas.to(device),
        basin_sigma=start,
        sigma_min=0.0,  # of the log-density bound, which an audit does not measure
    )


def _collapse_sigma(images: AuditImages) -> float:
    try:
        return source_collapse_sigma(images.source)
    except ValueError as error:
        raise AuditError(f"--data: {error}") from None


def _group(images: np.ndarray, copies: np.ndarray, device: torch.device) -> Group:
    unit: Tensor = torch.tensor(to_unit(images), device=device)
    return Group(unit, torch.arange(len(images), device=device), copies, None, unit.flatten(1), None)
