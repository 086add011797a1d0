"""The training step: no wait for the host, the loss it says, the average and rates that measures.md gives."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from scaling.config import build as configure
from scaling.data.batches import Batches
from scaling.data.sources import ImageSet
from scaling.data.training_set import assemble
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.fields import TrainConfig
from scaling.models.ladder import build
from scaling.training.data import StepData
from scaling.training.member import Member, ema_keep, learning_rate, rate_at
from scaling.training.module import DenoiserModule


def member(total_steps: int = 6, seed: int = 0, family: str = "unet", **train) -> Member:
    tones = np.random.default_rng(0).integers(0, 256, (40, 1, 1, 1))
    pixels = np.broadcast_to(tones, (40, 1, 8, 8)).astype(np.uint8)  # one grey each: easy to denoise
    images = ImageSet(pixels, np.full(40, -1), 0, "0" * 64, 0)
    config = configure(
        {
            "seed": seed,
            "data": {"n_unique": 16, "holdout": 8},
            "model": {"family": family, "width": 2},
            "train": {"batch_size": 8, **train},
        }
    )
    data = assemble(config, images)
    network = build(config.model, image_size=8, channels=1, n_labels=0, seed=seed)
    denoiser = Denoiser(network, mean=data.mean, sigma_data=data.std)
    batches = Batches(data, seed=seed, batch_size=8, sigma=config.train.sigma, noise_draws=config.data.noise_draws)
    return Member(denoiser, batches, config.train, width=2, total_steps=total_steps)


def module(total_steps: int = 6, **train) -> DenoiserModule:
    """A pack of one."""
    return DenoiserModule([member(total_steps, **train)])


def denoiser_of(one: Member) -> Denoiser:
    """A denoiser of modules with the member's weights."""
    made = Denoiser(one.network, mean=one.mean, sigma_data=one.sigma_data)
    parts = one.weights.detach().split(one.sizes)
    with torch.no_grad():
        for part, weight in zip(parts, made.network.parameters(), strict=True):
            weight.copy_(part.view_as(weight))
    return made


def fit(made: DenoiserModule) -> DenoiserModule:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(made, datamodule=StepData(made.members[0].total_steps))
    return made


def test_a_step_does_not_wait_for_the_host():
    """Under FakeTensorMode there are shapes but no values: .item(), bool() and copies to the host raise."""
    with FakeTensorMode(allow_non_fake_inputs=False):
        made = module()
        optimizer = made.configure_optimizers()
        loss = made.training_step(0)
        loss.backward()
        optimizer.step()
        made.members[0].advance()
        with pytest.raises(DataDependentOutputException):
            loss.item()


def test_the_optimised_loss_is_the_weighted_loss_of_the_batch():
    made = module()
    one = made.members[0]
    one.step = 2
    batch, denoiser = one.batches.at(2), denoiser_of(one)
    noisy = batch.clean + batch.sigma.view(-1, 1, 1, 1) * batch.noise
    expected = weighted_loss(denoiser(noisy, batch.sigma), batch.clean, batch.sigma, one.sigma_data).mean().item()
    assert made.training_step(0).item() == pytest.approx(expected, rel=1e-5)
    assert one.sums[:3].tolist() == pytest.approx([expected, expected**2, 1.0], rel=1e-5)


def test_average_follows_the_share_rule():
    """measures.md 0: at step k the old average has weight 0.5^(1/(.05 k)); against a loop over the weights' history."""
    made, history = module(total_steps=5, lr=0.05), []
    original = made.optimizer_step

    def recorded(*args, **kwargs):
        original(*args, **kwargs)
        history.append(made.members[0].weights.detach().clone())

    made.optimizer_step = recorded
    start = made.members[0].weights.detach().clone()
    fit(made)
    average = start
    for k, weight in enumerate(history, start=1):
        keep = 0.5 ** (1 / (0.05 * k))
        average = keep * average + (1 - keep) * weight
    assert len(history) == 5 and made.members[0].step == 5
    torch.testing.assert_close(made.members[0].average, average)
    assert ema_keep(0.05, 20) == 0.5
    first = made.members[0].measured_weights()["network.model.conv_in.weight"]
    assert torch.equal(first.flatten(), made.members[0].average[: first.numel()])


def test_without_average_the_raw_weights_are_measured():
    made = module(ema=None)
    fit(made)
    first = made.members[0].measured_weights()["network.model.conv_in.weight"]
    assert torch.equal(first.flatten(), made.members[0].weights[: first.numel()])


def test_rates_rise_over_warmup_images_whatever_the_length():
    config = TrainConfig(batch_size=64, warmup_images=640)
    rates = [rate_at(config, step, total) for total in (20, 2000) for step in range(12)]
    assert rates[:12] == rates[12:] == pytest.approx([0.1 * k for k in range(1, 11)] + [1, 1])
    cosine = TrainConfig(batch_size=64, warmup_images=0, lr_schedule="cosine")
    assert [rate_at(cosine, step, 4) for step in (0, 2, 4)] == pytest.approx([1, 0.5, 0])
    assert learning_rate(TrainConfig(lr=1e-3, lr_width_exponent=-1), 64) == pytest.approx(1e-3 / 4)


def test_the_optimiser_uses_the_rate_of_the_step():
    made, used = module(total_steps=4, lr=1e-3, warmup_images=16), []
    original = made.optimizer_step

    def recorded(*args, **kwargs):
        used.append(made.optimizers().optimizer.param_groups[0]["lr"])
        original(*args, **kwargs)

    made.optimizer_step = recorded
    fit(made)
    assert used == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])


def test_a_nonfinite_loss_is_remembered_with_its_step():
    made = module(total_steps=3)
    with torch.no_grad():
        made.members[0].weights[:18].fill_(torch.inf)
    fit(made)
    assert made.members[0].sums[2:].tolist() == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_loss_falls(optimizer):
    made = fit(module(total_steps=300, lr=1e-2, warmup_images=0, optimizer=optimizer))
    total, _, count, _ = made.members[0].sums.tolist()
    assert total / count < 0.9


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_takes_its_share_of_every_weight(optimizer):
    """Decoupled (Loshchilov & Hutter 2019, Algorithm 2): one step with gradient 0 multiplies a weight by 1 - lr wd."""
    made = module(lr=1e-2, weight_decay=0.1, optimizer=optimizer, warmup_images=0)
    inner = made.configure_optimizers()
    weights = made.members[0].weights
    before = weights.detach().clone()
    weights.grad = torch.zeros_like(weights)
    inner.step()
    torch.testing.assert_close(weights.detach(), before * (1 - inner.param_groups[0]["lr"] * 0.1))
