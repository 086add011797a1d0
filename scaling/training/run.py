"""One run from its configuration to its records: the table of contents of training."""

import copy
import logging
import signal
import warnings
from collections.abc import Callable, Mapping
from functools import partial

import pytorch_lightning as pl
import torch

from scaling.checkpoints import Checkpoints, load_weights
from scaling.config import ConfigError, train_id
from scaling.data.batches import Batches
from scaling.data.sources import load_images
from scaling.data.training_set import TrainingSet, assemble
from scaling.diffusion.denoiser import Denoiser
from scaling.fields import ExperimentConfig, RuntimeConfig
from scaling.models.ladder import build
from scaling.store import RunStore
from scaling.training.bench import Bench
from scaling.training.cost import DEFAULT, words
from scaling.training.data import StepData
from scaling.training.evaluate import EvaluateCallback, Stopping
from scaling.training.laboratory import Laboratory
from scaling.training.module import DenoiserModule
from scaling.training.points import evaluation_steps, total_steps
from scaling.training.wandb_view import shown

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its notes on hardware and loggers tell us nothing

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
Progress = Callable[[Mapping[str, object]], None]


def train(
    config: ExperimentConfig,
    store: RunStore,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Train and measure the run, from where it stands to its end; every record is on disk when this returns.

    say, if given, is told what measuring will cost where more than the default instruments are asked for. Raises
    Diverged, and ConfigError, StoreError or SourceError for what the user must mend. SIGTERM and SIGINT write a
    checkpoint and raise SystemExit(128 + signal).
    """
    device = choose_device(config.runtime)
    torch.set_num_threads(config.runtime.threads)
    images = load_images(config.data.source, config.data.image_size, config.data.channels)
    data = assemble(config, images)
    steps = evaluation_steps(config.evaluate, config.train, data.n_train)
    images_total = steps[-1] * config.train.batch_size
    store.check_data(data.data_sha256)
    store.set_status("running", images_total=images_total)
    report = partial(_report, store, progress or (lambda state: None))
    denoiser = make_denoiser(config, data)
    bench = Bench.of(config, data, images, device)
    with shown(config, images_total=images_total) as listener:
        laboratory = Laboratory(config, data, bench, store, copy.deepcopy(denoiser).to(device), listener)
        if say is not None and set(config.evaluate.measures) - set(DEFAULT):
            say(words(laboratory.forecast(), len(steps)))
        if not _measure_trained(config, store, steps, laboratory, report):
            _fit(config, data, store, steps, denoiser.to(device), laboratory, report)
    laboratory.save_model()
    Checkpoints(store.folder / "checkpoints").clear()
    store.set_status("done", images_seen=images_total)


def choose_device(runtime: RuntimeConfig) -> torch.device:
    """The device that runtime.device names; raises ConfigError where there is none."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if runtime.device == "auto" else runtime.device
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"runtime.device={name}: allowed are auto, cpu, cuda and cuda:N") from None
    found = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= found):
        raise ConfigError(f"runtime.device={name}: torch finds {found} CUDA device(s) here; use cpu or auto")
    return device


def make_denoiser(config: ExperimentConfig, data: TrainingSet) -> Denoiser:
    """The untrained denoiser of this run, on the CPU."""
    channels, size = data.pool.shape[1:3]
    network = build(config.model, image_size=size, channels=channels, n_labels=data.n_labels, seed=config.seed)
    return Denoiser(network, mean=data.mean, sigma_data=data.std, n_labels=data.n_labels)


def _report(store: RunStore, progress: Progress, state: Mapping[str, object]) -> None:
    kept = ("images_seen", "images_total", "wall_seconds", "n_memorized", "n_generated")
    store.set_status("running", **{name: state[name] for name in kept if state.get(name) is not None})
    progress(state)


def _fit(
    config: ExperimentConfig,
    data: TrainingSet,
    store: RunStore,
    steps: list[int],
    denoiser: Denoiser,
    laboratory: Laboratory,
    report: Progress,
) -> None:
    device = next(denoiser.parameters()).device
    checkpoints, stopping = Checkpoints(store.folder / "checkpoints"), Stopping()
    restored = checkpoints.load()
    first = restored[1]["step"] if restored else 0
    batches = Batches(
        data,
        seed=config.seed,
        batch_size=config.train.batch_size,
        sigma=config.train.sigma,
        noise_draws=config.data.noise_draws,
        device=device,
    )
    total = total_steps(config.train, data.n_train)
    module = DenoiserModule(denoiser, batches, config.train, width=config.model.width, total_steps=total)
    if config.runtime.compile:
        denoiser.network.compile()
    callback = EvaluateCallback(
        steps=steps,
        measured={images // config.train.batch_size for images in store.measured()},
        measure=laboratory,
        checkpoints=checkpoints,
        checkpoint_every=config.runtime.checkpoint_every,
        progress=report,
        stopping=stopping,
        restored=restored,
    )
    laboratory.wall_seconds = callback.wall_seconds
    if first == total:  # Lightning would call no hook where no step is left
        callback.finish(module)
        return
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        with warnings.catch_warnings():
            # about loaders and loggers that we do not use
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            _trainer(config, device, callback, total - first).fit(module, datamodule=StepData(first, total))
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    if stopping.signum is not None:
        raise SystemExit(128 + stopping.signum)


def _trainer(config: ExperimentConfig, device: torch.device, callback: pl.Callback, max_steps: int) -> pl.Trainer:
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=PRECISION[config.train.precision],
        max_steps=max_steps,
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _measure_trained(
    config: ExperimentConfig, store: RunStore, steps: list[int], laboratory: Laboratory, report: Progress
) -> bool:
    """Measure the weights of a finished run of the same training instead of training again; False if there is none."""
    batch = config.train.batch_size
    donor = store.donor(train_id(config), at=[step * batch for step in steps])
    if donor is None:
        return False
    measured, before = store.measured(), torch.zeros(4, dtype=torch.float64)
    for step in steps:
        images = step * batch
        tensors, meta = load_weights(donor / "weights" / f"{images}.safetensors")
        sums = torch.tensor(meta["sums"], dtype=torch.float64)
        if images not in measured:
            state = laboratory(step, tensors, sums, before)
            report({**state, "images_seen": images, "images_total": steps[-1] * batch})
        before = sums
    return True
