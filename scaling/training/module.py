"""The LightningModule: which loss, which optimiser, which average of the weights. Nothing here waits for the host."""

from math import cos, pi

import pytorch_lightning as pl
import torch
from torch import Tensor

from scaling.data.batches import Batches
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.fields import TrainConfig

REFERENCE_WIDTH = 16  # train.lr is the rate at this width


def learning_rate(config: TrainConfig, width: int) -> float:
    """The peak rate at this width: lr (width / 16)^lr_width_exponent."""
    return config.lr * (width / REFERENCE_WIDTH) ** config.lr_width_exponent


def rate_at(config: TrainConfig, step: int, total_steps: int) -> float:
    """The share of the peak rate used in step `step` (from 0): a linear rise over warmup_images, then the schedule."""
    rise = min(1.0, (step + 1) * config.batch_size / config.warmup_images) if config.warmup_images else 1.0
    return rise * (0.5 + 0.5 * cos(pi * step / total_steps) if config.lr_schedule == "cosine" else 1.0)


def ema_keep(share: float, step: int) -> float:
    """Weight of the old average at step `step` (from 1): its half-life is this share of the steps so far."""
    return 0.5 ** (1 / (share * step))


class DenoiserModule(pl.LightningModule):
    """A denoiser in training. `step` counts optimisation steps, resumed ones included; a batch is its number.

    Sums over losses live on the device and are read only when somebody looks.
    """

    def __init__(
        self, denoiser: Denoiser, batches: Batches, config: TrainConfig, *, width: int, total_steps: int
    ) -> None:
        super().__init__()
        self.denoiser, self.batches, self.config = denoiser, batches, config
        self.width, self.total_steps, self.step = width, total_steps, 0
        self.weights = [weight for weight in denoiser.parameters() if weight.requires_grad]
        self.average = [weight.detach().clone() for weight in self.weights]  # on the device the denoiser was put on
        # Losses since the start: sum, sum of squares, number, step of the first non-finite one (or -1).
        self.register_buffer("sums", torch.tensor([0, 0, 0, -1], dtype=torch.float64))

    def training_step(self, step: int) -> Tensor:
        batch = self.batches.at(step)
        noisy = batch.clean + batch.sigma[:, None, None, None] * batch.noise
        denoised = self.denoiser(noisy, batch.sigma, batch.labels)
        loss = weighted_loss(denoised, batch.clean, batch.sigma, self.denoiser.sigma_data).mean()
        self._count(loss.detach().double())
        return loss

    def _count(self, loss: Tensor) -> None:
        finite = loss.isfinite()
        seen = torch.stack([loss, loss.square(), torch.ones_like(loss)])
        self.sums[:3] += torch.where(finite, seen, torch.zeros_like(seen))
        self.sums[3] = torch.where(finite | (self.sums[3] >= 0), self.sums[3], float(self.step))

    def on_train_batch_start(self, batch: int, batch_idx: int) -> None:
        share = rate_at(self.config, self.step, self.total_steps)
        for group in self.optimizers().optimizer.param_groups:
            group["lr"] = share * learning_rate(self.config, self.width)

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        super().optimizer_step(*args, **kwargs)
        self.step += 1
        if self.config.ema is not None:
            torch._foreach_lerp_(self.average, self.weights, 1 - ema_keep(self.config.ema, self.step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rate = learning_rate(self.config, self.width)
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(self.weights, lr=rate, momentum=0.9, weight_decay=self.config.weight_decay)
        # fused: one operation a step; tensor by tensor the update costs 3 ms whatever the width
        return torch.optim.AdamW(self.weights, lr=rate, weight_decay=self.config.weight_decay, fused=True)

    def measured_weights(self) -> dict[str, Tensor]:
        """The weights that instruments look at: the average, or the raw ones where train.ema is null."""
        names = [name for name, weight in self.denoiser.named_parameters() if weight.requires_grad]
        return dict(zip(names, self.weights if self.config.ema is None else self.average, strict=True))
