"""`python -m scaling.train --config F [--key=value …]`: one run; repeated, it says it is done; interrupted, it goes on.

Exit codes: 0 done, 1 the run failed, 2 the configuration or input is wrong, 3 another process is writing the run,
128 + signal when stopped (a checkpoint is written).
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from scaling.command import command_line
from scaling.config import ConfigError, load
from scaling.data.duplication import left_out, plan
from scaling.fields import ExperimentConfig
from scaling.identity import run_id
from scaling.store import RunStore
from scaling.store_errors import Busy, StoreError
from scaling.training.points import evaluation_steps
from scaling.training.wandb_view import show_records, under_agent, wanted

DONE, FAILED, WRONG, BUSY = 0, 1, 2, 3
STOPS = (signal.SIGTERM, signal.SIGINT)
WAIT_SECONDS = 2.0  # between looks at a run that another process writes
PURPOSE = "Train and measure one small diffusion model. Repeated, it says it is done; interrupted, it goes on."
REST = "These are the usual ones of many keys. Defaults < YAML files in order < flags."
USUAL = {  # configuration keys that most runs set, as --help shows them
    "data.source": "digits, fashion_mnist, cifar10, hf:REPO, folder:DIR, parquet:FILE, idx:DIR",
    "data.image_size": "height = width in pixels",
    "data.n_unique": "unique training images",
    "data.duplication.design": "none, uniform, spectrum, subset, strata",
    "model.width": "size of the network; or model.params, its weights",
    "train.images": "length in training images; or train.epochs",
    "evaluate.measures": "instruments to run; configs/full.yaml asks for all",
    "seed": "of initial weights, order, noise and, unless data.draw is given, images",
    "runtime.out": "folder of the run folders (default: runs)",
    "runtime.device": "auto, cpu, cuda or cuda:N",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if {"-h", "--help"} & set(argv):
        print(usual_help(), end="")
        return DONE
    try:
        config = load(["--help" if flag == "--help-all" else flag for flag in argv])
    except ConfigError as error:
        return complain(error, WRONG)
    return train_one(config)


def train_one(config: ExperimentConfig) -> int:
    """The exit code of this run; what is wrong with it, or stops it, becomes one line."""
    try:
        check(config)
        for signum in STOPS:
            signal.signal(signum, stop)
        return once_free(config) if under_agent() else now(config)
    except Busy as error:
        return complain(error, BUSY)
    except (ConfigError, StoreError) as error:
        return complain(error, WRONG)


def usual_help() -> str:
    """One screen; --help-all is jsonargparse's page of all keys."""
    usage, example = "[--config FILE.yaml …] [--key=value …]", "--config configs/digits.yaml --model.width=16"
    parser = command_line("scaling.train", usage, PURPOSE, example, REST)
    parser.add_argument("--config", metavar="FILE.yaml", help="repeatable; of two files the later wins")
    parser.add_argument("--print_config", action="store_true", help="print the resolved configuration and exit")
    parser.add_argument("--help-all", action="store_true", help="every key (docs/configuration.md has them too)")
    for key, meaning in USUAL.items():
        parser.add_argument(f"--{key}", metavar="VALUE", help=meaning)
    return parser.format_help()


def now(config: ExperimentConfig) -> int:
    """Train and measure what is left of the run, or show again what is there; raises Busy."""
    if status := RunStore.finished(config):
        print(f"run {run_id(config)} is done: {status['images_seen']:,} images seen, in {folder(config)}")
        if wanted(config):
            show_records(config, images_total=status["images_seen"]).close()
        return DONE
    with held_back(STOPS) as let_through, RunStore.open(config) as store:
        let_through()
        limit_threads(config.runtime.threads)
        return run(config, store, printer(config))


def once_free(config: ExperimentConfig) -> int:
    """`now`, once no other process writes the run: to an agent exit code 3 is a failure, and three of them end it."""
    said = False
    while True:
        try:
            return now(config)
        except Busy as busy:
            if not said:
                print(f"scaling.train: {busy}; under an agent this command waits", file=sys.stderr, flush=True)
            said = True
            time.sleep(WAIT_SECONDS)


def check(config: ExperimentConfig) -> None:
    """Raises ConfigError on what needs no image to be seen: an unreachable duplication, points beyond the end, an
    extra that is not installed."""
    steps(config)
    if config.evaluate.features == "efficientnet_lite0" and find_spec("efficientnet_lite_pytorch") is None:
        raise ConfigError(
            "evaluate.features=efficientnet_lite0: it is part of an extra that is not installed: "
            'pip install -e ".[features]", or use evaluate.features=pixels'
        )


def steps(config: ExperimentConfig) -> list[int]:
    """The steps after which the run is measured, the last of which ends it."""
    copies = plan(config.data).copies
    in_training = ~left_out(copies, config.data.fold, config.draw)
    return evaluation_steps(config.evaluate, config.train, int(copies[in_training].sum()))


def folder(config: ExperimentConfig) -> str:
    """The run folder."""
    return os.path.join(config.runtime.out, run_id(config))


def limit_threads(threads: int) -> None:
    """Libraries read these when they are imported, so before torch is."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def printer(config: ExperimentConfig) -> Callable[[Mapping[str, object]], None] | None:
    """What shows progress, unless none is wanted."""

    from scaling.training.progress import Printer

    return Printer(f"run {run_id(config)}") if config.runtime.progress else None


def run(config: ExperimentConfig, store: RunStore, progress: Callable[[Mapping[str, object]], None] | None) -> int:
    """Train and measure in this process, with the store open; what goes wrong becomes one line and an exit code."""
    from scaling.data.pixels import SourceError
    from scaling.training.run import train
    from scaling.training.watch import Diverged  # torch and Lightning arrive only now

    def say(line: str) -> None:
        print(f"run {store.run_id}  {line}", file=sys.stderr)

    try:
        train(config, store, progress, say if progress else None)
    except (ConfigError, SourceError, StoreError) as error:
        store.set_status("failed", reason=str(error))
        return complain(error, WRONG)
    except Diverged as error:
        store.set_status("failed", reason=str(error))
        return complain(f"run {store.run_id}: {error}", FAILED)
    print(f"run {store.run_id} done, in {store.folder}")
    return DONE


@contextmanager
def held_back(signals: Sequence[int]) -> Iterator[Callable[[], None]]:
    """Signals wait until the function given is called: one between taking a lock and being able to end it leaves it.

    Handlers, not a mask: a mask is a thread's own, and the kernel gives the signal to any thread of a library.
    """
    came: list[int] = []
    handlers = {signum: signal.signal(signum, lambda signum, frame: came.append(signum)) for signum in signals}

    def let_through() -> None:
        while handlers:
            signal.signal(*handlers.popitem())
        if came:
            last = came[-1]
            came.clear()  # told once, however often it came
            signal.raise_signal(last)

    try:
        yield let_through
    finally:
        let_through()


def stop(signum: int, frame: object) -> None:
    """Before training listens itself there is nothing to save, but the lock to end and the exit status to keep."""
    raise SystemExit(128 + signum)


def complain(error: Exception | str, code: int) -> int:
    """Prints one line; gives the exit code back."""
    print(f"scaling.train: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
