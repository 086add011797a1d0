"""The same training twice: under Lightning as scaling.training.run does it, and as a bare loop. Seconds of each."""

import tempfile
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch

from scaling.checkpoints import Checkpoints
from scaling.config import build
from scaling.data.batches import Batches
from scaling.data.sources import load_images
from scaling.data.training_set import TrainingSet, assemble
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.fields import ExperimentConfig
from scaling.training.data import StepData
from scaling.training.evaluate import EvaluateCallback, Stopping
from scaling.training.module import DenoiserModule, ema_keep, learning_rate
from scaling.training.run import _trainer, make_denoiser

CPU = torch.device("cpu")


class Deaf(Stopping):
    """Ctrl-C ends a benchmark at once."""

    def listen(self) -> None:
        pass


class Timed(EvaluateCallback):
    """The callback of a run, which also knows when the last step ended."""

    def on_train_end(self, trainer: pl.Trainer, module: DenoiserModule) -> None:
        self.seconds = time.monotonic() - self.started


def experiment(width: int) -> ExperimentConfig:
    """The default run at this width, on one thread of the CPU."""
    return build({"model": {"width": width}, "runtime": {"device": "cpu"}})


class Subject:
    """One configuration with its data on the CPU; every measurement trains a fresh network."""

    def __init__(self, config: ExperimentConfig) -> None:
        torch.set_num_threads(1)
        self.config = config
        self.images = load_images(config.data.source, config.data.image_size, config.data.channels)
        self.data: TrainingSet = assemble(config, self.images)

    def denoiser(self) -> Denoiser:
        return make_denoiser(self.config, self.data)

    def batches(self) -> Batches:
        train = self.config.train
        sized = dict(seed=self.config.seed, batch_size=train.batch_size)
        return Batches(self.data, **sized, sigma=train.sigma, noise_draws=self.config.data.noise_draws, device=CPU)

    def module(self, steps: int) -> DenoiserModule:
        width = self.config.model.width
        return DenoiserModule(self.denoiser(), self.batches(), self.config.train, width=width, total_steps=steps)

    def bare_seconds(self, steps: int) -> float:
        """A loop as somebody would write it: batch, loss, backward, AdamW, average of the weights."""
        denoiser, batches, train = self.denoiser(), self.batches(), self.config.train
        weights = list(denoiser.parameters())
        average = [weight.detach().clone() for weight in weights]
        rate = learning_rate(train, self.config.model.width)
        optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=train.weight_decay, fused=True)
        started = time.monotonic()
        for step in range(steps):
            batch = batches.at(step)
            noisy = batch.clean + batch.sigma[:, None, None, None] * batch.noise
            denoised = denoiser(noisy, batch.sigma, batch.labels)
            loss = weighted_loss(denoised, batch.clean, batch.sigma, denoiser.sigma_data).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            torch._foreach_lerp_(average, [weight.detach() for weight in weights], 1 - ema_keep(train.ema, step + 1))
        return time.monotonic() - started

    def lightning_seconds(self, steps: int) -> float:
        """The same steps in our module under our trainer and callback, from the first to the last, no evaluation.

        What the trainer needs before its first step is counted by warm_worker.py.
        """
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            callback = Timed(
                steps=[], measured=set(), measure=lambda *_: {}, checkpoints=Checkpoints(Path(folder)),
                checkpoint_every=self.config.runtime.checkpoint_every, progress=lambda state: None, stopping=Deaf(),
            )  # fmt: skip
            trainer = _trainer(self.config, CPU, callback, steps)
            trainer.fit(self.module(steps), datamodule=StepData(0, steps))
        return callback.seconds
