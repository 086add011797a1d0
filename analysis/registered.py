"""Predictions written down before their runs are trained, and what came of them: `python -m analysis.registered`.

    predict TABLES ROWS.csv --out PREDICTION.csv     ROWS.csv: `scaling.sweep SWEEP --dry-run --rows ROWS.csv`
    score PREDICTION.csv TABLES                      coverage and error, beside naive predictions

A stratum's recovery and a cell's memorized share are predicted, each by the logistic law of the last evaluations of one
setting's runs, with the interval of the rate measured in one new run: parameters, luck of the run, counting noise.
Where ROWS.csv has n_ideal_basin_recovered (what the ideal denoiser of the training set brings back: known before any
training), recovery is also predicted as a share of that ceiling.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import TableError, read_table
from analysis.command import answer_json, checked_seed, command_line
from analysis.fitting.estimate import fit
from analysis.fitting.predictions import predict as predicted
from analysis.fitting.result import FitResult, Status
from analysis.fitting.uncertainty import by_run
from analysis.laws import law
from analysis.questions.comparable import clustered_mean
from analysis.questions.observations import observations
from analysis.summary import last_evaluations, with_exposures
from analysis.table import Tables, load

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
LEVEL = 0.9
DRAWS = 2000  # of clusters, for the coverage's interval


@dataclass(frozen=True)
class Predicted:
    """What is predicted by which variables; `key`: the columns that name a row of it."""

    name: str
    response: str  # of `observations`: where its rows are
    hits: str
    trials: str
    variables: tuple[str, ...]
    key: tuple[str, ...]


_BY_STRATUM = ("params", "copies", "images_seen", "n_unique", "n_train"), ("run_id", "copies")
STRATUM = Predicted("recovery", "stratum", "n_basin_recovered", "n_basin", *_BY_STRATUM)
# What the optimal denoiser does not bring back, a network does not: of 954 strata of study 1 three beat it, by a chain.
CEILING = Predicted("recovery of ceiling", "stratum", "n_basin_recovered", "n_ideal_basin_recovered", *_BY_STRATUM)
# images_seen has no term of its own: exposures of the image behind an average draw hold it (summary.with_exposures).
CELL = Predicted(
    "memorized", "cell", "n_memorized", "n_generated", ("params", "exposures", "n_unique"), ("run_id",)
)  # fmt: skip
RESPONSES = (STRATUM, CEILING, CELL)
NAIVE = ("nearest_cell", "log_linear")


def predictions(tables: Tables, planned: "DataFrame", *, level: float = LEVEL, seed: int = 0) -> "DataFrame":
    """One row a stratum and one a run of `planned` (strata to come): value, lo, hi of its rates, and naive values.

    Columns: response, run_id, cell_id, copies (missing for a cell), the variables, trials, value, lo, hi, extrapolated,
    nearest_cell (the mean rate of the trained rows nearest in standardised logarithms) and log_linear (least squares on
    ln of the variables, cut to [0, 1]). What the runs will not measure is not predicted. Raises TableError on missing
    columns and on runs that are in `tables` already, ValueError where no law is found.
    """
    import pandas

    known = sorted(set(tables.evals["run_id"]) & set(_checked(planned)["run_id"]))
    if known:
        raise TableError(f"{len(known)} of the runs to predict are among the runs known ({known[0]} …): what was seen "
                         f"is no prediction; name tables without them")  # fmt: skip
    parts = []
    for one in RESPONSES:
        if one is CEILING and CEILING.trials not in planned.columns:
            continue
        rows = _to_predict(planned, one)
        if rows.empty:
            continue
        trained = _trained(tables, one)
        x, new = _columns(trained, one), _columns(rows, one)
        result = _law(trained, one, x, level, seed)
        found = predicted(result, new, trials=rows[one.trials].to_numpy(float), seed=seed)
        rate = trained[one.hits].to_numpy(float) / trained[one.trials].to_numpy(float)
        rows = rows.assign(
            response=one.name, trials=rows[one.trials], value=found.value, lo=found.lo, hi=found.hi,
            extrapolated=found.extrapolated, nearest_cell=nearest(x, rate, new), log_linear=log_linear(x, rate, new),
        )  # fmt: skip
        parts.append(rows)
    if not parts:
        raise TableError("no row has trials: the runs to come measure neither basin nor neighbors")
    names = ("response", "run_id", "cell_id", "copies", "params", "images_seen", "n_unique", "n_train", "exposures")
    kept = [*names, "trials", "value", "lo", "hi", "extrapolated", *NAIVE]
    return pandas.concat(parts, ignore_index=True).reindex(columns=kept)


def _trained(tables: Tables, one: Predicted) -> "DataFrame":
    """The last evaluations of the setting with most runs, with the columns of `one`."""
    found = observations(tables, one.response).frame
    if one is CELL:
        found = with_exposures(found, tables.strata)
    return _countable(found[found[list(one.variables)].notna().all(axis=1)], one)


def _countable(frame: "DataFrame", one: Predicted) -> "DataFrame":
    """The rows with trials; a network that beats the ceiling by a chain counts as reaching it."""
    frame = frame[frame[one.trials] > 0].reset_index(drop=True)
    return frame.assign(**{one.hits: frame[one.hits].clip(upper=frame[one.trials])}) if one is CEILING else frame


def _checked(planned: "DataFrame") -> "DataFrame":
    needed = {*STRATUM.variables, *STRATUM.key, "cell_id", "n_images", "exposures", "n_basin", "n_generated"}
    if missing := sorted(needed - set(planned.columns)):
        raise TableError(f"no column {', '.join(missing)}: make the rows by scaling.sweep SWEEP --dry-run --rows F.csv")
    return planned


def _to_predict(planned: "DataFrame", one: Predicted) -> "DataFrame":
    """The rows of `planned` that this response will be measured of."""
    if one is not CELL:
        return planned[planned[one.trials] > 0].reset_index(drop=True)
    runs = planned[planned[CELL.trials] > 0].drop_duplicates("run_id").drop(columns=["exposures", "copies"])
    return with_exposures(runs, planned).reset_index(drop=True)


def _columns(frame: "DataFrame", one: Predicted) -> dict[str, Array]:
    return {name: frame[name].to_numpy(float) for name in one.variables}


def _law(trained: "DataFrame", one: Predicted, x: Mapping[str, Array], level: float, seed: int) -> FitResult:
    hits, trials = (trained[name].to_numpy(float) for name in (one.hits, one.trials))
    result = fit(law("logistic", one.variables), x, hits, trials=trials, level=level, seed=seed)
    if result.status != Status.OK:
        raise ValueError(f"{one.name}: no law to predict by: {result.message or result.status}")
    return by_run(result, trained["run_id"].to_numpy())


def nearest(x: Mapping[str, Array], rate: Array, new: Mapping[str, Array]) -> Array:
    """For each new point the mean of `rate` [n] over the trained points nearest in standardised logarithms: [r]."""
    known, asked = (np.log(np.stack([columns[name] for name in x], axis=1)) for columns in (x, new))
    spread = known.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    apart = np.linalg.norm((asked[:, None] - known[None]) / scale, axis=2)
    tied = apart <= apart.min(axis=1, keepdims=True) + 1e-9
    return np.asarray((tied * rate).sum(axis=1) / tied.sum(axis=1))


def log_linear(x: Mapping[str, Array], rate: Array, new: Mapping[str, Array]) -> Array:
    """Least squares of `rate` [n] on the logarithms, at the new points [r], cut to [0, 1]."""
    known, asked = (
        np.column_stack([np.ones(len(next(iter(c.values())))), *(np.log(c[name]) for name in x)]) for c in (x, new)
    )
    return np.clip(asked @ np.linalg.lstsq(known, rate, rcond=None)[0], 0, 1)


def observed(prediction: "DataFrame", tables: Tables) -> "DataFrame":
    """`prediction` with hits and rate as measured at each run's last evaluation; rows not measured have NaN."""
    parts = []
    for one in RESPONSES:
        rows = prediction[prediction["response"] == one.name]
        frame = _countable(last_evaluations(tables.evals if one is CELL else tables.strata), one)
        measured = frame[[*one.key, "images_seen", one.hits, one.trials]].rename(
            columns={one.hits: "hits", one.trials: "measured_trials"}
        )
        parts.append(rows.merge(measured, on=[*one.key, "images_seen"], how="left", validate="one_to_one"))
    import pandas

    found = pandas.concat(parts, ignore_index=True)
    return found.assign(rate=found["hits"] / found["measured_trials"])


def outcome(prediction: "DataFrame", tables: Tables, *, level: float = LEVEL, seed: int = 0) -> list[dict[str, Any]]:
    """For each response: n predicted, n measured, coverage of the intervals, root mean squared errors, each with ends.

    `could_miss`: coverage over rows whose interval is not [0, 0], where a miss on either side was possible; `beyond`:
    over those outside the range fitted. `worse`: mean squared error of a naive value minus that of the prediction; its
    interval above 0 says that the prediction is better. Every interval is of 95 % and over runs: strata of one run
    share its luck; None where one run tells no spread.
    """
    rows, found = observed(prediction, tables), []
    for one in RESPONSES:
        part = rows[rows["response"] == one.name]
        if part.empty:
            continue
        known = part[part["rate"].notna()]
        inside = ((known["lo"] - 1e-12 <= known["rate"]) & (known["rate"] <= known["hi"] + 1e-12)).to_numpy(float)
        rate, seen = known["rate"].to_numpy(float), Over(known["run_id"].to_numpy(), seed)
        squares = {name: (known[name].to_numpy(float) - rate) ** 2 for name in ("value", *NAIVE)}
        everywhere = np.ones(len(known), bool)
        found.append({
            "response": one.name, "n": len(part), "n_measured": len(known), "level": level,
            "coverage": seen.share(inside, everywhere), "could_miss": seen.share(inside, known["hi"].to_numpy() > 0),
            "beyond": seen.share(inside, known["extrapolated"].to_numpy(bool)),
            "rmse": {name: seen.root(square) for name, square in squares.items()},
            "worse": {name: seen.mean(squares[name] - squares["value"], everywhere) for name in NAIVE},
        })  # fmt: skip
    return found


@dataclass(frozen=True)
class Over:
    """Means over rows whose runs [n] share their luck, as n, value, lo, hi for JSON."""

    runs: Array
    seed: int

    def mean(self, values: Array, kept: Array) -> dict[str, Any]:
        """Of values [n] where `kept` [n]."""
        if not kept.any():
            return {"n": 0, "value": None, "lo": None, "hi": None}
        found = clustered_mean(values[kept], self.runs[kept], level=0.95, draws=DRAWS, seed=self.seed)
        ends = [None if np.isnan(end) else float(end) for end in (found.lo, found.hi)]
        return {"n": int(kept.sum()), "value": found.value, "lo": ends[0], "hi": ends[1]}

    def share(self, hits: Array, kept: Array) -> dict[str, Any]:
        """The same of truths, the ends inside [0, 1]."""
        found = self.mean(hits, kept)
        return found | {end: None if found[end] is None else min(max(found[end], 0.0), 1.0) for end in ("lo", "hi")}

    def root(self, squares: Array) -> dict[str, Any]:
        """The root of the mean of squares [n], and of its ends; below 0 they are 0."""
        found = self.mean(squares, np.ones(len(squares), bool))
        return {
            key: value if key == "n" or value is None else float(np.sqrt(max(value, 0.0)))
            for key, value in found.items()
        }


def _parser() -> argparse.ArgumentParser:
    made = command_line(
        "analysis.registered", "predict TABLES ROWS.csv | score PREDICTION.csv TABLES [options]",
        "Predict the rates of runs that nobody trained yet, or score such predictions once the runs are there.",
        "predict tables rows.csv --out prediction.csv",
    )  # fmt: skip
    made.add_argument("what", choices=("predict", "score"))
    made.add_argument("first", metavar="TABLES|PREDICTION.csv", help="what is known; for score, what was predicted")
    made.add_argument("second", metavar="ROWS.csv|TABLES", help="the strata to come; for score, what was measured")
    made.add_argument("--level", type=float, default=LEVEL, help="of the prediction intervals (default .9)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--out", metavar="FILE", help="csv of the predictions, or JSON of the score")
    return made


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    checked_seed(options.seed)
    if not 0 < options.level < 1:
        raise ValueError(f"--level {options.level:g} must lie in (0, 1)")
    how = dict(level=options.level, seed=options.seed)
    if options.what == "score":
        return {"outcome": outcome(read_table(options.first), load(options.second), **how)}
    if not options.out:
        raise ValueError("--out: missing; name the csv of the predictions, to be kept before the runs are trained")
    found = predictions(load(options.first), read_table(options.second), **how)
    found.to_csv(Path(options.out), index=False, float_format="%.6g", lineterminator="\n")
    counts = found["response"].value_counts()
    return {"predicted": {name: int(counts[name]) for name in counts.index}, "level": options.level,
            "out": options.out}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where the tables or rows cannot be used."""
    options = _parser().parse_args(argv)
    shown = options.out if options.what == "score" else None
    return answer_json("analysis.registered", shown, lambda: _answer(options))


if __name__ == "__main__":
    raise SystemExit(main())
