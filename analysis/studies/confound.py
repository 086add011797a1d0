"""Study 5, from study 1's runs: is what memorization and generalization have in common only the models' size?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.ask import question
from analysis.questions.answer import Answer
from analysis.questions.comparable import clustered_mean
from analysis.studies.confound_figures import correlations
from analysis.studies.memorization import base
from analysis.studies.quoted import count, interval, share, table
from analysis.studies.study import Study
from analysis.table import Tables

if TYPE_CHECKING:
    from analysis.plots import ReportFigure

SEED, DRAWS, LEVEL = 0, 1000, 0.95
MEMORIZES = 0.01  # of the samples, of either of two models: below it both are at the floor and differ by nothing
CONFOUNDING = (
    ("r_xy", "r", "correlation"),
    ("partial", "partial", "among models of one size"),
    ("share", "share", "share that size explains"),
)


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name."""
    asked = _asked(tables)
    return _confounding(asked["confounding"]) | _matched(asked["matched"]) | _wasted(asked["wasted"])


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """The correlation with and without size held fixed."""
    return [correlations(_asked(tables, ("confounding",))["confounding"].rows)]


def _asked(tables: Tables, names: Sequence[str] = ("confounding", "matched", "wasted")) -> Mapping[str, Answer]:
    """The answers over the runs at the width rule with averaged weights."""
    evals, strata = base(tables)
    kept = Tables(evals, strata, tables.noise_levels, tables.prompts, tables.images)
    how: dict[str, Any] = dict(rate=0.01, at={}, level=LEVEL, draws=DRAWS, seed=SEED)
    return {name: question(name)(kept, **how) for name in names}


def _confounding(answer: Answer) -> dict[str, str]:
    rows: list[dict[str, Any]] = [dict(row) for row in answer.rows]
    cells = [
        [f"{row['at'].replace('_', ' ')}, {row['capacity']}",
         *(interval(row[value], row[f"{short}_lo"], row[f"{short}_hi"]) for value, short, _ in CONFOUNDING)]
        for row in rows
    ]  # fmt: skip
    first, fixed = rows[0], next(row for row in rows if row["at"] != rows[0]["at"])
    found = {"n_runs": count(first["n"]), "n_sizes": count(first["n_sizes"]),
             "correlations": table(["read at, size as", *(words for *_, words in CONFOUNDING)], cells)}  # fmt: skip
    for where, row in (("minimum", first), ("fixed", fixed)):
        for value, short, _ in CONFOUNDING:
            found[f"{where}_{value}"] = interval(row[value], row[f"{short}_lo"], row[f"{short}_hi"])
    return found


def _matched(answer: Answer) -> dict[str, str]:
    """The difference over all pairs, and over settings where either model is above the floor."""
    rows: list[dict[str, Any]] = [dict(row) for row in answer.rows if row["n_pairs"]]
    above = [row for row in rows if max(row["rate_smaller"], row["rate_larger"]) > MEMORIZES]
    mean = clustered_mean(
        [row["value"] for row in above], np.array([row["setting"] for row in above]), level=LEVEL, draws=DRAWS,
        seed=SEED,
    )  # fmt: skip
    return {
        "matched": interval(answer.value, answer.lo, answer.hi),
        "matched_pairs": count(sum(row["n_pairs"] for row in rows)),
        "matched_settings": count(len(rows)),
        "matched_above": count(len(above)),
        "matched_of_above": interval(mean.value, mean.lo, mean.hi),
    }


def _wasted(answer: Answer) -> dict[str, str]:
    rows: list[dict[str, Any]] = [dict(row) for row in answer.rows]
    equal = [row for row in rows if row["params_wasted"] > 0]
    most = max(equal, key=lambda row: row["value"])
    oversize = [row for row in rows if row["params_beyond_optimal"] and row["params_beyond_optimal"] > 0]
    return {
        "wasted": share(answer.value, answer.lo, answer.hi),
        "wasted_sizes": f"{count(len(equal))} of {count(len(rows))}",
        "wasted_most": share(most["value"], most["lo"], most["hi"]),
        "wasted_most_params": f"{count(most['params'])} instead of {count(most['params_equal'])}",
        "oversize": f"{count(len(oversize))} of {count(len(rows))}",
    }


STUDY = Study("confound", numbers, figures, of="memorization")
