"""Training steps a second beside denoising-diffusion-pytorch at (nearly) equal parameters, batch and size, one thread.

    OMP_NUM_THREADS=1 .venv-bench/bin/python -m benchmarks.peers [--width 32] [--pairs 9] [--steps 8]

A step is forward, loss, backward and Adam. Ours also makes its batch from counters; theirs is given one. Of their
dimensions, the one whose number of parameters is nearest to ours is taken.
"""

import argparse
import time
from collections.abc import Callable, Iterable

import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from torch import Tensor, nn

from benchmarks.loops import Subject, experiment
from benchmarks.table import Row, spread
from scaling.models.ladder import count_params
from scaling.training.module import DenoiserModule

DIMS = range(8, 98, 2)  # their embedding of time wants even ones


def theirs(dim: int) -> Unet:
    return Unet(dim=dim, dim_mults=(1, 2), channels=1)


def loop(weights: Iterable[nn.Parameter], loss: Callable[[int], Tensor]) -> Callable[[int], float]:
    """A function steps -> seconds that goes on training these weights by Adam."""
    optimizer = torch.optim.Adam(weights, lr=1e-4)

    def seconds(steps: int) -> float:
        started = time.monotonic()
        for step in range(steps):
            optimizer.zero_grad()
            loss(step).backward()
            optimizer.step()
        return time.monotonic() - started

    return seconds


def our_loop(subject: Subject) -> tuple[int, Callable[[int], float]]:
    member = subject.member(1)
    module = DenoiserModule([member])

    def loss(step: int) -> Tensor:
        member.step = step
        return module.training_step(0)

    return member.weights.numel(), loop([member.weights], loss)


def their_loop(dim: int, size: int, clean: Tensor) -> tuple[int, Callable[[int], float]]:
    diffusion = GaussianDiffusion(theirs(dim), image_size=size)
    return count_params(diffusion.model), loop(diffusion.parameters(), lambda step: diffusion(clean))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"width": 32, "pairs": 9, "steps": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    subject = Subject(experiment(asked.width))
    clean = subject.batches().at(0).clean
    n_ours, ours = our_loop(subject)
    dim = min(DIMS, key=lambda dim: abs(count_params(theirs(dim)) - n_ours))
    n_theirs, others = their_loop(dim, subject.config.data.image_size, (clean + 1) / 2)
    print(f"parameters: ours {n_ours:,} (width {asked.width}), theirs {n_theirs:,} (dim {dim}); batch {len(clean)}")
    ours(2), others(2)  # warm up
    ratios = []
    for pair in range(asked.pairs):
        seconds = {run: run(asked.steps) for run in ((ours, others) if pair % 2 == 0 else (others, ours))}
        ratios.append(seconds[others] / seconds[ours])
        rates = [asked.steps / seconds[run] for run in (ours, others)]
        print(f"pair {pair}: ours {rates[0]:.2f}, theirs {rates[1]:.2f} steps/s", flush=True)
    what = f"steps a second over denoising-diffusion-pytorch ({n_ours:,} and {n_theirs:,} parameters)"
    print(Row(what, spread(ratios), "≥ 2").line())


if __name__ == "__main__":
    main()
