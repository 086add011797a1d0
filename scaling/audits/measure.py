"""The instruments on a subject: what a study measures at an evaluation, as far as this model and these images allow."""

import logging

import torch

from scaling.audits.subject import Subject
from scaling.fields import EvaluateConfig
from scaling.training.bench import Bench
from scaling.training.instruments.chains import basin
from scaling.training.instruments.losses import losses
from scaling.training.instruments.measurement import Measurement
from scaling.training.instruments.samples import judge

OF_SAMPLES = {"neighbors", "cliques", "quality"}
OF_LOSSES = {"loss", "membership", "ideal"}
MOST_IN_GROUPS = 2**14  # samples: who is near whom takes a byte a pair


def audit_measures(subject: Subject, bench: Bench, config: EvaluateConfig, *, basin_wanted: bool) -> Measurement:
    """What cannot be measured stays empty, and `Said` is told why. config: samples, draws, features, basin_images."""
    found, held = Measurement.empty(bench, config), len(bench.holdout.images) > 1
    if subject.denoiser is None or not held:
        found.evals["n_draws"] = None
    with torch.inference_mode():
        drawn = subject.draw(config.samples).to(bench.train.images)
        finite = drawn.flatten(1).isfinite().all(dim=1)
        found.evals |= {
            "n_generated": int(finite.sum()),
            "n_nonfinite": int((~finite).sum()) + subject.n_nonfinite,
        }
        drawn = drawn[finite]
        if len(drawn):
            wanted = OF_SAMPLES if held else {"neighbors"}
            judge(drawn, None, bench, config, found, wanted if len(drawn) <= MOST_IN_GROUPS else wanted - {"cliques"})
        found.arrays["samples"] = drawn.cpu().numpy()
        if subject.denoiser is not None:
            if held:
                losses(subject.denoiser, bench, found, OF_LOSSES)
            if basin_wanted and subject.recovers:
                basin(subject.denoiser, bench, config, found, subject.bring_back)
    return found


class Said(logging.Handler):
    """Collects what instruments say about cells that they leave empty, in place of printing it."""

    LOGGER = logging.getLogger("scaling.training.instruments")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line once, however often it is said."""
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)

    def __enter__(self) -> "Said":
        self.LOGGER.addHandler(self)
        self._propagated, self.LOGGER.propagate = self.LOGGER.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        self.LOGGER.removeHandler(self)
        self.LOGGER.propagate = self._propagated
