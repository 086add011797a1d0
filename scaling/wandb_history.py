"""The evaluations that a W&B sweep has of its runs: the `record` column of the whole history of each.

Never run.history(), which is a sample of 500 rows. wandb is imported where it is asked.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import NamedTuple

from scaling.store_errors import StoreError
from scaling.training.wandb_view import unreachable

PAGE = 200  # runs a request
RETRIES = 3  # of a request; by default minutes of them


class Logged(NamedTuple):
    """A run as W&B has it: its name there, its state, and the text of each evaluation's record as it was logged."""

    name: str
    state: str
    texts: list[str]


def logged_runs(sweep: str) -> Iterator[Logged]:
    """Every run of a sweep given as ENTITY/PROJECT/SWEEP, the oldest first; raises StoreError (one line)."""
    if not re.fullmatch(r"[^/\s]+/[^/\s]+/[^/\s]+", sweep):
        raise StoreError(f"--wandb {sweep}: give ENTITY/PROJECT/SWEEP, as `wandb sweep` printed it")
    project, _, name = sweep.rpartition("/")
    with _asking(sweep), _no_traces():
        api = _api(sweep)
        api.sweep(sweep)  # raises where there is none: a filter would find no runs
        for run in api.runs(project, filters={"sweep": name}, order="+created_at", per_page=PAGE):
            rows = run.scan_history(use_cache=False)  # whole rows: given keys, wandb 0.31 asks for a sample again
            yield Logged(run.id, run.state, [str(row["record"]) for row in rows if row.get("record") is not None])


def _api(sweep: str) -> object:
    import wandb

    settings = wandb.Settings(silent=True, console="off", x_graphql_retry_max=RETRIES)
    url = wandb.setup(settings).settings.base_url
    if why := unreachable(url):
        raise StoreError(f"--wandb {sweep}: {why}try again, or collect the folders of the runs")
    if not wandb.login(prompt=False, verify=True):  # wandb.Api() would prompt
        raise StoreError(f"--wandb {sweep}: no W&B API key found; run `wandb login`, or set WANDB_API_KEY")
    return wandb.Api()


@contextmanager
def _no_traces() -> Iterator[None]:
    """wandb.Api makes a folder for every run that it lists: in a temporary one."""
    before = os.environ.get("WANDB_DIR")
    with TemporaryDirectory() as folder:
        os.environ["WANDB_DIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("WANDB_DIR")
            if before is not None:
                os.environ["WANDB_DIR"] = before


@contextmanager
def _asking(sweep: str) -> Iterator[None]:
    """What goes wrong at W&B as one line. Its client raises errors of no common kind, also for an unknown sweep."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(
            f"--wandb {sweep}: W&B answers: {why}; see that the name is right, and that your key may read it"
        ) from None
