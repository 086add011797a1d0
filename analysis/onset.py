"""When a run begins to generalize and when to memorize, on the clock images_seen (measures.md 3.2).

`python -m analysis.onset TABLES [--eps .01] [--out FILE.json]` prints the cells' onsets and writes all of it as JSON.
A first crossing can be noise where f is near 0: read its interval. tau ~ n_unique is a law in STEPS at a fixed batch.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import numbers
from analysis.command import command_line
from analysis.onsets.capacity import capacities
from analysis.onsets.cell_onset import OF_CELL, cell_onsets, stratum_onsets
from analysis.onsets.collapse import collapse
from analysis.onsets.crossing import Crossing, Status, first_crossing, redrawn, spread
from analysis.onsets.phase_boundary import phase_boundary
from analysis.onsets.run_setting import constant_rate, ended_early, weights
from analysis.rates import wilson
from analysis.table import load

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
OF_RUN = ("run_id", "cell_id", "seed", *OF_CELL)


def tau_gen(t: Array, loss: Array, se: Array, *, ended_early: bool = False) -> Crossing:
    """First t with holdout_loss <= its minimum + 2 SE at the minimum; t, loss, se [n].

    Where the last evaluation is the first to come so near, the loss still falls: its minimum lies beyond (a, inf).
    """
    known = ~np.isnan(loss) & ~np.isnan(se) & (t > 0)
    t, loss, se = t[known], loss[known], se[known]
    if not len(t):
        return Crossing(np.nan, 0.0, np.inf, Status.MISSING)
    lowest = int(np.argmin(loss))
    found = first_crossing(t, -loss, -(loss[lowest] + 2 * se[lowest]), reached=True)
    if len(t) > 1 and found.b == t.max():
        return Crossing(np.nan, found.a, np.inf, Status.CENSORED if ended_early else Status.ABOVE_RANGE)
    return found


def t_over(t: Array, loss: Array, *, ended_early: bool = False) -> Crossing:
    """The evaluation of lowest holdout_loss, between its neighbours; t [n] ascending, loss [n]."""
    known = ~np.isnan(loss) & (t > 0)
    t, loss = t[known], loss[known]
    if not len(t):
        return Crossing(np.nan, 0.0, np.inf, Status.MISSING)
    k = int(np.argmin(loss))
    a = float(t[k - 1]) if k else 0.0
    if k == len(t) - 1:
        return Crossing(np.nan, a, np.inf, Status.CENSORED if ended_early else Status.ABOVE_RANGE)
    return Crossing(float(t[k]) if k else np.nan, a, float(t[k + 1]), Status.INTERP if k else Status.BELOW_RANGE)


def run_onsets(run: "DataFrame", eps: float, *, draws: int, level: float, rng: np.random.Generator) -> dict[str, Any]:
    """The row of `onsets` for the evals rows of one run."""
    run = run.sort_values("images_seen")
    last = run.iloc[-1]
    early = ended_early(last)
    t, x, b = (numbers(run, name, "evals") for name in ("images_seen", "n_memorized", "n_generated"))
    loss, se = (numbers(run, name, "evals") for name in ("holdout_loss", "holdout_loss_se"))
    f, ended = wilson(x, b, level), bool(early)
    found = {
        "tau_mem": first_crossing(t, f.value, eps, ended_early=ended),
        "tau_gen": tau_gen(t, loss, se, ended_early=ended),
        "t_over": t_over(t, loss, ended_early=ended),
    }
    row = {name: last[name] for name in OF_RUN} | {"weights": weights(last), "ended_early": early}
    for name, crossing in found.items():
        row |= {name: crossing.value, f"{name}_status": str(crossing.status)}
        row |= {f"{name}_a": crossing.a, f"{name}_b": crossing.b}
    row["tau_mem_lo"], row["tau_mem_hi"] = spread(t, redrawn(x, b, draws, rng), eps, coverage=level)
    mem, gen = found["tau_mem"], found["tau_gen"]
    row |= {"window": mem.value / gen.value}
    row |= {"window_lo": mem.a / gen.b, "window_hi": mem.b / gen.a if gen.a > 0 else np.inf}
    if Status.MISSING in (mem.status, gen.status):
        row |= {"window_lo": np.nan, "window_hi": np.nan}
    at = t == found["t_over"].value  # nowhere unless the loss turned: what is memorized before overfitting
    n_extracted, n_unique = numbers(run, "n_extracted", "evals"), numbers(run, "n_unique", "evals")
    for name, rate in (("f_before", f), ("extracted_before", wilson(n_extracted, n_unique, level))):
        for end, values in zip(("", "_lo", "_hi"), rate, strict=True):
            row[name + end] = values[at][0] if at.any() else np.nan
    row["n_extracted_before"] = n_extracted[at][0] if at.any() else np.nan
    return row


def onsets(
    evals: "DataFrame", eps: float = 0.01, *, draws: int = 300, level: float = 0.95, rng: np.random.Generator
) -> "DataFrame":
    """A row a run: its identity, `weights` (ema or raw: never pooled), ended_early, and each onset with its status.

    tau_mem, tau_gen, t_over with _status, _a, _b (it lies in (a, b]; images); tau_mem_lo, _hi: from redrawing the
    samples of each evaluation, of this run only. window = tau_mem/tau_gen with what the brackets allow. f_before,
    n_extracted_before, extracted_before (share of n_unique) at t_over: memorized before overfitting. Runs with a
    decaying learning rate are left out: their points are not runs of that length.
    """
    import pandas

    rows = [
        run_onsets(part, eps, draws=draws, level=level, rng=rng)
        for _, part in constant_rate(evals).groupby("run_id", sort=False)
    ]
    return pandas.DataFrame(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where an option means nothing, or every run has a decaying learning rate, in one line."""
    made = command_line(
        "analysis.onset",
        "TABLES [options]",
        (__doc__ or "").splitlines()[0],
        "runs --eps .05 --out onset.json",
    )
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect")
    made.add_argument("--eps", type=float, default=0.01, help="memorized share that counts as the onset (default .01)")
    made.add_argument("--recovered", type=float, default=0.5, help="basin recovery of a stratum's onset (default .5)")
    made.add_argument("--capacity-eps", type=float, default=0.1, help="eps of EMM and N* (default .1)")
    made.add_argument("--draws", type=int, default=300, help="bootstrap draws (default 300)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--out", metavar="FILE.json", help="where to write all of it besides")
    options = made.parse_args(argv)
    try:
        answer = _answer(options)
        text = json.dumps(answer, indent=2, allow_nan=False) + "\n"
        if options.out:
            Path(options.out).parent.mkdir(parents=True, exist_ok=True)
            Path(options.out).write_text(text)
    except (ValueError, OSError) as error:
        print(f"analysis.onset: {error}", file=sys.stderr)
        return 2
    print(_printed(answer))
    return 0


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    shares = {"--eps": options.eps, "--recovered": options.recovered, "--capacity-eps": options.capacity_eps}
    for name, value in {**shares, "--level": options.level}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} {value:g}: must lie between 0 and 1 (eps 0 would be crossed by one sample)")
    if options.draws < 20:
        raise ValueError(f"--draws {options.draws}: an interval needs 20 draws or more")
    tables = load(options.tables)
    evals = constant_rate(tables.evals)
    lost = tables.evals["run_id"].nunique() - evals["run_id"].nunique()
    if evals.empty:
        raise ValueError(
            f"{options.tables}: every run has a decaying learning rate; its points are no runs of that length"
        )
    more = {"draws": options.draws, "level": options.level, "rng": np.random.default_rng(options.seed)}
    runs = onsets(evals, options.eps, **more)
    capacity = capacities(evals, options.capacity_eps, **more)
    strata = tables.strata[tables.strata["run_id"].isin(runs["run_id"])]
    return {
        "message": f"{lost} runs with a decaying learning rate left out: their points are no runs of that length"
        if lost
        else "",
        "eps": options.eps,
        "recovered": options.recovered,
        "capacity_eps": options.capacity_eps,
        "level": options.level,
        "runs": _records(runs),
        "cells": _records(cell_onsets(evals, options.eps, **more)),
        "strata": _records(stratum_onsets(strata, options.recovered, **more)),
        "capacities": _records(capacity),
        "slopes": [_plain(row) for onset in ("tau_mem", "tau_gen") for row in collapse(runs, onset, options.level)],
        "boundary": [_plain(row) for row in phase_boundary(capacity, options.level)],
    }


def _records(frame: "DataFrame") -> list[dict[str, Any]]:
    return [_plain(row) for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """For JSON: missing and open ends (infinite) are null."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _printed(answer: dict[str, Any]) -> str:
    """The cells as text; an open end is a dash."""
    shown = (
        "cell_id",
        "width",
        "params",
        "n_unique",
        "copies",
        "weights",
        "n_runs",
        "tau_mem",
        "lo",
        "hi",
        "status",
        "interval",
    )
    table = [shown, *[[_cell(row[name]) for name in shown] for row in answer["cells"]]]
    sizes = [max(len(row[k]) for row in table) for k in range(len(shown))]
    lines = ["  ".join(text.rjust(size) for text, size in zip(row, sizes, strict=True)) for row in table]
    first = f"tau_mem: images seen at a memorized share of {answer['eps']:g} ({100 * answer['level']:g} % interval)"
    return "\n".join([first, *lines, *([answer["message"]] if answer["message"] else [])])


def _cell(value: object) -> str:
    return (
        "-"
        if value is None
        else f"{value:.5g}"
        if isinstance(value, float) and value < 1e5
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


if __name__ == "__main__":
    raise SystemExit(main())
