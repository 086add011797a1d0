"""How much faster runs of one shape train side by side than alone, measured on this machine.

    python -m scaling.training.packing < configuration.json

prints {"1": 1.0, "2": 1.4, …}: for each number of runs together, the speed of a run's step relative to alone. It is a
process of its own, since the driver of a sweep has no torch and its threads and device are the workers'.
"""

import json
import sys
import time
from collections.abc import Callable

import torch

from scaling.config import build
from scaling.data.batches import Batches
from scaling.data.sources import load_images
from scaling.data.training_set import assemble
from scaling.fields import ExperimentConfig
from scaling.training.member import Member
from scaling.training.module import DenoiserModule
from scaling.training.run import choose_device
from scaling.training.session import make_denoiser

TOGETHER = (2, 4, 8, 16, 32, 64)
ROUNDS, BLOCK_SECONDS = 5, 0.1  # the best of so many blocks counts: other processes only ever slow one down
NOT_WORTH = 1.05  # where two together gain less, more will not


def speedups(config: ExperimentConfig) -> dict[int, float]:
    """Speed of a run's step among K relative to alone, for K = 1, 2, 4, … as long as it grows and the memory lasts."""
    device = choose_device(config.runtime)
    torch.set_num_threads(config.runtime.threads)
    images = load_images(config.data.source, config.data.image_size, config.data.channels)
    data = assemble(config, images)
    train = config.train
    of_run = dict(seed=0, batch_size=train.batch_size, sigma=train.sigma, noise_draws=config.data.noise_draws)
    batches = Batches(data, **of_run, device=device)
    batches.at(0)  # a block of batches costs the same for each run

    def pack(k: int) -> Callable[[], None]:
        denoiser = make_denoiser(config, data).to(device)
        members = [Member(denoiser, batches, train, width=config.model.width, total_steps=1) for _ in range(k)]
        return step_of(DenoiserModule(members, compiled=config.runtime.compile), device)

    found = {1: 1.0}
    alone = pack(1)
    for k in TOGETHER:
        try:
            seconds, together = fastest([alone, pack(k)], device)
        except torch.OutOfMemoryError:
            break
        found[k] = seconds / (together / k)
        if found[k] < max(NOT_WORTH, found[k // 2]):
            break
    return found


def step_of(module: DenoiserModule, device: torch.device) -> Callable[[], None]:
    """One optimisation step, as Lightning does it, on the first batch again and again."""
    optimizer = module.configure_optimizers()
    mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(module.members[0].config.precision)

    def step() -> None:
        with torch.autocast(device.type, dtype=mixed, enabled=mixed is not None):
            loss = module.training_step(0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for member in module.members:
            member.advance()
            member.step = 0

    return step


def fastest(steps: list[Callable[[], None]], device: torch.device) -> list[float]:
    """The fastest step of each, blocks in turn."""

    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter  # the first is blind to what else the machine does

    def block(step: Callable[[], None], count: int) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = clock()
        for _ in range(count):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (clock() - started) / count

    for step in steps:
        step()  # libraries choose and keep their kernels
    counts = [max(1, round(BLOCK_SECONDS / block(step, 1))) for step in steps]
    rounds = [[block(step, count) for step, count in zip(steps, counts, strict=True)] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def main() -> int:
    """Measured in a process of its own: configuration in, speed-ups out, both JSON."""
    print(json.dumps(speedups(build(json.load(sys.stdin)))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
