"""All instruments on one denoiser: arrays in, columns out. No file, no clock, no configuration but what to measure."""

import torch

from scaling.diffusion.denoiser import Denoiser
from scaling.fields import EvaluateConfig
from scaling.training.bench import Bench
from scaling.training.instruments.chains import basin, keys, prompts
from scaling.training.instruments.density import Minimum, density
from scaling.training.instruments.influence import influence
from scaling.training.instruments.losses import losses
from scaling.training.instruments.measurement import Measurement
from scaling.training.instruments.samples import samples

OF_LOSSES = {"loss", "membership", "ideal"}
OF_SAMPLES = {"neighbors", "cliques", "quality", "trajectory", "cyclic"}


def measure(
    denoiser: Denoiser, bench: Bench, config: EvaluateConfig, *, last: bool = True, minimum: Minimum | None = None
) -> Measurement:
    """Run the instruments of `config.measures`; what cannot be evaluated stays empty and is logged with the reason.

    last: whether this is the run's last evaluation, where what only the images table shows is measured too.
    minimum: the run at its smallest hold-out loss so far, a reference of bits_memorized.
    """
    found, wanted = Measurement.empty(bench, config), set(config.measures)
    with torch.inference_mode():
        if wanted & OF_LOSSES:
            losses(denoiser, bench, found, wanted)
        if wanted & OF_SAMPLES:
            samples(denoiser, bench, config, found, wanted)
        if "basin" in wanted:
            basin(denoiser, bench, config, found)
        if "prompts" in wanted:
            prompts(denoiser, bench, config, found)
        if "keys" in wanted:
            keys(denoiser, bench, config, found)
        if "density" in wanted:
            density(denoiser, bench, config, found, minimum)
        if "leverage" in wanted and last:
            influence(denoiser, bench, found)
    return found
