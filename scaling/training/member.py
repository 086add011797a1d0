"""One run in training: its weights as one row of numbers, their average, its clock and its batches."""

from collections.abc import Mapping
from math import cos, pi

import torch
from torch import Tensor, nn

from scaling.data.batches import Batches
from scaling.diffusion.denoiser import Denoiser
from scaling.fields import TrainConfig
from scaling.store_errors import StoreError

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


class Member:
    """A run among those trained together. `step` counts its optimisation steps, resumed ones included.

    weights, average: [P] float32, the denoiser's parameters one after the other (P of them: one operation each for
    the update and the average, however many layers there are). sums [4] float64: losses since the start as sum, sum of
    squares, number, and the step of the first non-finite one (or -1).
    """

    def __init__(
        self, denoiser: Denoiser, batches: Batches, config: TrainConfig, *, width: int, total_steps: int
    ) -> None:
        self.batches, self.config, self.width, self.total_steps, self.step = batches, config, width, total_steps, 0
        self.network, self.n_labels = denoiser.network, denoiser.n_labels
        self.mean, self.sigma_data = denoiser.mean, denoiser.sigma_data
        weights = dict(denoiser.network.named_parameters())
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.weights = nn.Parameter(torch.cat([weight.detach().flatten() for weight in weights.values()]))
        self.average = self.weights.detach().clone()  # on the device the denoiser was put on
        self.sums = torch.tensor([0, 0, 0, -1], dtype=torch.float64, device=self.average.device)
        self.optimizer_state: dict[str, Tensor] = {}  # of a run that goes on

    @property
    def sizes(self) -> list[int]:
        """Numbers of each parameter, in the order of `weights`."""
        return [shape.numel() for shape in self.shapes.values()]

    def rate(self) -> float:
        """The learning rate of the next step."""
        return rate_at(self.config, self.step, self.total_steps) * learning_rate(self.config, self.width)

    def advance(self) -> None:
        """After an optimisation step: the clock and the average."""
        self.step += 1
        if self.config.ema is not None:
            self.average.lerp_(self.weights.detach(), 1 - ema_keep(self.config.ema, self.step))

    def measured_weights(self) -> dict[str, Tensor]:
        """The weights that instruments look at, by the denoiser's names: the average, or the raw ones without it."""
        row = self.weights.detach() if self.config.ema is None else self.average
        parts = row.split(self.sizes)
        return {
            f"network.{name}": part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, apart from the optimizer's state."""
        return {"weights": self.weights.detach(), "average": self.average, "sums": self.sums}

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on from `state` and what the optimizer kept as `optimizer.<name>`; StoreError on another network's."""
        for name in ("weights", "average"):
            if name not in tensors or tensors[name].shape != self.weights.shape:  # copy_ would broadcast
                raise StoreError(f"a checkpoint of another network ({name}): remove the folder checkpoints/ of the run")
        with torch.no_grad():
            self.weights.copy_(tensors["weights"])
        self.average.copy_(tensors["average"])
        self.sums.copy_(tensors["sums"])
        self.step = step
        prefix = "optimizer."
        self.optimizer_state = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
