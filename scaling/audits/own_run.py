"""A run of ours as the subject of an audit."""

import torch
from torch import Tensor

from scaling.audits.subject import Subject
from scaling.compare.measure import trained
from scaling.compare.runs import Run
from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.identity import run_id
from scaling.training.record import network_columns, standing_columns

OF_THE_RUN = ("run_id", "cell_id", "forward_flops")


def run_subject(run: Run, *, steps: int | None, batch: int, seed: int, device: torch.device, own_data: bool) -> Subject:
    """own_data: audited on the images it was trained on, so that all that its configuration says holds."""
    denoiser = trained(run, device)
    _, channels, size, _ = run.data.pool.shape

    def draw(count: int) -> Tensor:
        # With seed 0 the noise of the run's own evaluations.
        noise = normals(CONSTANT + seed, "sample", torch.arange(count, device=device), channels * size**2)
        levels = karras_sigmas(steps or run.config.evaluate.sampler_steps)
        return sample(denoiser, noise.view(count, channels, size, size), levels, batch_size=batch)

    if own_data:
        columns = standing_columns(run.config, run.data, denoiser)
    else:
        columns = {**network_columns(run.config, denoiser, channels, size), "conditioning": "none"}
    columns = {name: value for name, value in columns.items() if name not in OF_THE_RUN}
    columns["images_seen"] = run.images_seen
    return Subject(draw, f"{run_id(run.config)} {run.images_seen}", denoiser=denoiser, columns=columns)
