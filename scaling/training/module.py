"""The LightningModule: which loss, which optimiser, for one run or several side by side. Nothing waits for the host."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from einops import rearrange, reduce
from torch import Tensor

from scaling.diffusion.denoiser import preconditioning
from scaling.diffusion.loss import weighted_loss
from scaling.models.stacked import stacked
from scaling.training.member import Member


class DenoiserModule(pl.LightningModule):
    """K runs whose networks have one shape; each has its own data, noise, clock, rate and average.

    A pack of one is an ordinary run. Members may leave (`drop`) while the others go on.
    """

    def __init__(self, members: Sequence[Member], *, compiled: bool = False) -> None:
        super().__init__()
        first = members[0]
        if any(member.shapes != first.shapes for member in members):
            raise ValueError("these runs cannot be trained together: their networks have different shapes")
        self.labelled = first.n_labels > 0
        network = stacked(first.network)
        self.network = torch.compile(network) if compiled else network
        self._gather(members)

    def _gather(self, members: Sequence[Member]) -> None:
        """Constants [K 1 1 1] and sums [K 4] of these members, on the device once: a step sends nothing there."""
        self.members = list(members)
        like = self.members[0].average
        self.mean, self.sigma_data = (
            rearrange(like.new_tensor([getattr(member, name) for member in members]), "k -> k 1 1 1")
            for name in ("mean", "sigma_data")
        )
        self.sums = torch.stack([member.sums for member in members])
        for member, row in zip(self.members, self.sums, strict=True):
            member.sums = row  # a view

    def training_step(self, _: int) -> Tensor:
        """The sum of the runs' losses at one step of each."""
        members = self.members
        batches = [member.batches.at(member.step) for member in members]
        clean, noise = (torch.stack([getattr(b, name) for b in batches], dim=1) for name in ("clean", "noise"))
        sigma = torch.stack([batch.sigma for batch in batches], dim=1)
        labels = torch.stack([batch.labels for batch in batches], dim=1) if self.labelled else None
        denoised = self.denoise(clean + rearrange(sigma, "b k -> b k 1 1 1") * noise, sigma, labels)
        together = [rearrange(x, "b k c h w -> (b k) c h w") for x in (denoised, clean)]
        sigma_data = self.sigma_data.flatten().expand_as(sigma).reshape(-1)
        losses = reduce(weighted_loss(*together, sigma.reshape(-1), sigma_data), "(b k) -> k", "mean", k=len(members))
        self._count(losses.detach().double())
        return losses.sum()  # no run's weights are in another's loss

    def denoise(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """D(x; sigma) of each run (diffusion/denoiser.py): x [B K C H W], sigma [B K], labels [B K] or None."""
        made = preconditioning(rearrange(sigma, "b k -> b k 1 1 1"), self.sigma_data)
        centred = x - self.mean
        output = self.network(self.weights(), made.c_in * centred, sigma.log() / 4, labels)
        return self.mean + made.c_skip * centred + made.c_out * output.to(x.dtype)

    def _count(self, losses: Tensor) -> None:
        """Add the losses [K] of the step to `sums`, without waiting for the device."""
        finite = losses.isfinite()
        seen = torch.stack([losses, losses.square(), torch.ones_like(losses)], dim=1)
        self.sums[:, :3] += torch.where(finite[:, None], seen, torch.zeros_like(seen))
        steps = torch.tensor([float(member.step) for member in self.members], dtype=torch.float64)
        first = self.sums[:, 3]
        self.sums[:, 3] = torch.where(finite | (first >= 0), first, steps.to(first.device, non_blocking=True))

    def weights(self) -> dict[str, Tensor]:
        """The weights of all, by the network's names, each [K ...]."""
        first = self.members[0]
        # One split: its backward pass is one concatenation, where slices would fill a whole row of zeros each.
        parts = torch.stack([member.weights for member in self.members]).split(first.sizes, dim=1)
        shapes = zip(parts, first.shapes.items(), strict=True)
        return {name: part.reshape(len(self.members), *shape) for part, (name, shape) in shapes}

    def on_train_batch_start(self, batch: int, batch_idx: int) -> int | None:
        """Sets each run's learning rate."""
        groups = self.optimizers().optimizer.param_groups
        for member, group in zip(self.members, groups, strict=True):
            group["lr"] = member.rate()
        return None if self.members else -1  # Lightning's sign for the end of the epoch: everybody left

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        """One step, and what follows from new weights."""
        super().optimizer_step(*args, **kwargs)
        for member in self.members:
            member.advance()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One group of parameters a run: rates and decays are its own."""
        config = self.members[0].config
        groups = [
            {"params": [member.weights], "lr": member.rate(), "weight_decay": member.config.weight_decay}
            for member in self.members
        ]
        if config.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=0.9)
        else:
            optimizer = torch.optim.AdamW(groups, fused=True)  # one operation a step
        for member in self.members:
            if member.optimizer_state:
                device = member.average.device
                optimizer.state[member.weights] = {n: value.to(device) for n, value in member.optimizer_state.items()}
        return optimizer

    def optimizer_state(self, member: Member) -> dict[str, Tensor]:
        """What the optimizer keeps of this run: `exp_avg`, … or `momentum_buffer`."""
        state = self.optimizers().optimizer.state.get(member.weights, {})
        return {name: value for name, value in state.items() if value is not None}

    def drop(self, member: Member) -> None:
        """Train the others without it."""
        optimizer = self.optimizers().optimizer
        del optimizer.param_groups[self.members.index(member)]
        optimizer.state.pop(member.weights, None)
        member.sums = member.sums.clone()
        if others := [other for other in self.members if other is not member]:
            self._gather(others)
        else:
            self.members = []
