"""From weights to a record on disk: load them, measure, write arrays, then the record. The files of an evaluation."""

import copy
import json
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from scaling.checkpoints import load_weights, save_weights
from scaling.columns import NESTED
from scaling.data.training_set import TrainingSet
from scaling.diffusion.denoiser import Denoiser
from scaling.fields import ExperimentConfig
from scaling.store import RunStore
from scaling.store_errors import StoreError
from scaling.training.bench import Bench
from scaling.training.cost import instrument_costs
from scaling.training.instruments.density import Errors, Minimum, density_errors, lowest
from scaling.training.measure import measure
from scaling.training.points import evaluation_steps
from scaling.training.prune import prune
from scaling.training.record import moving_columns, standing_columns, train_loss_columns

SHOWN = ("train_loss", "seen_loss", "holdout_loss", "n_memorized", "n_generated")
TIMED = 256  # images of the pass that a forecast is made from: the sampler's batch
Listener = Callable[[Mapping[str, object], Mapping[str, object]], None]


class Laboratory:
    """Called with (step, weights by name, sums of losses, sums at the evaluation before) at every evaluation.

    `denoiser` is a copy of the run's own that takes the weights to be measured. `listener`, if any, is told each
    record and its gallery after they are on disk. `packed` is the
    number of runs that are trained together.
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
        self.packed = 1
        self.bench = bench
        self.at_minimum: tuple[int, Errors] | None = None  # images_seen, and what the log-density bound needs of it
        self.last_step = evaluation_steps(config.evaluate, config.train, data.n_train)[-1]
        started = time.monotonic()
        self.wall_seconds: Callable[[], float] = lambda: time.monotonic() - started

    def __call__(self, step: int, weights: Mapping[str, Tensor], sums: Tensor, before: Tensor) -> dict[str, object]:
        """Measure these weights and write everything; returns what progress shows."""
        images_seen = step * self.config.train.batch_size
        save_weights(self.store.weights_path(images_seen), weights, {"sums": sums.tolist()})
        self.load(weights)
        minimum, last = self._minimum(images_seen), step == self.last_step
        found = measure(self.denoiser, self.bench, self.config.evaluate, last=last, minimum=minimum)
        if found.density_errors is not None and lowest(found.evals.get("holdout_loss"), minimum):
            self.at_minimum = images_seen, found.density_errors
        standing = {name: value for name, value in self.standing.items() if name != "forward_flops"}
        clock = moving_columns(self.standing, images_seen, self.wall_seconds())
        evals = standing | {"packed": self.packed} | clock | train_loss_columns(sums, before) | found.evals
        self.store.write_arrays("samples", **found.arrays)
        self.store.write_images(found.images, evals)
        for row in found.strata:
            row["exposures"] = images_seen * row["copies"] / self.standing["n_train"]
        record = {"evals": evals, **{table: getattr(found, table) for table in NESTED}}
        self.store.append(record)
        if self.listener is not None:
            self.listener(record, found.arrays)
        return {name: evals.get(name) for name in SHOWN}

    def load(self, weights: Mapping[str, Tensor], into: Denoiser | None = None) -> Denoiser:
        """Put weights, pruned as configured, into the measured denoiser or one like it; another network's raise."""
        denoiser = self.denoiser if into is None else into
        with torch.no_grad():
            for name, weight in denoiser.named_parameters():
                if name not in weights or weights[name].shape != weight.shape:  # copy_ would broadcast
                    raise StoreError(f"{self.store.folder}: weights of another network ({name}); remove the run folder")
                weight.copy_(weights[name])
        prune(denoiser.network, self.config.model.prune)
        return denoiser

    def forecast(self) -> dict[str, float]:
        """Seconds of one evaluation by instrument, from one pass of the network here and now (a first warms up)."""
        evaluate, images, data = self.config.evaluate, self.bench.train.images, self.bench.data
        batch = images[torch.arange(TIMED, device=images.device) % len(images)]
        labels = None if self.bench.train.labels is None else self.bench.train.labels[:1].expand(TIMED)
        with torch.inference_mode():
            for _ in range(2):
                started = time.monotonic()
                self.denoiser(batch, batch.new_ones(TIMED), labels).sum().item()  # waits for the device
        seconds = (time.monotonic() - started) / TIMED
        costs = instrument_costs(
            evaluate, data.n_unique, len(data.holdout), keys=self.config.data.keys,
            n_left_out=len(data.pool) - data.n_unique,
        )  # fmt: skip
        return {name: seconds * cost.images for name, cost in costs.items()}

    def _minimum(self, images_seen: int) -> Minimum | None:
        """The evaluation with the smallest hold-out loss before this one, from the records: so also after a resume."""
        losses = {
            record["evals"]["images_seen"]: record["evals"]["holdout_loss"]
            for record in self.store.records()
            if record["evals"]["images_seen"] < images_seen and record["evals"].get("holdout_loss") is not None
        }
        if not losses:
            return None
        at = min(losses, key=losses.get)
        return Minimum(losses[at], partial(self._errors, at))

    def _errors(self, images_seen: int) -> Errors:
        if self.at_minimum is None or self.at_minimum[0] != images_seen:
            weights, _ = load_weights(self.store.weights_path(images_seen))
            denoiser = self.load(weights, copy.deepcopy(self.denoiser))
            self.at_minimum = images_seen, density_errors(denoiser, self.bench, self.config.evaluate)
        return self.at_minimum[1]

    def save_model(self) -> None:
        """The last measured weights as model/: a unet in diffusers' format, with what our preconditioning needs."""
        if self.config.model.family != "unet":
            return
        # From disk: a run that was killed after its last record measures nothing any more.
        self.load(load_weights(self.store.weights_path(self.last_step * self.config.train.batch_size))[0])
        folder, made = self.store.folder / "model", self.store.folder / "model.tmp"
        shutil.rmtree(made, ignore_errors=True)
        self.denoiser.network.model.save_pretrained(made)
        constants = {"mean": self.denoiser.mean, "sigma_data": self.denoiser.sigma_data, "c_noise": "ln(sigma) / 4"}
        (made / "preconditioning.json").write_text(json.dumps(constants))
        _replace_folder(made, folder)


def _replace_folder(made: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
