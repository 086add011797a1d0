"""The evaluation callback: at which steps a run is measured, checkpointed and stopped, and in which order.

Order at an evaluation: checkpoint, weights, arrays by rename, then the record. A kill between any two of them leaves a
run that resumes to the same records.
"""

import signal
import time
from collections.abc import Callable, Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from scaling.checkpoints import Checkpoints
from scaling.training.module import DenoiserModule

PROGRESS_SECONDS = 0.5


class Diverged(RuntimeError):
    """The loss became non-finite; the message names the step and the remedy."""


class Stopping:
    """A request to stop after the current step: SIGTERM (an agent, a scheduler) or SIGINT (a person)."""

    signum: int | None = None

    def listen(self) -> None:
        """Take over both signals; in training, since Lightning installs handlers of its own before it."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda number, frame: setattr(self, "signum", number))


class EvaluateCallback(pl.Callback):
    """Measures the module at `steps` by calling `measure(step, weights, sums, sums_before)`, and keeps it resumable.

    `measured` holds the steps that have a record already. Everything that waits for the device happens here, a few
    times a second at most, never in the step.
    """

    def __init__(
        self,
        *,
        steps: list[int],
        measured: set[int],
        measure: Callable[[int, Mapping[str, Tensor], Tensor, Tensor], Mapping[str, object]],
        checkpoints: Checkpoints,
        checkpoint_every: float,
        progress: Callable[[Mapping[str, object]], None],
        stopping: Stopping,
        restored: tuple[Mapping[str, Tensor], Mapping[str, object]] | None = None,
    ) -> None:
        self.steps, self.measured, self.measure = set(steps), measured, measure
        self.checkpoints, self.checkpoint_every, self.progress = checkpoints, checkpoint_every, progress
        self.stopping, self.restored = stopping, restored
        self.sums_before = torch.tensor([0, 0, 0, -1], dtype=torch.float64)
        self.state: dict[str, object] = {}
        self.earlier_seconds = self.measuring_seconds = 0.0

    def wall_seconds(self) -> float:
        """Clock time of the run so far, over all its sessions."""
        return self.earlier_seconds + time.monotonic() - self.started

    # -- Lightning's hooks -------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, module: DenoiserModule) -> None:
        self.started = self.saved = self.shown = time.monotonic()
        self.first_step = module.step
        self.stopping.listen()
        if self.restored is not None:
            self._restore(module, *self.restored)
        if module.step in self.steps:
            self._evaluate(module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: DenoiserModule, *_: object) -> None:
        if module.step in self.steps:
            self._evaluate(module)
        if time.monotonic() - self.saved > self.checkpoint_every or self.stopping.signum is not None:
            self._save(module)
        if time.monotonic() - self.shown > PROGRESS_SECONDS:
            self._show(module)
        if self.stopping.signum is not None:
            trainer.should_stop = True

    # -- the work ----------------------------------------------------------------------------------------------------

    def _evaluate(self, module: DenoiserModule) -> None:
        before = time.monotonic()
        sums = self._finite_sums(module)
        if module.step not in self.measured:
            self._save(module)
            seen = self.measure(module.step, module.measured_weights(), sums, self.sums_before)
            self.state.update(seen)
            self.measured.add(module.step)
        self.sums_before = sums
        self.measuring_seconds += time.monotonic() - before
        self._show(module)

    def _finite_sums(self, module: DenoiserModule) -> Tensor:
        """The sums of losses on the host; raises Diverged, so that nothing non-finite is measured or kept."""
        sums = module.sums.cpu().clone()
        finite = torch.stack([weight.isfinite().all() for weight in module.weights]).all()
        if sums[3] >= 0 or not finite:
            step = int(sums[3]) if sums[3] >= 0 else module.step
            what = "loss" if sums[3] >= 0 else "weights"
            raise Diverged(
                f"the {what} became non-finite at step {step} ({step * module.config.batch_size:,} images_seen): "
                f"lower train.lr={module.config.lr:g} or lengthen train.warmup_images={module.config.warmup_images}"
            )
        return sums

    def _save(self, module: DenoiserModule) -> None:
        tensors = {"sums": self._finite_sums(module), "sums_before": self.sums_before}
        tensors |= {f"weight.{i}": weight.detach() for i, weight in enumerate(module.weights)}
        tensors |= {f"average.{i}": weight for i, weight in enumerate(module.average)}
        state = module.optimizers().optimizer.state_dict()["state"]
        tensors |= {f"optimizer.{i}.{name}": value for i, part in state.items() for name, value in part.items()}
        scaler = getattr(module.trainer.precision_plugin, "scaler", None)
        meta = {"step": module.step, "wall_seconds": self.wall_seconds(), "scaler": scaler and scaler.state_dict()}
        self.checkpoints.save(tensors, meta)
        self.saved = time.monotonic()

    def finish(self, module: DenoiserModule) -> None:
        """The last evaluation of a run that was killed after its last checkpoint: nothing is left to train."""
        self.started = time.monotonic()
        tensors, meta = self.restored
        self._restore_weights(module, tensors, meta)
        if module.step not in self.measured:
            sums = self._finite_sums(module)
            self.state.update(self.measure(module.step, module.measured_weights(), sums, self.sums_before))

    def _restore_weights(
        self, module: DenoiserModule, tensors: Mapping[str, Tensor], meta: Mapping[str, object]
    ) -> None:
        with torch.no_grad():
            for i, (weight, average) in enumerate(zip(module.weights, module.average, strict=True)):
                weight.copy_(tensors[f"weight.{i}"])
                average.copy_(tensors[f"average.{i}"])
        module.sums.copy_(tensors["sums"])
        module.step, self.sums_before = meta["step"], tensors["sums_before"].cpu()
        self.first_step, self.earlier_seconds = meta["step"], meta["wall_seconds"]

    def _restore(self, module: DenoiserModule, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
        self._restore_weights(module, tensors, meta)
        optimizer, state = module.optimizers().optimizer, {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, part = name.split(".")
                state.setdefault(int(i), {})[part] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        if meta["scaler"]:
            module.trainer.precision_plugin.scaler.load_state_dict(meta["scaler"])

    def _show(self, module: DenoiserModule) -> None:
        batch, now = module.config.batch_size, time.monotonic()
        self.shown = now
        training_seconds = max(now - self.started - self.measuring_seconds, 1e-9)
        rate = (module.step - self.first_step) * batch / training_seconds
        sums = self._finite_sums(module)
        recent = sums - self.sums_before
        evaluations_left = sum(step > module.step for step in self.steps)
        done = len(self.measured) or 1
        left = (
            (module.total_steps - module.step) * batch / rate + evaluations_left * self.measuring_seconds / done
            if rate
            else None
        )
        self.progress(
            self.state
            | {
                "images_seen": module.step * batch,
                "images_total": module.total_steps * batch,
                "images_per_second": rate or None,
                "train_loss": float(recent[0] / recent[2]) if recent[2] else self.state.get("train_loss"),
                "seconds_left": left,
                "wall_seconds": self.wall_seconds(),
            }
        )
