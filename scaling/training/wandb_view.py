"""W&B as a view of a run's records: everything is sent from a thread of its own, so that training never waits for it.

The truth is evals.jsonl. A history row has images_seen as its axis; the numbers of the evals row under their column
names; those of the strata as `strata/<copies>/<column>`; and `record`, the evaluation's whole record as JSON text
({"evals": row, "strata": rows, "noise_levels": rows, "prompts": rows}), from which the tables can be made again. What
goes wrong is one line on standard error, and the run goes on. wandb (seconds, 200 MB) is imported by the thread alone.

Under an agent a run is marked as preempting from its beginning: only then does the server give it out again after a
kill that nothing in the process can answer. A run that failed would come back without end, so W&B is told exit code 0
for it, the tag `failed`, and why in the summary; the process itself exits as it failed, and its agent sees that.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from ssl import SSLError
from threading import Thread
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np

from scaling.arrays import GALLERY
from scaling.columns import NESTED
from scaling.fields import ExperimentConfig
from scaling.identity import canonical, cell_id, resolve, run_id, train_id
from scaling.records import RECORDS, records
from scaling.redact import redacted
from scaling.training.wandb_gallery import gallery_grid
from scaling.training.wandb_row import history_row

PROJECT = "diffusion-memorization-scaling"  # unless the user, a settings file or a sweep names one
TAG_CHARACTERS = 64  # W&B refuses longer tags
CLOSE_SECONDS = 20.0  # of waiting for the thread; less than the 30 s an agent leaves between SIGTERM and SIGKILL
REACH_SECONDS = 5.0  # for a first answer of the server
INIT_SECONDS = FINISH_SECONDS = 15.0  # less: wandb holds the interpreter's end back until they are over


class Evaluation(NamedTuple):
    """What one call of `log` hands to the thread."""

    evals: Mapping[str, object]
    nested: Mapping[str, Sequence[Mapping[str, object]]]
    gallery: Mapping[str, np.ndarray] | None


class Close(NamedTuple):
    """The last thing the thread is told: how the run ended."""

    exit_code: int
    failure: str | None


def under_agent() -> bool:
    """Whether a W&B agent started this process."""
    return "WANDB_SWEEP_ID" in os.environ


def wanted(config: ExperimentConfig) -> bool:
    """Whether the run is to be shown: where runtime.logger says so, or leaves it to whether an agent waits for it."""
    return config.runtime.logger == "wandb" or (config.runtime.logger == "auto" and under_agent())


def open_view(config: ExperimentConfig, *, images_total: int) -> "WandbView":
    """The run's view, opening in the background. images_total: images_seen at the end of the run, kept in its config.

    runtime.wandb_mode: auto is what WANDB_MODE or wandb's settings files say; online without a key is offline.
    """
    mode = config.runtime.wandb_mode
    folder = Path(config.runtime.out) / run_id(config)
    return WandbView(None if mode == "auto" else mode, run_arguments(config, images_total), folder)


def show_records(config: ExperimentConfig, *, images_total: int) -> "WandbView":
    """The run's view, with the records that are on disk already."""
    view = open_view(config, images_total=images_total)
    for record in records(Path(config.runtime.out) / run_id(config) / RECORDS):
        view.log(**record)
    return view


@contextmanager
def shown(config: ExperimentConfig, *, images_total: int) -> Iterator[Callable[..., None] | None]:
    """Show the run while the block trains it; gives what to call with each new record and its arrays, or None.

    None unless `wanted`. A run stopped by a signal ends with 128 + signal: its agent gets it again.
    """
    if not wanted(config):
        yield None
        return
    view = show_records(config, images_total=images_total)
    try:
        yield view.tell
    except SystemExit as stop:
        view.close(stop.code)
        raise
    except Exception as error:
        view.close(1, failure=_line(error).replace(config.runtime.out, "runs"))  # no path of this machine
        raise
    view.close()


def run_arguments(config: ExperimentConfig, images_total: int) -> dict[str, object]:
    """What wandb.init is told about the run: no path, nothing of `runtime`, nothing from the environment.

    Under an agent, or with WANDB_RUN_ID, the environment says which run this is.
    """
    config = resolve(config)
    run, cell, design = run_id(config), cell_id(config), config.data.duplication
    copies = f" x{design.copies}" if design.copies else ""
    identity = {"run_id": run, "cell_id": cell, "train_id": train_id(config), "images_total": images_total}
    arguments = {
        "config": json.loads(canonical(config)) | identity,
        "name": f"{config.model.family}-{config.model.width} {design.design}{copies} seed {config.seed} {run}",
        "group": cell,
        "job_type": "train",
        "tags": [tag[:TAG_CHARACTERS] for tag in (config.data.source, config.model.family, design.design)],
        "resume": "allow",
    }
    return arguments if under_agent() or "WANDB_RUN_ID" in os.environ else arguments | {"id": run}


class WandbView:
    """A W&B run, written by a daemon thread. No method raises or waits for W&B, but for `close`, which has a limit.

    mode: online, offline or disabled; None: what the user's environment says. folder: the run's folder.
    """

    def __init__(self, mode: str | None, arguments: Mapping[str, object], folder: Path) -> None:
        self._mode, self._arguments, self._folder = mode, arguments, folder
        self._queue: SimpleQueue[Evaluation | Close] = SimpleQueue()
        self._doing, self._mute = "starting wandb", False
        self._thread = Thread(target=self._work, name="wandb-view", daemon=True)
        if mode != "disabled":
            self._thread.start()

    def log(
        self,
        evals: Mapping[str, object],
        strata: Sequence[Mapping[str, object]] = (),
        noise_levels: Sequence[Mapping[str, object]] = (),
        prompts: Sequence[Mapping[str, object]] = (),
        gallery: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Send one evaluation: its evals row, the nested rows with their own columns, and arrays as in schema.GALLERY.

        As many as an online run has rows already are left out: a resumed run logs all its records again from the
        first, and those that a killed process lost arrive. Rows and arrays must not be changed afterwards.
        """
        if self._thread.is_alive():
            self._queue.put(Evaluation(evals, dict(zip(NESTED, (strata, noise_levels, prompts), strict=True)), gallery))

    def tell(self, record: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
        """Send a new record with its gallery; without samples there is none."""
        gallery = {name: arrays[name] for name in GALLERY} if set(GALLERY) <= set(arrays) else None
        self.log(**record, gallery=gallery)

    def close(self, exit_code: int = 0, *, failure: str | None = None) -> None:
        """End the run, at most CLOSE_SECONDS from now. failure: why trying again would not help."""
        if not self._thread.is_alive():
            return
        self._queue.put(Close(exit_code, failure))
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._give_up(
                f"not everything was sent within {CLOSE_SECONDS:g} s (still {self._doing}); "
                f"the records are in {self._folder}, and the same command again sends them"
            )

    # -- the thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            if (run := self._open()) is None:
                return
            self._doing = "sending"
            # Rows, not the summary's images_seen: of a killed run the summary may have arrived and the row not.
            arrived = run.starting_step
            while isinstance(item := self._queue.get(), Evaluation):
                if arrived:
                    arrived -= 1
                else:
                    self._send(run, item)
            self._finish(run, item)
        except (Exception, SystemExit) as error:  # wandb.teardown ends the program if its service process failed
            self._give_up(f"{_line(error)}; the run goes on without it, and its records are in {self._folder}")

    def _open(self) -> object | None:
        """The W&B run; None where the user has W&B disabled."""
        import wandb

        self._doing = "connecting"
        known = self._settings()
        if known.mode == "disabled":
            return None
        online = known.mode not in ("offline", "dryrun")
        # wandb's service asks a dead port again and again; its teardown would wait for that, 20 s and more.
        why = unreachable(known.base_url) if online else ""
        if online and not why:
            try:
                # Asks the server, for at most 10 s: wandb.init alone would prompt, or wait for minutes.
                if wandb.login(prompt=False, verify=True):
                    return self._start("online", known)
                why = "no API key found; "
            except (wandb.Error, TimeoutError) as error:
                why = f"{_line(error)}; "
                wandb.teardown()  # its service process holds the id of a run that could not begin
        run = self._start("offline", self._settings())
        self._say(f"{why}this run is logged offline; to send it: {_sync(run)}")
        return run

    def _settings(self) -> object:
        """What wandb knows from the environment and its settings files; from here on it prints nothing."""
        import wandb

        given = {} if self._mode is None else {"mode": self._mode}
        return wandb.setup(wandb.Settings(silent=True, console="off", **given)).settings

    def _start(self, mode: str, known: object) -> object:
        import wandb

        own = {} if known.project or under_agent() else {"project": PROJECT}
        if "WANDB_DIR" not in os.environ:
            self._folder.mkdir(parents=True, exist_ok=True)  # wandb would take a temporary folder for a missing one
            own["dir"] = str(self._folder)
        limits = {"init_timeout": INIT_SECONDS, "finish_timeout": FINISH_SECONDS, "finish_timeout_raises": True}
        settings = wandb.Settings(reinit="create_new", **limits)  # create_new: a worker's runs stay apart
        run = wandb.init(**self._arguments, **own, mode=mode, settings=settings)
        if under_agent():
            run.mark_preempting()
        run.define_metric("images_seen")
        run.define_metric("record", step_metric="images_seen", hidden=True, summary="none")
        run.define_metric("*", step_metric="images_seen")
        return run

    def _send(self, run: object, evaluation: Evaluation) -> None:
        import wandb

        row = history_row(evaluation.evals, evaluation.nested)
        if evaluation.gallery and len(evaluation.gallery[GALLERY[0]]):
            caption = "left: generated; right: nearest training image; below: gap ratio, copies of that image"
            row["gallery"] = wandb.Image(gallery_grid(evaluation.gallery), caption=caption)
        run.log(row)

    def _finish(self, run: object, close: Close) -> None:
        self._doing = "sending the rest"
        exit_code = close.exit_code
        if close.failure is not None:
            run.summary["failure"] = close.failure
            run.tags = (*run.tags, "failed")
            exit_code = 0 if under_agent() else exit_code
        try:
            run.finish(exit_code)
        except TimeoutError:
            self._give_up(f"not everything was sent within {FINISH_SECONDS:g} s; to send it: {_sync(run)}")

    def _say(self, text: str) -> None:
        if not self._mute:
            print(f"W&B: {redacted(text)}", file=sys.stderr, flush=True)

    def _give_up(self, text: str) -> None:
        """The last line that this view prints."""
        self._say(text)
        self._mute = True


def unreachable(url: str) -> str:
    """Why no server answers at url, as the beginning of a line; empty where one does, whatever it answers."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=REACH_SECONDS).close()
    except HTTPError:  # an answer
        return ""
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return "" if isinstance(reason, SSLError) else f"no server answers at {url} ({_line(reason)}); "
    return ""


def _sync(run: object) -> str:
    """The command that sends what is on disk; without the option it leaves out what was not begun offline."""
    option = "" if run.offline else "--no-skip-online "
    return f"wandb sync {option}{shlex.quote(str(Path(run.dir).parent))}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
