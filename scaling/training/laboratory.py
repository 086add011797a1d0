"""From weights to a record on disk: load them, measure, write arrays, then the record. The files of an evaluation."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from scaling.checkpoints import save_weights
from scaling.data.training_set import TrainingSet
from scaling.diffusion.denoiser import Denoiser
from scaling.fields import ExperimentConfig
from scaling.store import RunStore
from scaling.training.bench import Bench
from scaling.training.measure import measure
from scaling.training.prune import prune
from scaling.training.record import moving_columns, standing_columns, train_loss_columns

SHOWN = ("train_loss", "seen_loss", "holdout_loss", "n_memorized", "n_generated")
Listener = Callable[[Mapping[str, object], Mapping[str, object]], None]


class Laboratory:
    """Called with (step, weights by name, sums of losses, sums at the evaluation before) at every evaluation.

    `denoiser` is a copy of the run's own that takes the weights to be measured. `listener`, if any, is told each
    record and its gallery after they are on disk.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        data: TrainingSet,
        bench: Bench,
        store: RunStore,
        denoiser: Denoiser,
        listener: Listener | None = None,
    ) -> None:
        self.config, self.store, self.denoiser, self.listener = config, store, denoiser.eval(), listener
        self.standing = standing_columns(config, data, denoiser)
        self.bench = bench
        started = time.monotonic()
        self.wall_seconds: Callable[[], float] = lambda: time.monotonic() - started

    def __call__(self, step: int, weights: Mapping[str, Tensor], sums: Tensor, before: Tensor) -> dict[str, object]:
        """Measure these weights and write everything; returns what progress shows."""
        images_seen = step * self.config.train.batch_size
        save_weights(self.store.weights_path(images_seen), weights, {"sums": sums.tolist()})
        self.load(weights)
        found = measure(self.denoiser, self.bench, self.config.evaluate)
        standing = {name: value for name, value in self.standing.items() if name != "forward_flops"}
        clock = moving_columns(self.standing, images_seen, self.wall_seconds())
        evals = standing | clock | train_loss_columns(sums, before) | found.evals
        self.store.write_arrays("samples", **found.arrays)
        self.store.write_images(found.images, evals)
        for row in found.strata:
            row["exposures"] = images_seen * row["copies"] / self.standing["n_train"]
        record = {"evals": evals, "strata": found.strata, "noise_levels": found.noise_levels}
        self.store.append(record)
        if self.listener is not None:
            self.listener(record, found.arrays)
        return {name: evals.get(name) for name in SHOWN}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put the weights, pruned as the configuration says, into the measured denoiser."""
        with torch.no_grad():
            for name, weight in self.denoiser.named_parameters():
                weight.copy_(weights[name])
        prune(self.denoiser.network, self.config.model.prune)

    def save_model(self) -> None:
        """The last measured weights as model/: a unet in diffusers' format, with what our preconditioning needs."""
        if self.config.model.family != "unet":
            return
        folder, made = self.store.folder / "model", self.store.folder / "model.tmp"
        shutil.rmtree(made, ignore_errors=True)
        self.denoiser.network.model.save_pretrained(made)
        constants = {"mean": self.denoiser.mean, "sigma_data": self.denoiser.sigma_data, "c_noise": "ln(sigma) / 4"}
        (made / "preconditioning.json").write_text(json.dumps(constants))
        _replace_folder(made, folder)


def _replace_folder(made: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
