"""The same training three ways: a loop as somebody would write it, our module's steps alone, and under Lightning."""

import time
import warnings

import torch

from scaling.config import build
from scaling.data.batches import Batches
from scaling.data.sources import load_images
from scaling.data.training_set import TrainingSet, assemble
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.fields import ExperimentConfig
from scaling.training.data import StepData
from scaling.training.evaluate import EvaluateCallback, Stopping
from scaling.training.member import Member, ema_keep, learning_rate
from scaling.training.module import DenoiserModule
from scaling.training.run import trainer
from scaling.training.session import make_denoiser
from scaling.training.watch import Watch

CPU = torch.device("cpu")


class Deaf(Stopping):
    """Ctrl-C ends a benchmark at once."""

    def listen(self) -> None:
        pass


class Unmeasured(Watch):
    """A run that is not measured, shown or kept, and ends with its last step."""

    def __init__(self, member: Member) -> None:
        nothing = dict(steps=[], measured=[], measure=lambda *_: {}, checkpoints=None, progress=lambda state: None)
        super().__init__(member, **nothing)


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

    def member(self, steps: int) -> Member:
        width = self.config.model.width
        return Member(self.denoiser(), self.batches(), self.config.train, width=width, total_steps=steps)

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

    def module_seconds(self, steps: int) -> float:
        """Our module's steps without Lightning."""
        member = self.member(steps)
        module = DenoiserModule([member])
        optimizer = module.configure_optimizers()
        started = time.monotonic()
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = member.rate()
            loss = module.training_step(step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            member.advance()
        return time.monotonic() - started

    def lightning_seconds(self, steps: int) -> float:
        """The same under our trainer and callback, from the first step to the last.

        What the trainer needs before its first step is counted by warm_worker.py.
        """
        watch, took = Unmeasured(self.member(steps)), []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            callback = EvaluateCallback(
                [watch],
                checkpoint_every=self.config.runtime.checkpoint_every,
                stopping=Deaf(),
                ended=lambda watch, error: took.append(watch.training_seconds),
            )
            run = trainer(self.config, CPU, callback, steps)
            run.fit(DenoiserModule([watch.member]), datamodule=StepData(steps))
        return took[0]
