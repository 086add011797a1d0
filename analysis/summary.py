"""What a study's tables say at a glance: last evaluations, pooled rates, the fitted curves, the keys that vary."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.fitting.estimate import fit
from analysis.fitting.left_out import left_out
from analysis.fitting.problem import LARGEST_CONDITION, condition_number
from analysis.fitting.result import FitResult
from analysis.fitting.uncertainty import bootstrap
from analysis.laws import law
from analysis.rates import effective_trials, wilson
from analysis.table import Tables
from analysis.words import number, several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
SETTING = ("design", "n_unique", "n_train", "images_seen")
FEWEST_ROWS, FEWEST_RUNS = 4, 3  # below this no curve is fitted


def last_evaluations(frame: "DataFrame") -> "DataFrame":
    """The rows of each run's last evaluation, in order of run; of an audited model (clock not known) its only one."""
    latest = frame.groupby("run_id")["images_seen"].transform("max")
    return frame[(frame["images_seen"] == latest) | latest.isna()].reset_index(drop=True)


def holdout_minima(evals: "DataFrame") -> "DataFrame":
    """Each run's evaluation of lowest holdout_loss among those that saw images; runs without it are left out."""
    measured = evals[evals["holdout_loss"].notna() & (evals["images_seen"] > 0)]
    return measured.loc[measured.groupby("run_id")["holdout_loss"].idxmin()].reset_index(drop=True)


def pooled_rates(
    frame: "DataFrame", by: Sequence[str], hits: str, trials: str, *, overdispersion: float = 0.0, level: float = 0.95
) -> "DataFrame":
    """Columns `by`, n_runs, hits, trials, rate, lo, hi: counts added over runs, rows without a count left out.

    Samples of one run share its weights: the interval is that of n/(1 + (n - 1) c) trials, c = `overdispersion`.
    """
    known = frame[frame[hits].notna() & (frame[trials] > 0)]
    known = known.assign(_effective=effective_trials(known[trials].to_numpy(), overdispersion))
    pooled = known.groupby(list(by), as_index=False).agg(
        n_runs=("run_id", "nunique"), hits=(hits, "sum"), trials=(trials, "sum"), effective=("_effective", "sum")
    )
    share = pooled["hits"] / pooled["trials"]
    found = wilson(share * pooled["effective"], pooled["effective"], level)
    return pooled.assign(rate=share, lo=found.lo, hi=found.hi).drop(columns="effective")


def main_setting(
    rows: "DataFrame", keys: Sequence[str] = SETTING, counts: tuple[str, str] | None = ("n_memorized", "n_generated")
) -> tuple["DataFrame", str]:
    """The rows of the setting with most of them, and in words which it is where there are others.

    Of settings with equally many rows the one that tells most of the response: whose rate, hits over trials named by
    `counts`, has the largest standard deviation over its cells; where no rate tells (None), the largest training set.
    """
    groups = rows.groupby(list(keys), dropna=False)
    if groups.ngroups < 2:
        return rows, ""
    sizes, label = groups.size(), groups.ngroup()
    most = np.flatnonzero(sizes.to_numpy() == sizes.max())
    spreads = [_spread(rows[label == k], *counts) if counts else 0.0 for k in most]
    chosen = int(most[np.flatnonzero(np.equal(spreads, max(spreads)))[-1]])
    values = sizes.index[chosen] if len(keys) > 1 else (sizes.index[chosen],)
    return rows[label == chosen], f" of the setting {setting_words(keys, values)} (one of {len(sizes)})"


def setting_words(keys: Sequence[str], values: Sequence[Any]) -> str:
    """design spectrum, n_unique 512."""
    said = [number(v, 6) if isinstance(v, int | float) else v for v in values]
    return ", ".join(f"{key} {value}" for key, value in zip(keys, said, strict=True))


def _spread(rows: "DataFrame", hits: str, trials: str) -> float:
    """Standard deviation of the pooled rate over params and copies; 0 where nothing was counted."""
    if not {hits, trials, "params", "copies"} <= set(rows.columns):
        return 0.0
    known = rows[rows[hits].notna() & (rows[trials] > 0)]
    counts = known.groupby(["params", "copies"], dropna=False)[[hits, trials]].sum()
    return float((counts[hits] / counts[trials]).std(ddof=0)) if len(counts) else 0.0


def null_rate(tables: Tables, hits: str, trials: str) -> float | None:
    """The null's rate over the last evaluations; None where it was not measured."""
    rows = last_evaluations(tables.evals)
    rows = rows[rows[hits].notna() & (rows[trials] > 0)]
    return float(rows[hits].sum() / rows[trials].sum()) if len(rows) else None


@dataclass(frozen=True)
class StudyFit:
    """One fitted curve of the report."""

    name: str
    title: str
    response: str  # in words
    result: FitResult
    fixed_at: Mapping[str, float]  # variables that did not vary, or were left out: their value
    held_out: "DataFrame | None" = None  # of `held_out_sizes`; None: no size could be


def study_fits(tables: Tables, *, draws: int, level: float, seed: int) -> tuple[list[StudyFit], list[str]]:
    """The logistic laws of recovery (by stratum) and of memorized samples (by cell), and why one is not there."""
    cells = with_exposures(tables.evals, tables.strata)
    asked = (
        ("recovery", "Recovery of a stratum's images", "n_basin_recovered / n_basin, by stratum", tables.strata,
         ("run_id", "copies"), "n_basin_recovered", "n_basin",
         ("params", "copies", "images_seen", "n_unique", "n_train")),
        ("memorized", "Memorized share of generated samples", "n_memorized / n_generated, by cell", cells,
         ("run_id",), "n_memorized", "n_generated", ("params", "exposures", "n_unique")),
    )  # fmt: skip
    found, missing = [], []
    for name, title, response, frame, keys, hits, trials, variables in asked:
        rows = last_evaluations(frame)
        rows = rows[rows[hits].notna() & (rows[trials] > 0) & (rows["images_seen"] > 0)]
        varied = [v for v in variables if rows[v].notna().all() and (rows[v] > 0).all() and rows[v].nunique() > 1]
        if len(rows) < max(FEWEST_ROWS, len(varied) + 2) or rows["run_id"].nunique() < FEWEST_RUNS or not varied:
            missing.append(
                f"No curve of “{response}”: {several(len(rows), 'row')} of "
                f"{several(rows['run_id'].nunique(), 'run')}, in which "
                f"{', '.join(varied) if varied else 'nothing'} varies; it takes {FEWEST_RUNS} runs and a variable "
                f"that varies."
            )
            continue
        dropped = _collinear_last(rows, varied)
        kept = [v for v in varied if v not in dropped]
        result = fit(
            law("logistic", kept), {v: rows[v].to_numpy(float) for v in kept}, rows[hits].to_numpy(float),
            trials=rows[trials].to_numpy(float), level=level, seed=seed, starts=16,
        )  # fmt: skip
        if result.status == "ok":
            result = bootstrap(result, rows["run_id"].to_numpy(), draws=draws, seed=seed)
        held_out = held_out_sizes(result, rows, keys, seed)
        if dropped:
            missing.append(
                f"“{response}”: {', '.join(dropped)} moves together with {', '.join(kept)} in these runs: which "
                f"of them has the effect cannot be told, so the curve has the latter only; runs in which they differ "
                f"would tell."
            )
        values = {v: float(rows[v].median()) for v in variables if v not in kept and rows[v].notna().any()}
        found.append(StudyFit(name, title, response, result, values, held_out))
    return found, missing


def held_out_sizes(result: FitResult, rows: "DataFrame", keys: Sequence[str], seed: int) -> "DataFrame | None":
    """`rows` (those fitted) of each size as the law predicts them that was fitted without this size.

    Columns `keys`, predicted, lo, hi (of the rate of one new run), extrapolated; None where no size can be held out.
    """
    if result.status != "ok":
        return None
    found = left_out(result, "params", rows["run_id"].to_numpy(), seed=seed)
    made = rows[list(keys)].assign(
        predicted=found.value, lo=found.lo, hi=found.hi, extrapolated=found.extrapolated
    )  # fmt: skip
    made = made[made[["predicted", "lo", "hi"]].notna().all(axis=1)].reset_index(drop=True)
    return made if len(made) else None


def with_exposures(evals: "DataFrame", strata: "DataFrame") -> "DataFrame":
    """`evals` with exposures: of the image behind an average draw of training, images_seen sum r^2/N^2; NaN unknown."""
    weighted = strata.assign(exposures=strata["exposures"] * strata["n_images"] * strata["copies"] / strata["n_train"])
    mean = weighted.groupby(["run_id", "images_seen"], as_index=False)["exposures"].agg(
        lambda v: v.sum(min_count=len(v))
    )
    return evals.merge(mean, on=["run_id", "images_seen"], how="left")


def _collinear_last(rows: "DataFrame", varied: Sequence[str]) -> list[str]:
    """Variables, from the end of the list, that a design in logarithms cannot tell from the ones before them."""
    kept: list[str] = []
    for name in varied:
        if condition_number([np.log(rows[v].to_numpy(float)) for v in (*kept, name)]) <= LARGEST_CONDITION:
            kept.append(name)
    return [name for name in varied if name not in kept]


def varied_keys(evals: "DataFrame") -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """Configuration keys with more than one value over the runs (key -> values in order), and the configurations."""
    configs = [json.loads(text) for text in dict.fromkeys(evals["config"].dropna())]
    flat = [dict(flat_configuration(config)) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    varied = {}
    for key in keys:
        values = {json.dumps(one.get(key)): one.get(key) for one in flat}
        if len(values) > 1:
            varied[key] = sorted(
                values.values(), key=lambda v: (isinstance(v, str), v is not None, v if _orders(v) else 0)
            )
    return varied, configs


def _orders(value: object) -> bool:
    return isinstance(value, int | float | str)


def flat_configuration(config: object, prefix: str = "") -> list[tuple[str, object]]:
    """(dotted key, value) of every leaf; a list is one."""
    if not isinstance(config, dict):
        return [(prefix, config)]
    return [
        pair
        for key, value in config.items()
        for pair in flat_configuration(value, f"{prefix}.{key}" if prefix else key)
    ]


def duplicated_recovery(tables: Tables, evals: "DataFrame") -> "DataFrame":
    """`evals` with y, y_trials: recovered chains of images with copies > 1 (all images where there are none)."""
    strata = tables.strata[tables.strata["n_basin_recovered"].notna() & (tables.strata["n_basin"] > 0)]
    more = strata[strata["copies"] > 1]
    strata = more if len(more) else strata
    counts = strata.groupby(["run_id", "images_seen"], as_index=False)[["n_basin_recovered", "n_basin"]].sum()
    counts = counts.rename(columns={"n_basin_recovered": "y", "n_basin": "y_trials"})
    return evals.merge(counts, on=["run_id", "images_seen"], how="inner")
