"""The training step by width: time, share of the core's matrix rate, what it is spent on, and runs side by side.

    OMP_NUM_THREADS=1 python -m benchmarks.step [--widths 4 8 16 32 64 128] [--rounds 5]

Writes benchmarks/results/step.md. One thread; processor time, the best of interleaved blocks. The matrix rate is the
fastest that a large product or convolution runs at here (float32); FLOPs are 3 x forward, 2 a multiply-add.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import conv2d
from torch.profiler import ProfilerActivity, profile

from benchmarks.loops import CPU, Subject, experiment
from benchmarks.table import Row
from scaling.code_version import commit
from scaling.diffusion.loss import weighted_loss
from scaling.machine import cores
from scaling.models.ladder import forward_flops
from scaling.training.module import DenoiserModule
from scaling.training.packing import fastest, speedups, step_of

RESULTS = Path(__file__).parent / "results" / "step.md"
CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::convolution_backward")
NORMS = ("aten::native_group_norm", "aten::native_group_norm_backward", "aten::silu", "aten::silu_backward")


def matrix_rate() -> dict[str, float]:
    """FLOP a second of a product of 1024 x 1024 matrices and of a 3x3 convolution with 256 channels."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    x, w = torch.randn(16, 256, 16, 16), torch.randn(256, 256, 3, 3)
    kinds: dict[str, tuple[float, Callable[[], object]]] = {
        "matrix product": (2 * 1024**3, lambda: a @ b),
        "convolution": (2 * 9 * 256**2 * 16 * 16**2, lambda: conv2d(x, w, padding=1)),
    }
    return {name: flops / fastest([run], CPU)[0] for name, (flops, run) in kinds.items()}


def modules_step(subject: Subject) -> Callable[[], None]:
    """As somebody would write it: diffusers' modules, AdamW over their parameters, an average of each."""
    denoiser, batch = subject.denoiser(), subject.batches().at(0)
    weights = list(denoiser.parameters())
    average = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, fused=True)

    def step() -> None:
        denoised = denoiser(batch.clean + batch.sigma[:, None, None, None] * batch.noise, batch.sigma, batch.labels)
        loss = weighted_loss(denoised, batch.clean, batch.sigma, denoiser.sigma_data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch._foreach_lerp_(average, [weight.detach() for weight in weights], 0.01)

    return step


def spent(step: Callable[[], None], steps: int = 10) -> dict[str, float]:
    """Shares of the step's time: convolutions, norms with activations, the rest."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            step()
    own = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(own.values())
    convolutions, norms = (sum(own.get(name, 0) for name in names) / total for names in (CONVOLUTIONS, NORMS))
    return {"convolutions": convolutions, "norms": norms, "rest": 1 - convolutions - norms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rates, started = matrix_rate(), time.monotonic()
    best = max(rates.values())
    lines = ["| width | modules, ms | ours, ms | share of the matrix rate | convolutions | norms, activations | rest |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    packs = [
        "| width | " + " | ".join(f"{k} together" for k in (2, 4, 8, 16)) + " |",
        "| --- | --- | --- | --- | --- |",
    ]
    for width in asked.widths:
        subject = Subject(experiment(width))
        config = subject.config
        ours = step_of(DenoiserModule([subject.member(1)]), CPU)
        theirs, own = fastest([modules_step(subject), ours], CPU)
        flops = forward_flops(subject.denoiser().network, image_size=8, channels=1) * config.train.batch_size * 3
        share, parts = flops / own / best, spent(ours)
        lines.append(
            f"| {width} | {theirs * 1e3:.2f} | {own * 1e3:.2f} | {share:.2f} | "
            + " | ".join(f"{p:.0%}" for p in parts.values())
            + " |"
        )
        found = speedups(config)
        packs.append(
            f"| {width} | " + " | ".join(f"{found[k]:.2f}" if k in found else "" for k in (2, 4, 8, 16)) + " |"
        )
        print(lines[-1], packs[-1], sep="\n", flush=True)
        if width == 8:
            print(
                Row(
                    "runs of width 8 side by side over alone, a run's step", f"{max(found.values()):.2f}", "≥ 1.5"
                ).line()
            )
    said = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
    paragraphs = [
        "# The training step",
        f"Batch 64 of 8x8 grey images, U-Net (w, 2w), float32, one thread. GFLOP/s of this core: {said}.",
        "\n".join(lines),
        "Speed of a run's step among several in one process, relative to alone (empty: not tried, since fewer already "
        "gained nothing more):",
        "\n".join(packs),
        f"Written by `python -m benchmarks.step` in {time.monotonic() - started:.0f} s: "
        f"code {commit()}, {cores()} cores.",
    ]
    RESULTS.write_text("\n\n".join(paragraphs) + "\n")


if __name__ == "__main__":
    main()
