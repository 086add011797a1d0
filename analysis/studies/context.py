"""Study 7: what company does to images: their recovery at equal copies, n_train and time, in other contexts.

Estimands and null as results/context/README.md registered them before the runs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.rates import wilson
from analysis.studies.context_figures import by_size
from analysis.studies.context_pairs import HITS, TRIALS, estimands, exchanged, paired, size_log_odds
from analysis.studies.over_runs import mean_of_runs
from analysis.studies.quoted import count, interval, number, share, table
from analysis.studies.rate_law import rate_law, slope
from analysis.studies.study import Study
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

BESIDE = {"unique": "the rest all unique", "equal": "the rest few, 8 copies each", "matched": "… of 144 images in all",
          "duplicated": "16 of the rest with 16 copies"}  # fmt: skip


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name."""
    strata = with_context(tables)
    last = last_evaluations(strata)
    own = last[last["copies"] == last["tagged"]]
    found = {"n_runs": count(last["run_id"].nunique()), "recovered": _recovered(own)}
    for name in ("equal", "matched"):
        found |= _compared(own, "unique", name, name)
    found |= _compared(own[own["tagged"] == 4], "duplicated", "unique", "left_tagged")
    rest = last[(last["copies"] == 1) & (last["tagged"] == 4)]
    found |= _compared(rest, "duplicated", "unique", "left_rest")
    return found | _exchange(strata)


def with_context(tables: Tables) -> "DataFrame":
    """The strata with the columns `context` (of BESIDE) and `tagged`, the copies of the 32 tagged images."""
    runs = tables.evals.groupby("run_id", as_index=False)["config"].first()
    levels = [json.loads(one)["data"]["duplication"]["levels"] for one in runs["config"]]
    runs["tagged"] = [float(first[1]) for first, *_ in levels]
    runs["context"] = [_context({copies for _, copies in rest}) for _, *rest in levels]
    return tables.strata.merge(runs[["run_id", "tagged", "context"]], on="run_id")


def _context(copies: set[int]) -> str:
    """What the numbers of copies of the rest make of them."""
    if copies == {1}:
        return "unique"
    if copies == {8}:
        return "equal"
    return "duplicated" if copies == {16, 1} else "matched"


def _recovered(own: "DataFrame") -> str:
    """A row a context and number of copies: the tagged images' recovery by size, of all draws."""
    sizes = sorted(own["params"].unique())
    rows = []
    for (copies, context), part in own.groupby(["copies", "context"]):
        shares = [part[part["params"] == size][[HITS, TRIALS]].sum() for size in sizes]
        rows.append([f"{copies:.0f}, {BESIDE[context]}", *(share(*map(float, wilson(*one))) for one in shares)])
    return table(["copies of the tagged, company", *(f"{size:,.0f} parameters" for size in sizes)], rows)


def _compared(rows: "DataFrame", of: str, to: str, key: str) -> dict[str, str]:
    """Log-odds of recovery in context `to` minus in `of`: over all sizes, its slope in ln params, and by size."""
    pairs = paired(rows, of, to)
    odds, slope = estimands(pairs)
    p, p_slope = exchanged(pairs)
    return {
        f"{key}_log_odds": interval(*odds), f"{key}_slope": interval(*slope), f"{key}_pairs": count(len(pairs.params)),
        f"{key}_p": number(p), f"{key}_slope_p": number(p_slope),
        f"{key}_by_size": ", ".join(interval(*told) for told in size_log_odds(pairs).values()),
    }  # fmt: skip


def _exchange(strata: "DataFrame") -> dict[str, str]:
    """chi by size, of the tagged among unique images, over their copies and all evaluations.

    A draw's runs share its images: chi is told of each draw, then as the mean over draws with Student's t, as every
    estimand here.
    """
    alone = strata[(strata["context"] == "unique") & (strata["copies"] == strata["tagged"])]
    alone = alone[(alone["images_seen"] > 0) & (alone[TRIALS] > 0)]
    said, found = [], {}
    for size, rows in alone.groupby("params"):
        each = [_chi(part) for _, part in rows.groupby("draw")]
        known = [value for value in each if np.isfinite(value)]
        mean = mean_of_runs(known) if known else None
        found[f"chi_{size:.0f}"] = interval(mean.value, mean.lo, mean.hi) if mean else "cannot tell"
        said.append([count(size), found[f"chi_{size:.0f}"], f"{len(known)} of {len(each)}"])
    return found | {"chi": table(["parameters", "chi", "draws that tell it"], said)}


def _chi(rows: "DataFrame") -> float:
    """Slope in ln copies over that in ln images seen; NaN where nothing came back, or the law is not told."""
    if not 0 < rows[HITS].sum() < rows[TRIALS].sum():
        return np.nan
    law = rate_law(rows, HITS, TRIALS, {name: rows[name].to_numpy(float) for name in ("copies", "images_seen")})
    copies, time = (slope(law, name).value for name in ("copies", "images_seen"))
    return np.nan if copies is None or not time else copies / time


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """Recovery of the tagged by company, and the contexts' log-odds over sizes."""
    last = last_evaluations(with_context(tables))
    own = last[last["copies"] == last["tagged"]]
    pairs = {name: paired(own, "unique", name) for name in ("equal", "matched")}
    return [by_size(own, BESIDE, {name: size_log_odds(one) for name, one in pairs.items()})]


STUDY = Study("context", numbers, figures)
