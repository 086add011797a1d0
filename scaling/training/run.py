"""From configurations to records: one run, or several of one network shape side by side."""

import logging
import signal
import warnings
from collections.abc import Callable, Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from scaling.config import ConfigError
from scaling.fields import ExperimentConfig
from scaling.runtime import RuntimeConfig
from scaling.store import RunStore
from scaling.training.cost import DEFAULT, words
from scaling.training.data import StepData
from scaling.training.evaluate import EvaluateCallback, Stopping
from scaling.training.module import DenoiserModule
from scaling.training.request import Progress, Request
from scaling.training.session import Session
from scaling.training.watch import Watch

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its notes on hardware and loggers tell us nothing

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


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
    train_together([Request(config, store, progress)], _raise, say)


def _raise(request: Request, error: Exception | None) -> None:
    if error is not None:
        raise error


def train_together(
    requests: Sequence[Request],
    ended: Callable[[Request, Exception | None], None],
    say: Callable[[str], None] | None = None,
) -> None:
    """Train and measure runs whose networks have one shape; each ends for itself, well (None) or not.

    What one run raises is handed to `ended` and the others go on. A signal ends all with a checkpoint each and raises
    SystemExit(128 + signal).
    """
    runtime = requests[0].config.runtime
    device = choose_device(runtime)
    torch.set_num_threads(runtime.threads)
    open_runs: dict[Session, Request] = {}

    def end(session: Session, error: Exception | None) -> None:
        request = open_runs.pop(session)
        if error is None:
            try:
                session.conclude()
            except Exception as late:  # the disk took the records, but not the rest
                error = late
        if error is not None:
            session.leave(error)
        ended(request, error)

    try:
        waiting: dict[Watch, Session] = {}
        for request in requests:
            if session := _begun(request, device, ended):
                open_runs[session] = request
                if watch := _before_training(session, end, say):
                    waiting[watch] = session
        if waiting:
            _fit(waiting, requests[0].config, device, end)
    except BaseException as error:
        for session in open_runs:
            session.leave(error)
        raise


def _begun(
    request: Request, device: torch.device, ended: Callable[[Request, Exception | None], None]
) -> Session | None:
    try:
        return Session(request, device)
    except Exception as error:  # its images are missing, its plan is impossible: the others can go on
        ended(request, error)
        return None


def _before_training(
    session: Session, end: Callable[[Session, Exception | None], None], say: Callable[[str], None] | None
) -> Watch | None:
    """What is to train of a run, or None once it needs no training."""
    try:
        if say is not None and set(session.config.evaluate.measures) - set(DEFAULT):
            say(words(session.laboratory.forecast(), len(session.steps)))
        if session.missing and not session.measure_trained():
            watch = session.watch()
            if not watch.ended:
                return watch
            watch.evaluate(lambda: None)  # killed between its last checkpoint and its last record
    except Exception as error:
        end(session, error)
    else:
        end(session, None)
    return None


def _fit(
    sessions: dict[Watch, Session],
    config: ExperimentConfig,
    device: torch.device,
    end: Callable[[Session, Exception | None], None],
) -> None:
    watches, stopping = list(sessions), Stopping()
    for session in sessions.values():
        session.laboratory.packed = len(sessions)
    module = DenoiserModule([watch.member for watch in watches], compiled=config.runtime.compile)
    callback = EvaluateCallback(
        watches,
        checkpoint_every=config.runtime.checkpoint_every,
        stopping=stopping,
        ended=lambda watch, error: end(sessions[watch], error),
    )
    steps = max(watch.member.total_steps - watch.member.step for watch in watches)
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        with warnings.catch_warnings():
            # about loaders and loggers that we do not use
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            trainer(config, device, callback, steps).fit(module, datamodule=StepData(steps))
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    if stopping.signum is not None:
        raise SystemExit(128 + stopping.signum)


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


def trainer(config: ExperimentConfig, device: torch.device, callback: pl.Callback, max_steps: int) -> pl.Trainer:
    """Lightning's trainer with nothing that writes, prints or looks elsewhere."""
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=PRECISION[config.train.precision],
        max_steps=max_steps,
        max_epochs=1,
        callbacks=[callback],
        plugins=[LightningEnvironment()],  # under Slurm it would take an array's tasks for one distributed training
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
