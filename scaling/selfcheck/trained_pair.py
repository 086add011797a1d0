"""Two tiny networks through the code of every study: one trained until it memorizes, one that had no time to.

64 digits for 1,600 steps against 1,500 digits for 400 steps, the same 40,489 weights (pilot: measures.md, section 7).
"""

from collections.abc import Iterator
from functools import cached_property
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from scaling.config import build
from scaling.fields import ExperimentConfig
from scaling.selfcheck.table import Check, Given, Row, answered, shown, within
from scaling.store import RunStore
from scaling.training.run import train

BATCH, SAMPLES = 64, 256


class Run:
    """One run, trained when its record is first asked for."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config

    @cached_property
    def evals(self) -> tuple[dict, dict]:
        """The evals row of the untrained network and that of the last evaluation."""
        with RunStore.open(self.config) as store:
            train(self.config, store)
            first, last = store.records()
        return first["evals"], last["evals"]


def configuration(n_unique: int, steps: int, *, out: Path, device: torch.device | str) -> ExperimentConfig:
    """Measured at 0 and at the end only, with the instruments that the rows below ask."""
    return build(
        {
            "data": {"source": "digits", "n_unique": n_unique, "holdout": 256},
            "model": {"width": 8},
            "train": {"images": steps * BATCH, "batch_size": BATCH},
            "evaluate": {"at": [], "samples": SAMPLES, "measures": ["loss", "neighbors", "basin"]},
            "runtime": {"out": str(out), "device": str(device), "progress": False, "checkpoint_every": 600},
        }
    )


def _many_memorized(run: Run) -> Given:
    """The pilot's 74 of 256, from a third to double: other machines round differently, and training amplifies it."""
    return within(run.evals[1]["n_memorized"], 25, 150)


def _none_memorized(run: Run) -> Given:
    return within(run.evals[1]["n_memorized"], 0, 2)


def _nulls(run: Run) -> Given:
    """The untrained network among its images; the trained one among as many held-out images."""
    first, last = run.evals
    found = first["n_memorized"], last["n_null_memorized"]
    return Given(shown(found), max(found) <= 2)


def _basins_recovered(run: Run) -> Given:
    seen, null = _basins(run)
    return Given(shown((seen, null)), seen >= 0.25 and null <= 0.02)


def _basins_as_the_null(run: Run) -> Given:
    seen, null = _basins(run)
    return Given(shown((seen, null)), seen <= 0.02 and null <= 0.02)


def _losses_apart(run: Run) -> Given:
    return within(_gap_in_errors(run), 10, inf)


def _losses_together(run: Run) -> Given:
    return within(_gap_in_errors(run), -3, 3)


def _learned(run: Run) -> Given:
    first, last = (row["holdout_loss"] for row in run.evals)
    return Given(shown((first, last)), last < 0.6 * first)


def _basins(run: Run) -> tuple[float, float]:
    last = run.evals[1]
    return last["n_basin_recovered"] / last["n_basin"], last["n_null_basin_recovered"] / last["n_null_basin"]


def _gap_in_errors(run: Run) -> float:
    """holdout_loss - seen_loss over its standard error; pairs share noise only in part, so the squares add."""
    last = run.evals[1]
    se = (last["holdout_loss_se"] ** 2 + last["seen_loss_se"] ** 2) ** 0.5
    return (last["holdout_loss"] - last["seen_loss"]) / se


LONG, SHORT = {"n_unique": 64, "steps": 1600}, {"n_unique": 1500, "steps": 400}
LONG_ROWS = (
    Row("64 digits, 1,600 steps: n_memorized", f"about 75 of {SAMPLES} (25 to 150)", _many_memorized),
    Row("64 digits: untrained; held-out null", "0 0 (at most 2)", _nulls),
    Row("64 digits: basin recovery; its null", "above .25 (.57); at most .02", _basins_recovered),
    Row("64 digits: held-out less seen loss", "above 10 standard errors (56)", _losses_apart),
)
SHORT_ROWS = (
    Row("1,500 digits, 400 steps: n_memorized", f"0 of {SAMPLES} (at most 2)", _none_memorized),
    Row("1,500 digits: basin recovery; its null", "0 0 (at most .02)", _basins_as_the_null),
    Row("1,500 digits: held-out less seen loss", "0 within 3 standard errors", _losses_together),
    Row("1,500 digits: held-out loss, before; after", "has learned: below .6 of the untrained network's", _learned),
)


def checks(device: torch.device) -> Iterator[Check]:
    """Each check as it is made."""
    with TemporaryDirectory() as folder:
        for cell, rows in ((LONG, LONG_ROWS), (SHORT, SHORT_ROWS)):
            run = Run(configuration(**cell, out=Path(folder), device=device))
            yield from answered("trained_pair", rows, run)
