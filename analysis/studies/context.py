"""Study 7: what company does to images: their recovery at equal copies, n_train and time, in other contexts.

Estimands and null as results/context/README.md registered them before the runs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.rates import wilson
from analysis.studies.context_figures import company
from analysis.studies.context_law import beside_the_law, foretold
from analysis.studies.context_pairs import (
    HITS,
    TRIALS,
    Pairs,
    Told,
    estimands,
    exchanged,
    over_draws,
    paired,
    size_difference,
    size_log_odds,
)
from analysis.studies.quoted import count, interval, number, share, table
from analysis.studies.rate_law import rate_law, slope
from analysis.studies.study import Study
from analysis.summary import last_evaluations
from analysis.table import Tables, load

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

BESIDE = {"unique": "the rest all unique", "equal": "the rest few, 8 copies each", "matched": "… of 144 images in all",
          "duplicated": "16 of the rest with 16 copies"}  # fmt: skip
COMPARED = {"equal": "the rest few instead of all unique", "matched": "… of 144 images in all",
            "left_tagged": "when the most duplicated have left: tagged",
            "left_rest": "when the most duplicated have left: the rest"}  # fmt: skip
EXCHANGED = ("unique", "equal")  # where copies are exchanged for time: the registered company, and the other beside it
BEFORE = "memorization"  # the study whose law is asked


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name."""
    strata = with_context(tables)
    last = last_evaluations(strata)
    own, pairs = last[last["copies"] == last["tagged"]], comparisons(last)
    found = {"n_runs": count(last["run_id"].nunique()), "recovered": _recovered(own)}
    for key, one in pairs.items():
        found |= _compared(one, key)
    found |= _at_four_copies(own[own["tagged"] == 4])
    found["differences"] = _by_copies(pairs, size_difference, _points)
    found["odds"] = _by_copies(pairs, size_log_odds, interval)
    return found | _exchange(strata) | foretold(beside_the_law(load(folder.parent / BEFORE), strata), BESIDE)


def comparisons(last: "DataFrame") -> dict[str, Pairs]:
    """What the estimands are of, by the names of COMPARED; last: the last strata of `with_context`."""
    own, rest = last[last["copies"] == last["tagged"]], last[(last["copies"] == 1) & (last["tagged"] == 4)]
    return {
        "equal": paired(own, "unique", "equal"),
        "matched": paired(_matched(own), "unique", "matched"),
        "left_tagged": paired(own[own["tagged"] == 4], "duplicated", "unique"),
        "left_rest": paired(rest, "duplicated", "unique"),
    }


def _matched(own: "DataFrame") -> "DataFrame":
    """The rows with `equal` as `matched` too where its images are as many (sweeps/context.yaml: at 4 copies)."""
    import pandas

    n_unique = own.loc[own["context"] == "matched", "n_unique"]
    as_many = own[(own["context"] == "equal") & own["n_unique"].isin(n_unique)]
    return pandas.concat([own, as_many.assign(context="matched")], ignore_index=True)


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
        shares = {size: wilson(*cells[[HITS, TRIALS]].sum()) for size, cells in part.groupby("params")}
        told = [share(*map(float, shares[size])) if size in shares else "not run" for size in sizes]
        rows.append([f"{copies:.0f}, {BESIDE[context]}", *told])
    return table(["copies of the tagged, company", *(f"{size:,.0f} parameters" for size in sizes)], rows)


def _compared(pairs: Pairs, key: str) -> dict[str, str]:
    """The log-odds of recovery, their slope in ln params, the difference of the shares in points; each one's p."""
    odds, slope, difference = estimands(pairs)
    p = {f"{key}{of}_p": number(one) for of, one in zip(("", "_slope", "_difference"), exchanged(pairs), strict=True)}
    by_copies = {copies: estimands(pairs.at(pairs.copies == copies))[1] for copies in np.unique(pairs.copies)}
    return p | {
        f"{key}_log_odds": interval(*odds), f"{key}_slope": interval(*slope), f"{key}_difference": _points(*difference),
        f"{key}_pairs": count(len(pairs.params)),
        **{f"{key}_slope_{copies:.0f}": interval(*told) for copies, told in by_copies.items()},
    }  # fmt: skip


def _at_four_copies(own: "DataFrame") -> dict[str, str]:
    """Recovered share of the tagged at the largest size beside the most duplicated, without them, and among few."""
    largest = own[own["params"] == own["params"].max()].groupby("context")[[HITS, TRIALS]].sum()
    shares = {"left_before": "duplicated", "left_after": "unique", "equal_4_recovered": "equal"}
    return {key: share(*map(float, wilson(*largest.loc[name]))) for key, name in shares.items()}


def _points(value: float, lo: float, hi: float) -> str:
    """A difference of shares in percentage points; draws that all say the same have no interval."""
    return interval(100 * value, 100 * lo, 100 * hi) if np.isfinite(lo) else f"{number(100 * value)} in every draw"


def _by_copies(
    pairs: Mapping[str, Pairs], of: Callable[[Pairs], Mapping[float, Told]], said: Callable[..., str]
) -> str:
    """A row a comparison and number of copies, a column a size: what `of` tells, as `said`."""
    sizes = sorted({size for one in pairs.values() for size in one.params})
    rows = []
    for key, one in pairs.items():
        for copies in np.unique(one.copies):
            told = of(one.at(one.copies == copies))
            cells = [said(*told[size]) if size in told else "not run" for size in sizes]
            rows.append([f"{COMPARED[key]}, {copies:.0f} {'copy' if copies == 1 else 'copies'}", *cells])
    return table(["company", *(f"{size:,.0f} parameters" for size in sizes)], rows)


def _exchange(strata: "DataFrame") -> dict[str, str]:
    """chi by size in each of EXCHANGED, of the tagged over their copies and all evaluations.

    A draw's runs share its images: chi is told of each draw, then as the mean over draws with Student's t, as every
    estimand here.
    """
    own = strata[(strata["copies"] == strata["tagged"]) & (strata["images_seen"] > 0) & (strata[TRIALS] > 0)]
    said, found = [], {}
    for size, rows in own.groupby("params"):
        cells = [count(size)]
        for context in EXCHANGED:
            each = np.array([_chi(part) for _, part in rows[rows["context"] == context].groupby("draw")])
            found[f"chi_{context}_{size:.0f}"] = interval(*over_draws(each))
            cells += [found[f"chi_{context}_{size:.0f}"], f"{np.isfinite(each).sum()} of {len(each)}"]
        said.append(cells)
    header = [word for context in EXCHANGED for word in (f"chi, {BESIDE[context]}", "draws that tell it")]
    return found | {"chi": table(["parameters", *header], said)}


def _chi(rows: "DataFrame") -> float:
    """Slope in ln copies over that in ln images seen; NaN where nothing came back, or the law is not told."""
    if not 0 < rows[HITS].sum() < rows[TRIALS].sum():
        return np.nan
    law = rate_law(rows, HITS, TRIALS, {name: rows[name].to_numpy(float) for name in ("copies", "images_seen")})
    copies, time = (slope(law, name).value for name in ("copies", "images_seen"))
    return np.nan if copies is None or not time else copies / time


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """Recovery of the tagged by company, over sizes, and beside what study 1's law says of it."""
    strata = with_context(tables)
    last = last_evaluations(strata)
    return [company(last[last["copies"] == last["tagged"]],
                    beside_the_law(load(folder.parent / BEFORE), strata), BESIDE)]  # fmt: skip


STUDY = Study("context", numbers, figures, beside=(BEFORE,))
