"""Do the instruments agree on which images, and which cells, are memorized? Spearman's rho (measures.md 2.13).

`python -m analysis.agreement TABLES --out DIR` writes agreement.csv, disagreements.csv, agreement.json and figures.
TRAP: n_hits and best_ratio come from the same samples, loss, membership_score and log_density_bound from the same kind
of pass: their agreement is partly shared luck. Images with many copies are memorized by every instrument: without
strata copies make all agree. Null: permuted images, 0 +- 1/sqrt(n - 1).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from analysis.columns import column, numbers, read_table
from analysis.command import command_line
from analysis.per_image.rank_correlation import Correlation, spearman
from analysis.summary import last_evaluations
from analysis.table import load

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
# Column -> sign: each instrument is turned so that more means more memorized.
OF_IMAGES: Mapping[str, int] = {
    "best_ratio": -1, "n_hits": 1, "n_basin_recovered": 1, "n_prompt_recovered": 1, "loss": -1, "membership_score": 1,
    "log_density_bound": 1, "leverage": 1, "score": 1,
}  # fmt: skip
# Name -> (sign, column, the column it is a share of).
OF_CELLS: Mapping[str, tuple[int, str, str | None]] = {
    "n_memorized": (1, "n_memorized", "n_generated"),
    "n_calibrated": (1, "n_calibrated", "n_generated"),
    "n_extracted": (1, "n_extracted", "n_unique"),
    "n_basin_recovered": (1, "n_basin_recovered", "n_basin"),
    "n_cyclic_extracted": (1, "n_cyclic_extracted", "n_unique"),
    "n_prompt_recovered": (1, "n_prompt_recovered", "n_prompts"),
    "n_keys_recovered": (1, "n_keys_recovered", "n_keys"),
    "n_flagged_true": (1, "n_flagged_true", "n_unique"),
    "membership_auc": (1, "membership_auc", None),
    "tpr_at_1pct_fpr": (1, "tpr_at_1pct_fpr", None),
    "ideal_distance": (-1, "ideal_distance", None),
    "bits_memorized": (1, "bits_memorized", "n_unique"),
    "bits_optimism": (1, "bits_optimism", "n_unique"),
}
COLUMNS = ("over", "stratum", "first", "second", "value", "lo", "hi", "n", "n_runs", "interval")
WITHIN, POOLED = "within", "pooled"  # mean over strata; all images together, copies ignored


def readings(images: "DataFrame", score: "DataFrame | None" = None) -> "DataFrame":
    """The trained images with every instrument turned so that more = more memorized; `score`: a score
    (Mbar) by image_id, and by cell_id where the table has it.

    An image that no sample came nearest to has an empty best_ratio: it ranks last (the minimum over nothing).
    """
    trained = images[column(images, "in_training", "images").eq(True)]  # missing is not True
    read = trained[["run_id", "cell_id", "image_id", "copies"]].copy()
    for name, sign in OF_IMAGES.items():
        if name != "score":
            read[name] = sign * numbers(trained, name, "images")
    measured = read.groupby("run_id")["best_ratio"].transform(lambda ratio: ratio.notna().any()).astype(bool)
    read.loc[measured & read["best_ratio"].isna(), "best_ratio"] = -np.inf
    if score is None:
        return read.assign(score=np.nan)
    return read.merge(score, on=[name for name in ("cell_id", "image_id") if name in score], how="left", validate="m:1")


def image_agreement(read: "DataFrame", level: float = 0.95) -> "DataFrame":
    """Rho of each pair of instruments over images: per run, then the mean over runs; a row a stratum and pair.

    stratum: a number of copies, `within` (mean over a run's strata, weights n - 1) or `pooled` (copies ignored). n =
    images a run (mean). interval: `runs` (Student's t over runs), `images` where one run has it; empty where neither
    shows a spread. A constant column has no rho in that run; a pair without any stays as an empty row.
    """
    import pandas

    found: dict[tuple[str, str, str], list[Correlation]] = {}
    for _, run in read.groupby("run_id"):
        strata = {f"{copies:g}": part for copies, part in run.groupby("copies")}
        for a, b in combinations(OF_IMAGES, 2):
            one = {
                name: spearman(part[a].to_numpy(float), part[b].to_numpy(float), level) for name, part in strata.items()
            }
            one[WITHIN] = _mean_of_strata(list(one.values()))
            one[POOLED] = spearman(run[a].to_numpy(float), run[b].to_numpy(float), level)
            for name, c in one.items():
                found.setdefault((name, a, b), []).append(c)
    rows = [("images", *key, *_over_runs(values, level)) for key, values in found.items()]
    return pandas.DataFrame(rows, columns=COLUMNS)


def _mean_of_strata(strata: Sequence[Correlation]) -> Correlation:
    """Mean rho, weights n - 1, of strata that have one; independent errors. Ends empty where a stratum's are."""
    known = [c for c in strata if not np.isnan(c.value)]
    if not known:
        return Correlation(np.nan, np.nan, np.nan, sum(c.n for c in strata))
    value, lo, hi, n = np.array(known).T
    w = (n - 1) / (n - 1).sum()
    mean, below, above = w @ value, np.sqrt(((w * (value - lo)) ** 2).sum()), np.sqrt(((w * (hi - value)) ** 2).sum())
    return Correlation(float(mean), float(mean - below), float(mean + above), int(n.sum()))


def _over_runs(values: Sequence[Correlation], level: float) -> tuple[float, float, float, float, int, str]:
    """value, lo, hi, n, n_runs, interval of the correlations of several runs."""
    known = [c for c in values if not np.isnan(c.value)]
    if len(known) < 2:
        c = known[0] if known else values[0]
        return c.value, c.lo, c.hi, c.n, len(known), "images" if np.isfinite(c.lo) else ""
    rho, n = np.array([c.value for c in known]), float(np.mean([c.n for c in known]))
    half = stdtrit(len(rho) - 1, (1 + level) / 2) * rho.std(ddof=1) / np.sqrt(len(rho))
    if half == 0:
        return float(rho.mean()), np.nan, np.nan, n, len(rho), ""
    mean = float(rho.mean())
    return mean, max(mean - half, -1.0), min(mean + half, 1.0), n, len(rho), "runs"


def cell_agreement(evals: "DataFrame", level: float = 0.95) -> "DataFrame":
    """Rho of each pair of rates over cells at each run's last evaluation; runs of a cell are averaged. As above."""
    import pandas

    last = last_evaluations(evals)
    rates = pandas.DataFrame({"cell_id": last["cell_id"]})
    for name, (sign, hits, trials) in OF_CELLS.items():
        values = sign * numbers(last, hits, "evals")
        if trials is not None:
            total = numbers(last, trials, "evals")
            values = np.divide(values, total, out=np.full(len(last), np.nan), where=total > 0)
        rates[name] = values
    cells = rates.groupby("cell_id").mean()
    rows = []
    for a, b in combinations(OF_CELLS, 2):
        c = spearman(cells[a].to_numpy(float), cells[b].to_numpy(float), level)
        rows.append(("cells", "", a, b, *c, len(last), "cells" if np.isfinite(c.lo) else ""))
    return pandas.DataFrame(rows, columns=COLUMNS)


def disagreements(read: "DataFrame", most: int = 5) -> "DataFrame":
    """For each pair, the `most` images whose rank differs most: to be looked at.

    rank_first, rank_second: mid-rank among the images of the same run and copies that both instruments read, 0 = least,
    1 = most memorized, averaged over the n_runs in which the image has these copies. Constant columns rank nothing.
    """
    import pandas
    from scipy.stats import rankdata

    tables = []
    for first, second in combinations(OF_IMAGES, 2):
        both = read[read[first].notna() & read[second].notna()]
        groups = both.groupby(["run_id", "copies"])
        telling = (groups[first].transform("nunique") > 1) & (groups[second].transform("nunique") > 1)
        both = both[telling]
        if both.empty:
            continue
        ranks = both[["image_id", "copies"]].copy()
        groups = both.groupby(["run_id", "copies"])
        for rank, name in (("rank_first", first), ("rank_second", second)):
            ranks[rank] = groups[name].transform(lambda v: (rankdata(v) - 1) / (len(v) - 1))
        mean = ranks.groupby(["image_id", "copies"], as_index=False).mean()
        mean["n_runs"] = ranks.groupby(["image_id", "copies"]).size().to_numpy()
        mean["apart"] = (mean["rank_first"] - mean["rank_second"]).abs()
        chosen = mean.sort_values(["apart", "image_id"], ascending=[False, True]).head(most)
        tables.append(chosen.assign(first=first, second=second))
    names = ["first", "second", "image_id", "copies", "rank_first", "rank_second", "apart", "n_runs"]
    return pandas.concat(tables, ignore_index=True)[names] if tables else pandas.DataFrame(columns=names)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where the tables hold no images, or an option or file cannot be used, in one line."""
    made = command_line(
        "analysis.agreement",
        "TABLES --out DIR [options]",
        (__doc__ or "").splitlines()[0],
        "runs --out agreement",
    )
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect")
    made.add_argument(
        "--out", required=True, metavar="DIR", help="for agreement.csv, disagreements.csv, agreement.json, figures"
    )
    made.add_argument("--score", metavar="FILE", help="a table with image_id and the counterfactual score")
    made.add_argument("--score-column", default="Mbar", metavar="COL", help="its column (default Mbar)")
    made.add_argument("--most", type=int, default=5, help="images of a pair in disagreements.csv (default 5)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    options = made.parse_args(argv)
    try:
        message = _write(options)
    except (ValueError, OSError) as error:
        print(f"analysis.agreement: {error}", file=sys.stderr)
        return 2
    print(message)
    return 0


def _write(options: argparse.Namespace) -> str:
    import pandas

    if options.most < 1 or not 0 < options.level < 1:
        raise ValueError(f"--most {options.most} must be 1 or more, --level {options.level:g} between 0 and 1")
    tables, out = load(options.tables), Path(options.out)
    if tables.images.empty:
        raise ValueError(f"{options.tables}: no images table: collect the runs again, with their images.parquet")
    read = readings(tables.images, _score(options.score, options.score_column))
    found = pandas.concat(
        [image_agreement(read, options.level), cell_agreement(tables.evals, options.level)], ignore_index=True
    )
    apart = disagreements(read, options.most)
    out.mkdir(parents=True, exist_ok=True)
    found.to_csv(out / "agreement.csv", index=False)
    apart.to_csv(out / "disagreements.csv", index=False)
    from analysis.pictures.agreement_figures import (
        write_figures,  # matplotlib: a second that a wrong path need not wait for
    )

    figures = write_figures(found, read, apart, tables.pixels, out)
    known = found[found["value"].notna()]
    answer = {
        "level": options.level,
        "n_images": len(read),
        "n_runs": int(read["run_id"].nunique()),
        "figures": figures,
        "agreement": json.loads(known.to_json(orient="records")),
        "disagreements": json.loads(apart.to_json(orient="records")),
    }
    (out / "agreement.json").write_text(json.dumps(answer, indent=2, allow_nan=False) + "\n")
    return f"agreement: {out / 'agreement.csv'} ({len(known)} of {len(found)} pairs measured; {', '.join(figures)})"


def _score(path: str | None, name: str) -> "DataFrame | None":
    import pandas

    if path is None:
        return None
    frame = read_table(path)
    keys = [key for key in ("cell_id", "image_id") if key in frame.columns or key == "image_id"]
    found = pandas.DataFrame({key: column(frame, key, path).astype(str) for key in keys})
    if found.duplicated().any():
        twice = ", ".join(found[found.duplicated()].iloc[0])
        raise ValueError(f"{path}: {twice} stands twice; keep one score of each")
    return found.assign(score=numbers(frame, name, path))


if __name__ == "__main__":
    raise SystemExit(main())
