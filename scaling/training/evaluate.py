"""The callback of training: when the runs of a pack are measured, checkpointed, ended or left out."""

import signal
import time
from collections.abc import Callable, Sequence

import pytorch_lightning as pl

from scaling.training.module import DenoiserModule
from scaling.training.watch import Watch

PROGRESS_SECONDS = 0.5


class Stopping:
    """A request to stop after the current step: SIGTERM (an agent, a scheduler) or SIGINT (a person)."""

    signum: int | None = None

    def listen(self) -> None:
        """Take over both signals; in training, since Lightning installs handlers of its own before it."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda number, frame: setattr(self, "signum", number))


class EvaluateCallback(pl.Callback):
    """Attends to each run by its `Watch`, in the order of the module's members.

    ended(watch, error): a run came to its end (None), or something went wrong with it alone; the others go on.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        *,
        checkpoint_every: float,
        stopping: Stopping,
        ended: Callable[[Watch, Exception | None], None],
    ) -> None:
        self.watches, self.checkpoint_every = list(watches), checkpoint_every
        self.stopping, self.ended = stopping, ended

    # -- Lightning's hooks -------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, module: DenoiserModule) -> None:
        """Measures the untrained network where that is missing, and starts the clocks."""
        self.stopping.listen()
        self.scaler = getattr(trainer.precision_plugin, "scaler", None)
        known = next((watch.scaler for watch in self.watches if watch.scaler), None)
        if self.scaler and known:
            self.scaler.load_state_dict(known)
        self.mark = self.saved = self.shown = time.monotonic()
        self._attend(trainer, module, [watch for watch in self.watches if watch.due])

    def on_train_batch_end(self, trainer: pl.Trainer, module: DenoiserModule, *_: object) -> None:
        """Measures, saves and shows what is due."""
        now = time.monotonic()
        for watch in self.watches:
            watch.trained(now - self.mark, len(self.watches))
        self.mark = now
        self._attend(trainer, module, [watch for watch in self.watches if watch.due or watch.ended])
        now = time.monotonic()
        if now - self.saved > self.checkpoint_every or self.stopping.signum is not None:
            self._each(trainer, module, self.watches, lambda watch: self._save(watch, module))
            self.saved = time.monotonic()
        if now - self.shown > PROGRESS_SECONDS:
            self._each(trainer, module, self.watches, Watch.show)
            self.shown = time.monotonic()
        self.mark = time.monotonic()
        if self.stopping.signum is not None:
            trainer.should_stop = True

    # -- the work ----------------------------------------------------------------------------------------------------

    def _attend(self, trainer: pl.Trainer, module: DenoiserModule, watches: list[Watch]) -> None:
        """Measure what is due; let go who came to the end."""
        self._each(trainer, module, watches, lambda watch: watch.evaluate(lambda: self._save(watch, module)))
        for watch in [watch for watch in self.watches if watch.ended]:
            self._let_go(trainer, module, watch, None)
        self.mark = time.monotonic()

    def _each(
        self, trainer: pl.Trainer, module: DenoiserModule, watches: list[Watch], do: Callable[[Watch], None]
    ) -> None:
        for watch in list(watches):
            try:
                do(watch)
            except Exception as error:  # a full disk, a diverged loss: of this run alone
                self._let_go(trainer, module, watch, error)

    def _let_go(self, trainer: pl.Trainer, module: DenoiserModule, watch: Watch, error: Exception | None) -> None:
        self.watches.remove(watch)
        module.drop(watch.member)
        if not self.watches:
            trainer.should_stop = True
        self.ended(watch, error)

    def _save(self, watch: Watch, module: DenoiserModule) -> None:
        watch.save(module.optimizer_state(watch.member), self.scaler and self.scaler.state_dict())
