"""Study 6: how much of an image must an attacker know? Prompted recovery over size, copies and context."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.studies.over_runs import share_of_runs
from analysis.studies.quoted import count, interval, share, table
from analysis.studies.rate_law import missed, rate_law, slope, slopes, straight_line
from analysis.studies.study import Study, drawn
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

LEVEL = 0.95
HITS, TRIALS, CEILING = "n_prompt_recovered", "n_prompts", "n_ideal_recovered"
STEPS = {"params": 10.0, "copies": 10.0, "known_share": 2.0}  # the factor for which a log-linear slope is told


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name."""
    prompts = last_evaluations(tables.prompts)
    found = {"n_runs": count(prompts["run_id"].nunique()), "n_prompts": count(prompts[TRIALS].sum())}
    found["contexts"] = _contexts(prompts)
    x = {name: prompts[name].to_numpy(float) for name in STEPS}
    found |= slopes(rate_law(prompts, HITS, TRIALS, x), "logit")
    found |= slopes(rate_law(prompts, HITS, CEILING, x), "ceiling")
    line = straight_line(prompts, HITS, TRIALS, x)
    for name, factor in STEPS.items():
        one, step = slope(line, name), 100 * np.log(factor)
        value, lo, hi = (None if end is None else step * end for end in (one.value, one.lo, one.hi))
        found[f"points_{name}"] = interval(value, lo, hi)
    return found | missed(prompts, HITS, TRIALS, tuple(STEPS), "params") | _samples(tables)


def _contexts(prompts: "DataFrame") -> str:
    """A row a context: recovered by size, the ideal denoiser's share and the null."""
    sizes = sorted(prompts["params"].unique())
    rows = []
    for context, part in prompts.sort_values("known_share").groupby("context", sort=False):
        told = [part[part["params"] == size] for size in sizes]
        by_size = [_share(one, HITS, TRIALS) for one in told]
        ends = [_share(part, CEILING, TRIALS), _share(part, "n_null_prompt_recovered", "n_null_prompts")]
        rows.append([f"{context} of the rows", *by_size, *ends])
    header = ["given", *(f"{size:,.0f} parameters" for size in sizes), "ideal denoiser", "held-out images"]
    return table(header, rows)


def _share(rows: "DataFrame", hits: str, trials: str) -> str:
    of_run = rows.groupby("run_id")[[hits, trials]].sum()
    return share(*share_of_runs(of_run[hits], of_run[trials]))


def _samples(tables: Tables) -> dict[str, str]:
    """What the same runs give away without a prompt: memorized samples and images extracted, by the largest size."""
    last = last_evaluations(tables.evals)
    largest = last[last["params"] == last["params"].max()]
    return {
        "unprompted": _share(largest, "n_memorized", "n_generated"),
        "extracted": f"{count(largest['n_extracted'].sum())} of {count(largest['n_unique'].sum())}",
    }


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """The report's figures of prompts."""
    from analysis.pictures.instrument_figures import prompted, prompts

    return [*drawn(prompted(tables, LEVEL)), *drawn(prompts(tables, LEVEL))]


STUDY = Study("prompted", numbers, figures)
