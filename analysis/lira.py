"""LiRA: is an image in a run's training set, judged by how runs with and without it score it (measures.md 2.5)?

The raw score s mixes memory with an image's difficulty, which the other runs of the cell know; the target run itself
never enters what it is judged by. Chance is 1/2 in every form, if the judges say nothing of which images the target
has: so runs of the target's own split, whose parts are each other's rest, judge only where the cell has no other split.
`python -m analysis.lira TABLES` prints a line a run; --out writes it as JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.columns import numbers
from analysis.command import command_line
from analysis.condition import holds
from analysis.per_image.folds import POOL, Cell, cells
from analysis.table import load

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
VALUE = "membership_score"
FORMS = ("threshold", "offline", "online")
LEAST_RUNS = 3
ONE_IN = 100  # the false positive rate is 1 %
ROUNDING = 1e-12  # of the largest score: a spread below it is none


class Reference(NamedTuple):
    """What the other runs say of each image on one side, with it or without it in training."""

    mean: Array  # [N]; NaN where no other run is on that side
    sd: float  # within images, pooled over them; NaN where no image has two such runs, or none of them differ


class Attack(NamedTuple):
    """How well scores tell members from m others; at chance auc is 1/2 and tpr k/(m + 1), k = floor((m + 1)/100)."""

    auc: float  # NaN where a side is empty
    auc_se: float  # NaN where a side has one image; 0, and no interval, where no pair is out of order
    tpr: float  # at 1 % false positives; NaN below 99 non-members


def reference(scores: Array, inside: Array, target: int, side: bool) -> Reference:
    """mu and s of one side from scores [R N] (NaN: not measured) and inside [R N] bool, run `target` left out."""
    of = (inside == side) & np.isfinite(scores)
    of[target] = False
    m = of.sum(axis=0)
    mean = np.where(m > 0, np.where(of, scores, 0).sum(axis=0) / np.maximum(m, 1), np.nan)
    residual = np.where(of, scores - mean, 0)
    freedom = np.maximum(m - 1, 0).sum()  # an image's mean costs one
    sd = float(np.sqrt((residual**2).sum() / freedom)) if freedom else np.nan
    return Reference(mean, sd if sd > ROUNDING * np.abs(scores[of]).max(initial=0) else np.nan)


def offline(scores: Array, inside: Array, target: int) -> Array:
    """(s - mu_out)/s_out [N], Carlini et al. 2022 (arXiv 2112.03570): needs no run with the image but the target."""
    out = reference(scores, inside, target, False)
    return (scores[target] - out.mean) / out.sd


def online(scores: Array, inside: Array, target: int) -> Array:
    """ln N(s; mu_in, s_in^2) - ln N(s; mu_out, s_out^2) [N], Carlini et al. 2022 (arXiv 2112.03570)."""
    log_density = []
    for side in (True, False):
        of = reference(scores, inside, target, side)
        log_density.append(-(((scores[target] - of.mean) / of.sd) ** 2) / 2 - np.log(of.sd))
    return log_density[0] - log_density[1]


def attack(members: Array, others: Array) -> Attack:
    """AUC = P(s(member) > s(other)) + P(equal)/2 with DeLong's standard error, and TPR; scores [n], [m], no NaN."""
    from scipy.stats import rankdata  # half of this package's import time

    n, m = len(members), len(others)
    if not n or not m:
        return Attack(np.nan, np.nan, np.nan)
    rank = rankdata(np.concatenate([members, others]))  # Sun & Xu 2014: V from mid-ranks among all and among one's own
    v = (rank[:n] - rankdata(members)) / m
    v_ = 1 - (rank[n:] - rankdata(others)) / n
    se = float(np.sqrt(v.var(ddof=1) / n + v_.var(ddof=1) / m)) if min(n, m) > 1 else np.nan
    k = (m + 1) // ONE_IN
    tpr = float((members > np.sort(others)[-k]).mean()) if k else np.nan
    return Attack(float(v.mean()), se, tpr)


def lira(images: "DataFrame") -> "DataFrame":
    """The images table of runs with folds -> a row a run: the raw threshold, LiRA offline and online, side by side.

    Columns run_id, cell_id; n_in, n_out (training and left-out images compared, the same ones in every form);
    n_without (measured, but too few judges have them in or out); n_runs (the judges), n_splits (of the cell); and
    threshold_auc, threshold_auc_se, threshold_tpr_at_1pct_fpr, the same for offline and online, NaN where not known.
    Every image counts once. Raises ValueError where runs leave no image out, lack the score, or are below 3 a cell.
    """
    import pandas

    pool = images[images["fold_of"].notna() & images["role"].isin(POOL)]
    if len(pool) and (VALUE not in pool or pool[VALUE].isna().all()):
        raise ValueError(f"images: no pool image has a {VALUE}: evaluate.measures must hold membership; evaluate again")
    found = []
    for cell in cells(images, VALUE):
        mine = images[(images["cell_id"].astype(str) == cell.cell_id) & images["fold_of"].notna()]
        run_ids, first = np.unique(mine["run_id"].to_numpy(str), return_index=True)  # the order of the rows of `cell`
        found += _rows(cell, run_ids, numbers(mine, "fold_split", "images")[first])
    return pandas.DataFrame(found)


def _rows(cell: Cell, run_ids: Array, split: Array) -> list[dict[str, Any]]:
    measured = np.isfinite(cell.value).any(axis=1)
    if measured.sum() < LEAST_RUNS:
        raise ValueError(
            f"cell {cell.cell_id}: {measured.sum()} runs with a {VALUE}, LiRA needs {LEAST_RUNS} that differ in fold "
            f"and seed: train more seeds, or leave the cell out with --where cell_id!={cell.cell_id}"
        )
    splits = len(np.unique(split[measured]))
    rows = []
    for target, run_id in enumerate(run_ids):
        itself = np.arange(len(run_ids)) == target
        judges = measured & (split != split[target] if splits > 1 else ~itself)
        scores = np.where((judges | itself)[:, None], cell.value, np.nan)
        of = (scores[target], offline(scores, cell.inside, target), online(scores, cell.inside, target))
        compared = np.isfinite(of).all(axis=0)
        inside = cell.inside[target] & compared
        row = {
            "run_id": run_id,
            "cell_id": cell.cell_id,
            "n_in": int(inside.sum()),
            "n_out": int((compared & ~inside).sum()),
            "n_without": int((np.isfinite(scores[target]) & ~compared).sum()),
            "n_runs": int(judges.sum()),
            "n_splits": splits,
        }
        for form, values in zip(FORMS, of, strict=True):
            # Of one split, how many judges have an image tells whether the target has it: online is below .5 at chance.
            known = np.nan if form == "online" and splits == 1 else 1.0
            row[f"{form}_auc"], row[f"{form}_auc_se"], row[f"{form}_tpr_at_1pct_fpr"] = (
                known * value for value in attack(values[inside], values[compared & ~inside])
            )
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where the tables cannot be used or hold no runs with folds to compare, in one line."""
    made = command_line(
        "analysis.lira",
        "TABLES [options]",
        (__doc__ or "").splitlines()[0],
        "runs --out lira.json",
    )
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect")
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument("--out", metavar="F.json", help="write the rows there too, as JSON")
    options = made.parse_args(argv)
    try:
        print(_written(options))
    except (ValueError, OSError) as error:
        print(f"analysis.lira: {error}", file=sys.stderr)
        return 2
    return 0


def _written(options: argparse.Namespace) -> str:
    """Write --out; returns the lines to print."""
    images = load(options.tables).images
    for condition in options.where:
        images = images[holds(images, condition)]
    found = lira(images)
    message = _said(found)
    if options.out:
        rows = found.astype(object).where(found.notna(), None).to_dict(orient="records")
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps({"message": message, "runs": rows}, indent=2, allow_nan=False) + "\n")
    shown = found[["cell_id", "run_id", "n_in", "n_out", "n_without"]].copy()
    for form in FORMS:
        pairs = zip(found[f"{form}_auc"], found[f"{form}_auc_se"], strict=True)
        shown[form] = ["" if np.isnan(auc) else f"{auc:.3f} +- {se:.3f}" for auc, se in pairs]
    title = "AUC +- standard error of the raw score (threshold) and of LiRA; chance is .5"
    return "\n".join([title, shown.to_string(index=False), *([message] if message else [])])


def _said(found: "DataFrame") -> str:
    parts = []
    if empty := int(found["threshold_auc"].isna().sum()):
        parts.append(
            f"{empty} of {len(found)} runs are left empty: an image is judged by at least one other run with it and "
            f"one without it, and no image of one side has both: train more seeds, each with its own data.fold.split"
        )
    if alone := sorted(found.loc[found["n_splits"] == 1, "cell_id"].unique()):
        parts.append(
            f"one split in {', '.join(alone)}: members and non-members are judged by different runs, whose luck moves "
            f"offline by more than its standard error, and online, biased there, is left empty; give each seed its own "
            f"data.fold.split"
        )
    return "; ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
