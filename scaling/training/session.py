"""One run in this process: what is made before its training, what is written after it."""

import copy
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cached_property

import torch

from scaling.checkpoints import Checkpoints, load_weights
from scaling.data.batches import Batches
from scaling.data.sources import load_images
from scaling.data.training_set import TrainingSet, assemble
from scaling.diffusion.denoiser import Denoiser
from scaling.fields import ExperimentConfig
from scaling.identity import train_id
from scaling.models.ladder import build
from scaling.store_errors import StoreError
from scaling.trained import donor
from scaling.training.bench import Bench
from scaling.training.laboratory import Laboratory
from scaling.training.member import Member
from scaling.training.points import evaluation_steps, total_steps
from scaling.training.request import Request
from scaling.training.wandb_view import shown
from scaling.training.watch import Watch


def make_denoiser(config: ExperimentConfig, data: TrainingSet) -> Denoiser:
    """The untrained denoiser of this run, on the CPU."""
    channels, size = data.pool.shape[1:3]
    network = build(config.model, image_size=size, channels=channels, n_labels=data.n_labels, seed=config.seed)
    return Denoiser(network, mean=data.mean, sigma_data=data.std, n_labels=data.n_labels)


class Session:
    """Begins with the images in memory and the W&B view open; ended by `conclude` or `leave`."""

    def __init__(self, request: Request, device: torch.device) -> None:
        self.config, self.store, self.device = request.config, request.store, device
        self._progress = request.progress or (lambda state: None)
        config = self.config
        images = load_images(config.data.source, config.data.image_size, config.data.channels)
        self.data = assemble(config, images)
        self.steps = evaluation_steps(config.evaluate, config.train, self.data.n_train)
        self.store.check_data(self.data.data_sha256)
        where = {"device": device.type, "threads": config.runtime.threads}
        self.store.set_status("running", images_total=self.images_total, **where)
        self.denoiser = make_denoiser(config, self.data)
        bench = Bench.of(config, self.data, images, device)
        measured = copy.deepcopy(self.denoiser).to(device)
        self.denoiser.to(device)
        self._view = ExitStack()
        listener = self._view.enter_context(shown(config, images_total=self.images_total))
        self.laboratory = Laboratory(config, self.data, bench, self.store, measured, listener)

    @property
    def images_total(self) -> int:
        """images_seen at the end of the run."""
        return self.steps[-1] * self.config.train.batch_size

    @property
    def measured(self) -> set[int]:
        """The steps that have a record."""
        return {images // self.config.train.batch_size for images in self.store.measured()}

    @property
    def missing(self) -> set[int]:
        """The steps that have no record yet."""
        return set(self.steps) - self.measured

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Those of the run folder."""
        return Checkpoints(self.store.folder / "checkpoints")

    def report(self, state: Mapping[str, object]) -> None:
        """Keep and tell how far the run is."""
        kept = ("images_seen", "images_total", "wall_seconds", "n_memorized", "n_generated")
        self.store.set_status("running", **{name: state[name] for name in kept if state.get(name) is not None})
        self._progress(state)

    def watch(self) -> Watch:
        """The run as it goes into training: from its newest checkpoint, or from its beginning."""
        train = self.config.train
        batches = Batches(
            self.data,
            seed=self.config.seed,
            batch_size=train.batch_size,
            sigma=train.sigma,
            noise_draws=self.config.data.noise_draws,
            device=self.device,
        )
        total = total_steps(train, self.data.n_train)
        member = Member(self.denoiser, batches, train, width=self.config.model.width, total_steps=total)
        watch = Watch(
            member,
            steps=self.steps,
            measured=self.measured,
            measure=self.laboratory,
            checkpoints=self.checkpoints,
            progress=self.report,
        )
        first_missing = min(self.missing)  # a damaged disk may have lost a record that the newest checkpoint is beyond
        if restored := self.checkpoints.load(lambda meta: meta["step"] < first_missing + (not meta.get("measured"))):
            watch.restore(*restored)
        self.laboratory.wall_seconds = watch.wall_seconds
        return watch

    def measure_trained(self) -> bool:
        """Measure the weights of a finished run of the same training instead of training again; False if none is.

        Raises StoreError where they came without their sums of losses.
        """
        batch = self.config.train.batch_size
        found = donor(self.store.folder, train_id(self.config), at=[step * batch for step in self.steps])
        if found is None:
            return False
        missing, before = self.missing, torch.zeros(4, dtype=torch.float64)
        for step in self.steps:
            tensors, meta = load_weights(found / "weights" / f"{step * batch}.safetensors")
            if "sums" not in meta:
                raise StoreError(
                    f"{found}: its weights name no sums of losses; remove that run folder to train it again"
                )
            sums = torch.tensor(meta["sums"], dtype=torch.float64)
            if step in missing:
                state = self.laboratory(step, tensors, sums, before)
                self.report({**state, "images_seen": step * batch, "images_total": self.images_total})
            before = sums
        return True

    def conclude(self) -> None:
        """All is measured: what is left to write."""
        self.laboratory.save_model()
        self.checkpoints.clear()
        self.store.set_status("done", images_seen=self.images_total)
        self._view.close()

    def leave(self, error: BaseException) -> None:
        """It goes no further in this process; the W&B run ends as one that failed or was interrupted."""
        with suppress(type(error)):
            self._view.__exit__(type(error), error, error.__traceback__)
