"""What is kept and measured of one run while it trains: evaluations, checkpoints, progress.

Order at an evaluation: checkpoint, weights, arrays by rename, then the record. A kill between any two of them leaves a
run that resumes to the same records.
"""

import time
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from scaling.checkpoints import Checkpoints
from scaling.training.member import Member

Measure = Callable[[int, Mapping[str, Tensor], Tensor, Tensor], Mapping[str, object]]


class Diverged(RuntimeError):
    """The loss became non-finite; the message names the step and the remedy."""


class Watch:
    """Measures its member at `steps` by calling `measure(step, weights, sums, sums_before)`, and keeps it resumable.

    measured: the steps that have a record already. Everything that waits for the device happens here, a few times a
    second at most, never in the step.
    """

    def __init__(
        self,
        member: Member,
        *,
        steps: Iterable[int],
        measured: Iterable[int],
        measure: Measure,
        checkpoints: Checkpoints,
        progress: Callable[[Mapping[str, object]], None],
    ) -> None:
        self.member, self.steps, self.measured = member, set(steps), set(measured)
        self.measure, self.checkpoints, self.progress = measure, checkpoints, progress
        self.sums_before = torch.tensor([0, 0, 0, -1], dtype=torch.float64)
        self.state: dict[str, object] = {}  # what was measured last
        self.scaler: dict | None = None  # of mixed precision, where a checkpoint had one
        self.seconds = self.training_seconds = self.measuring_seconds = 0.0
        self.since: float | None = None  # the clock at the beginning of what occupies this run alone
        self.first_step = 0

    @property
    def ended(self) -> bool:
        """Whether the run has had all its steps."""
        return self.member.step >= self.member.total_steps

    @property
    def due(self) -> bool:
        """Whether this step is to be measured."""
        return self.member.step in self.steps

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
        """Go on from what `save` wrote."""
        self.member.restore(tensors, meta["step"])
        self.sums_before, self.scaler = tensors["sums_before"].cpu(), meta["scaler"]
        self.first_step, self.seconds = meta["step"], meta["wall_seconds"]

    def trained(self, seconds: float, together: int) -> None:
        """Count clock time that `together` runs trained in side by side."""
        self.training_seconds += seconds
        self.seconds += seconds / together

    def wall_seconds(self) -> float:
        """Time of the run so far, over all its sessions; time shared with others counts by its part."""
        return self.seconds + (0.0 if self.since is None else time.monotonic() - self.since)

    def evaluate(self, keep: Callable[[], None]) -> None:
        """Measure this step if it has no record; keep: writes the checkpoint before. Raises Diverged."""
        self.since = time.monotonic()
        sums = self.finite_sums()
        if self.member.step not in self.measured:
            keep()
            self.state.update(self.measure(self.member.step, self.member.measured_weights(), sums, self.sums_before))
            self.measured.add(self.member.step)
        self.sums_before = sums
        took = time.monotonic() - self.since
        self.since = None
        self.seconds += took
        self.measuring_seconds += took
        self.show()

    def save(self, optimizer: Mapping[str, Tensor], scaler: dict | None) -> None:
        """A checkpoint: weights, average, sums, what the optimizer keeps, the step and the time. Raises Diverged."""
        tensors = self.member.state() | {"sums": self.finite_sums(), "sums_before": self.sums_before}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer.items()}
        meta = {"step": self.member.step, "wall_seconds": self.wall_seconds(), "scaler": scaler}
        meta["measured"] = self.member.step in self.measured  # then sums_before is that of this very step
        self.checkpoints.save(tensors, meta)

    def finite_sums(self) -> Tensor:
        """The sums of losses on the host; raises Diverged, so that nothing non-finite is measured or kept."""
        member = self.member
        sums, config = member.sums.cpu().clone(), member.config
        if sums[3] >= 0 or not member.weights.isfinite().all():
            step = int(sums[3]) if sums[3] >= 0 else member.step
            what = "loss" if sums[3] >= 0 else "weights"
            raise Diverged(
                f"the {what} became non-finite at step {step} ({step * config.batch_size:,} images_seen): "
                f"lower train.lr={config.lr:g} or lengthen train.warmup_images={config.warmup_images}"
            )
        return sums

    def show(self) -> None:
        """Tell how far the run is; raises Diverged."""
        member, batch = self.member, self.member.config.batch_size
        rate = (member.step - self.first_step) * batch / max(self.training_seconds, 1e-9)
        recent = self.finite_sums() - self.sums_before
        evaluations_left = sum(step > member.step for step in self.steps)
        measuring_left = evaluations_left * self.measuring_seconds / (len(self.measured) or 1)
        left = (member.total_steps - member.step) * batch / rate + measuring_left if rate else None
        self.progress(
            self.state
            | {
                "images_seen": member.step * batch,
                "images_total": member.total_steps * batch,
                "images_per_second": rate or None,
                "train_loss": float(recent[0] / recent[2]) if recent[2] else self.state.get("train_loss"),
                "seconds_left": left,
                "wall_seconds": self.wall_seconds(),
            }
        )
