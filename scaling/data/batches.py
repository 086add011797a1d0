"""The batch of step k is a pure function of (seed, k): which images, which noise level, which noise, which labels.

Made on the device the network lives on, without waiting for the host. Every training row comes once an epoch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from scaling.data.noise import integers, normals
from scaling.data.training_set import TrainingSet
from scaling.fields import SigmaConfig

BLOCK_NUMBERS = 2**20  # random numbers made at once: tiny steps are dominated by the cost of starting operations
FROZEN_DRAWS = 2**20  # room for noise_draws in the index of a frozen draw


class Batch(NamedTuple):
    """What one step of training sees."""

    clean: Tensor  # [B C H W] float32 in [-1, 1]
    sigma: Tensor  # [B]
    noise: Tensor  # [B C H W] standard normal
    labels: Tensor  # [B] int64


class Batches:
    """Batches of one run. `at(k)` gives that of step k (from 0), in any order; neighbours are cheap."""

    def __init__(
        self,
        data: TrainingSet,
        *,
        seed: int,
        batch_size: int,
        sigma: SigmaConfig,
        noise_draws: int | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.seed, self.batch_size, self.sigma, self.noise_draws = seed, batch_size, sigma, noise_draws
        self.device = torch.device(device)
        self.n_train = data.n_train
        self.members = torch.tensor(data.members, device=self.device)  # uint8: an eighth of the memory of float64
        self.rows = torch.tensor(data.rows, device=self.device)
        self.row_copy = torch.tensor(data.row_copy, device=self.device)
        self.position = torch.tensor(data.member_position, device=self.device)
        self.copies = torch.tensor(data.pool_copies, device=self.device)
        self.labels = torch.tensor(data.labels, device=self.device)
        pixels = self.members[0].numel()
        self.steps_a_block = max(1, min(64, BLOCK_NUMBERS // (batch_size * pixels)))
        self._block: tuple[int, Batch] | None = None

    def at(self, step: int) -> Batch:
        """The batch of step `step`."""
        number, place = divmod(step, self.steps_a_block)
        if self._block is None or self._block[0] != number:
            self._block = (number, self._make(number * self.steps_a_block, self.steps_a_block))
        part = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return Batch(*(field[part] for field in self._block[1]))

    def _make(self, first_step: int, steps: int) -> Batch:
        first = first_step * self.batch_size
        index = torch.arange(first, first + steps * self.batch_size, device=self.device)
        row, epoch = self._rows(first, index)
        member = self.rows[row]
        clean = self.members[member].float() / 127.5 - 1
        position = self.position[member]
        z, noise = self._noise(index, position, epoch, self.row_copy[row], clean[0].numel())
        law = self.sigma  # only the law `fixed` has a value
        sigma = (law.p_mean + law.p_std * z).exp() if law.value is None else torch.full_like(z, law.value)
        return Batch(clean, sigma, noise.view_as(clean), self.labels[position])

    def _rows(self, first: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and epochs of the images consumed at places `index` [N], the first of which is `first` on the host."""
        first_epoch, last_epoch = first // self.n_train, (first + len(index) - 1) // self.n_train
        epochs = torch.arange(first_epoch, last_epoch + 1, device=self.device)
        order = integers(self.seed, "order", epochs, self.n_train).argsort(dim=1, stable=True)
        epoch = index // self.n_train
        return order[epoch - first_epoch, index % self.n_train], epoch

    def _noise(
        self, index: Tensor, position: Tensor, epoch: Tensor, copy: Tensor, pixels: int
    ) -> tuple[Tensor, Tensor]:
        """The normal numbers behind sigma [N] and the noise [N pixels] of each consumed image."""
        if self.noise_draws is None:
            return normals(self.seed, "sigma", index, 1)[:, 0], normals(self.seed, "noise", index, pixels)
        # An image's frozen draws are taken in turn, over its copies and epochs: each is seen equally often.
        visit = epoch * self.copies[position] + copy
        drawn = normals(self.seed, "frozen", position * FROZEN_DRAWS + visit % self.noise_draws, pixels + 1)
        return drawn[:, 0], drawn[:, 1:]
