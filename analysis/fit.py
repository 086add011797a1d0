"""`python -m analysis.fit TABLE --law LAW --x NAME=COLUMN --y COLUMN`: one law on any csv or parquet table.

The engine is in estimate.py (one fit) and uncertainty.py (bootstrap, predictions); here words become their arguments.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import TableError, column, numbers, read_table
from analysis.command import answer_json, checked_seed, command_line
from analysis.condition import holds, repeated_rows
from analysis.fitting.estimate import fit
from analysis.fitting.predictions import predict
from analysis.fitting.result import FitResult
from analysis.fitting.uncertainty import bootstrap
from analysis.formulas.law import Law
from analysis.laws import LAWS, law
from analysis.rates import checked_counts

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["FitResult", "fit", "main"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line(
        "analysis.fit",
        "TABLE --law LAW --x NAME=COLUMN --y COLUMN [options]",
        "Fit one law to a table; the answer is JSON.",
        "evals.csv --law power_offset --x x=params --y holdout_loss",
    )
    made.add_argument("table", help="csv or parquet")
    made.add_argument("--law", required=True, help=f"{', '.join(LAWS)}; interactions as logistic:A*B")
    made.add_argument(
        "--x", action="append", required=True, metavar="NAME=COLUMN", help="a variable of the law (repeat)"
    )
    made.add_argument("--y", required=True, metavar="COLUMN", help="what is fitted; successes where --trials is given")
    made.add_argument("--trials", metavar="COLUMN", help="trials of each count in --y")
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument("--loss", help="lsq (default), lsq_log, huber_log:DELTA, binomial (default with --trials)")
    made.add_argument("--fix", action="append", default=[], metavar="NAME=VALUE", help="hold a parameter (repeat)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--bootstrap", type=int, default=0, metavar="N", help="intervals from N resamplings of clusters")
    made.add_argument("--cluster", metavar="COL", help="rows that share their luck, usually run_id")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--holdout", metavar="COL==VALUE", help="rows kept out of the fit and scored")
    made.add_argument("--predict", metavar="FILE", help="table of rows to predict, with the same columns")
    made.add_argument("--out", metavar="F.json", help="where to write (default: standard output)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0, also where the status is not ok; 2 where the words, the table or the law cannot be used, in one line."""
    options = parser().parse_args(argv)
    return answer_json("analysis.fit", options.out, lambda: _answer(options))


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    variables = dict(_pairs(options.x, "--x"))
    fixed = {name: _number(text, f"--fix {name}") for name, text in _pairs(options.fix, "--fix")}
    if options.cluster and not options.bootstrap:
        raise ValueError("--cluster says which rows are drawn together and needs --bootstrap N (1000 is usual)")
    if options.bootstrap < 0:
        raise ValueError(f"--bootstrap {options.bootstrap}: the number of draws is 0 or more")
    checked_seed(options.seed)
    chosen = law(options.law, list(variables))
    frame = read_table(options.table)
    for condition in options.where:
        frame = frame[holds(frame, condition)]
    if frame.empty:
        raise TableError(
            f"{options.table}: no row left{' by --where ' + ' and '.join(options.where) if options.where else ''}"
        )
    kept_out = holds(frame, options.holdout) if options.holdout else np.zeros(len(frame), bool)
    fitted, held = frame[~kept_out], frame[kept_out]
    if options.holdout and (fitted.empty or held.empty):
        which = "every" if fitted.empty else "no"
        raise TableError(
            f"--holdout {options.holdout!r} takes {which} row: it must leave some to fit and some to score"
        )
    result = _fitted(options, chosen, fitted, variables, fixed)
    answer = result.as_json()
    answer["holdout"] = _scored(result, held, variables, options)
    answer["predictions"] = (
        _predicted(result, read_table(options.predict), variables, options) if options.predict else []
    )
    said = [result.message, repeated_rows(fitted)]
    unscored = len(held) - answer["holdout"]["n"]
    said.append(f"{unscored} of {len(held)} held-out rows lack a value or a prediction: not scored" * bool(unscored))
    silent = sum(row["value"] is None for row in answer["predictions"])
    count = len(answer["predictions"])
    said.append(f"{silent} of {count} rows of --predict have no prediction" * bool(silent))
    answer["message"] = "; ".join(part for part in said if part)
    return answer


def _fitted(
    options: argparse.Namespace,
    chosen: Law,
    frame: "DataFrame",
    variables: Mapping[str, str],
    fixed: Mapping[str, float],
) -> FitResult:
    x = {name: numbers(frame, source, options.table) for name, source in variables.items()}
    y = numbers(frame, options.y, options.table)
    trials = numbers(frame, options.trials, options.table) if options.trials else None
    result = fit(chosen, x, y, trials=trials, loss=options.loss, fixed=fixed, level=options.level, seed=options.seed)
    if not options.bootstrap:
        return result
    whole = np.all([np.isfinite(part) for part in (*x.values(), y)], axis=0)
    whole &= trials > 0 if trials is not None else True
    labels = column(frame, options.cluster, options.table)[whole] if options.cluster else None
    if labels is not None and labels.isna().any():
        raise TableError(
            f"{options.table}: column {options.cluster} is empty in a row that is fitted: name its cluster"
        )
    return bootstrap(result, labels, draws=options.bootstrap, seed=options.seed)


def _scored(
    result: FitResult, held: "DataFrame", variables: Mapping[str, str], options: argparse.Namespace
) -> dict[str, Any]:
    """Root mean squared error of the rows kept out, and of their logarithms where all are positive."""
    x = {name: numbers(held, source, options.table) for name, source in variables.items()}
    y = numbers(held, options.y, options.table)
    if options.trials:
        trials = numbers(held, options.trials, options.table)
        hits, trials = checked_counts(y, trials, f"{options.table}: {options.y} of {options.trials} in held-out rows")
        y = hits / trials
    with np.errstate(all="ignore"):
        fitted = result.predict(x)
    whole = np.isfinite(y) & np.isfinite(fitted)
    error = (fitted - y)[whole]
    positive = whole.any() and np.all(y[whole] > 0) and np.all(fitted[whole] > 0)
    return {
        "n": int(whole.sum()),
        "rmse": float(np.sqrt(np.mean(error**2))) if whole.any() else None,
        "rmse_log": float(np.sqrt(np.mean(np.log(fitted[whole] / y[whole]) ** 2))) if positive else None,
    }


def _predicted(
    result: FitResult, rows: "DataFrame", variables: Mapping[str, str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    x = {name: numbers(rows, source, options.predict) for name, source in variables.items()}
    if rows.empty:
        raise TableError(f"{options.predict}: no row to predict; give one row for each prediction")
    for name, values in x.items():
        bad = np.flatnonzero((values <= result.law.domain[0]) | (values >= result.law.domain[1]))
        if bad.size:
            raise TableError(
                f"{options.predict}: column {variables[name]}, row {bad[0]} is {values[bad[0]]:g}, where "
                f"{result.law.name} has no value: correct or remove the row"
            )
    trials = numbers(rows, options.trials, options.predict) if options.trials in rows.columns else None
    bad = np.flatnonzero(~(trials > 0)) if trials is not None else bad[:0]
    if trials is not None and len(bad):
        raise TableError(
            f"{options.predict}: column {options.trials}, row {bad[0]} is {trials[bad[0]]:g}: a rate needs 1 trial or "
            f"more; without the column the run's own rate is predicted"
        )
    found = predict(result, x, trials=trials, seed=options.seed)
    return [
        {
            "row": row,
            **{name: _json(getattr(found, name)[row]) for name in ("value", "lo", "hi")},
            "extrapolated": bool(found.extrapolated[row]),
        }
        for row in range(len(rows))
    ]


def _json(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    pairs = [text.split("=", 1) for text in texts]
    for text, pair in zip(texts, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise ValueError(f"{option} {text!r}: write NAME={'COLUMN' if option == '--x' else 'VALUE'}")
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"{option}: {', '.join(names)} names a thing twice; each name once")
    return [(name, value) for name, value in pairs]


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what}={text!r} is no number") from None


if __name__ == "__main__":
    raise SystemExit(main())
