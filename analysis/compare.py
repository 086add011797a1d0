"""`python -m analysis.compare TABLE --law A --law B …`: which law predicts best what it has not seen?

Every law is fitted to the same rows with one level of a variable left out, and scored on it: the largest levels in turn
(extrapolation, which chooses), and every level in turn (leave one scale out). AICc stands beside them; R2 never.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.columns import TableError, column, numbers, read_table
from analysis.command import answer_json, checked_seed, command_line
from analysis.condition import holds, repeated_rows
from analysis.fitting.estimate import fit
from analysis.fitting.held_out import Score, folds, scored
from analysis.fitting.information import aicc
from analysis.fitting.problem import collinearity
from analysis.fitting.result import FitResult
from analysis.formulas.law import Law
from analysis.laws import LAWS, law
from analysis.questions.answer import plain, sentences

Array = np.ndarray


@dataclass(frozen=True)
class Row:
    """One law of the comparison; `free` counts its free parameters, None: no AICc is defined."""

    law: str
    n: int
    free: int
    aicc: float | None
    delta_aicc: float | None
    extrapolation: Score
    leave_one_scale_out: Score
    status: str


@dataclass(frozen=True)
class Comparison:
    """Every law's row and the law chosen; None where the held-out rows cannot tell it from another, `why` says so."""

    rows: Sequence[Row]
    chosen: str | None
    why: str
    message: str
    criterion: str  # the error that chooses: -log_density, rmse_log or rmse
    fits: Mapping[str, FitResult] = field(repr=False, default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The answer of the command; numbers that are not finite are null, `fits` are left out."""
        return {
            "rows": [{name: _plain(value) for name, value in vars(row).items()} for row in self.rows],
            "chosen": self.chosen,
            "why": self.why,
            "criterion": self.criterion,
            "message": self.message,
        }


def _plain(value: object) -> object:
    return {k: plain(v) for k, v in vars(value).items()} if isinstance(value, Score) else plain(value)


def named_laws(specs: Sequence[str], names: Sequence[str]) -> dict[str, Law]:
    """`LAW[:OPTION][@NAME,…]` -> law, on the variables after @, on its own (chinchilla, power) or on all of `names`.

    Raises ValueError on a variable that is not among `names`.
    """
    made: dict[str, Law] = {}
    for spec in specs:
        bare, _, subset = spec.partition("@")
        known = LAWS.get(bare.partition(":")[0])
        own = known.variables if isinstance(known, Law) else tuple(names)
        wanted = tuple(subset.split(",")) if subset else own
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(
                f"--law {spec} needs the variables {', '.join(wanted)}; the table's are named {', '.join(names)}: "
                f"add --x {missing[0]}=COLUMN, or write {bare}@NAME,… for a law of some of them"
            )
        if spec in made:
            raise ValueError(f"--law {spec} is given twice: compare different laws")
        made[spec] = law(bare, wanted)
    if len(made) < 2:
        raise ValueError("a comparison takes two laws: give --law twice or more")
    return made


def compared(
    laws: Mapping[str, Law],
    x: Mapping[str, Array],
    y: Array,
    trials: Array | None = None,
    *,
    loss: str | None = None,
    cluster: Array | None = None,
    held_out: Array | None = None,
    level: float = 0.95,
    starts: int = 16,
    seed: int = 0,
) -> Comparison:
    """Every law on the same complete rows: x [n] of all laws, y [n] (successes of `trials` [n]).

    `cluster` [n]: rows that share their luck; `held_out` [n]: the rows of the extrapolation instead of the largest.
    """
    loss = loss or ("binomial" if trials is not None else "lsq")
    columns, y, trials, whole = _complete(laws, x, y, trials)
    labels = np.arange(len(y)) if cluster is None else np.asarray(cluster)[whole].astype(str)
    how: dict[str, Any] = {"loss": loss, "level": level, "starts": starts, "seed": seed}
    fits = {
        name: fit(one, {v: columns[v] for v in one.variables}, y, trials=trials, **how) for name, one in laws.items()
    }
    largest, every, skipped = folds(columns)
    if held_out is not None:
        largest = [("held out", _checked(np.asarray(held_out, bool)[whole]))]
    counts = next(iter(fits.values())).problem.trials is not None
    criterion = "-log_density" if counts else "rmse_log" if "log" in loss else "rmse"
    extrapolation, scale = (
        scored(fits, side, labels, criterion=criterion, level=level, starts=starts, seed=seed)
        for side in (largest, every)
    )
    failed = [name for name in laws if (largest and not extrapolation[name].n) or (every and not scale[name].n)]
    said = sentences(
        f"{int(np.sum(~whole))} of {whole.size} rows lack a value and were left out" if not whole.all() else "",
        *skipped,
        f"y is constant ({y[0]:g}): there is nothing to explain" if trials is None and np.ptp(y) == 0 else "",
        *(f"{name}: {said}" for name, result in fits.items() if (said := collinearity(result.problem))),
        "no cluster: every row counts as independent" if cluster is None else "",
        "one cluster: how clusters scatter cannot be told" if cluster is not None and len(set(labels)) < 2 else "",
        f"not scored, since a fit without the held-out rows failed: {', '.join(failed)}" if failed else "",
    )
    rows = _rows(fits, extrapolation, scale)
    return Comparison(rows, *_choice(rows, criterion, level), said, criterion, fits)


def _complete(
    laws: Mapping[str, Law], x: Mapping[str, Array], y: Array, trials: Array | None
) -> tuple[dict[str, Array], Array, Array | None, Array]:
    """Variables of all laws, y and trials of the complete rows, and which rows [n] these are; raises ValueError."""
    needed = dict.fromkeys(variable for one in laws.values() for variable in one.variables)
    columns = {name: np.asarray(x[name], float) for name in needed} | {"y": np.asarray(y, float)}
    if trials is not None:
        columns["trials"] = np.where(np.asarray(trials, float) > 0, trials, np.nan)
    whole = ~np.isnan(np.column_stack(list(columns.values()))).any(1)
    if not whole.any():
        raise ValueError("no complete row: every row lacks a variable of some law, y or trials")
    kept = {name: values[whole] for name, values in columns.items()}
    return {name: kept[name] for name in needed}, kept["y"], kept.get("trials"), whole


def _rows(fits: Mapping[str, FitResult], extrapolation: Mapping[str, Score], scale: Mapping[str, Score]) -> list[Row]:
    criteria = {name: aicc(result) for name, result in fits.items()}
    lowest = min((value for value in criteria.values() if value is not None), default=np.nan)
    return [
        Row(
            law=name,
            n=result.n,
            free=result.free,
            aicc=criteria[name],
            delta_aicc=None if (value := criteria[name]) is None else value - lowest,
            extrapolation=extrapolation[name],
            leave_one_scale_out=scale[name],
            status=str(result.status),
        )
        for name, result in fits.items()
    ]


def _checked(held_out: Array) -> Array:
    if not held_out.any() or held_out.all():
        which = "every" if held_out.any() else "no"
        raise ValueError(f"{which} complete row is held out: leave some to fit and some to score")
    return held_out


def _choice(rows: Sequence[Row], criterion: str, level: float) -> tuple[str | None, str]:
    """The law of lowest extrapolation error, or None, and why."""
    tested = [row for row in rows if row.extrapolation.n]
    best = next((row for row in tested if row.extrapolation.best), None)
    if best is None or len(tested) < 2:
        return None, "cannot tell: fewer than two laws could be scored on rows they were not fitted to"
    near = [row.law for row in tested if row is not best and not (row.extrapolation.lo or 0) > 0]
    if near:
        return None, (
            f"cannot tell: {best.law} predicts the held-out rows best ({criterion}), but the {level:.0%} interval of "
            f"the difference holds 0 for {', '.join(near)}; more clusters, or larger sizes, would tell"
        )
    return best.law, f"{best.law} predicts the held-out rows best ({criterion}); every other law is worse beyond chance"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line(
        "analysis.compare",
        "TABLE --law A --law B … --x NAME=COLUMN --y COLUMN [options]",
        "Which law predicts best what it has not seen? The answer is JSON.",
        "runs.csv --law power --law power_offset --x x=params --y loss",
    )
    made.add_argument("table", help="csv or parquet")
    made.add_argument(
        "--law",
        action="append",
        required=True,
        metavar="LAW",
        help="LAW[:OPTION][@NAME,…] (repeat)",
    )
    made.add_argument("--x", action="append", required=True, metavar="NAME=COLUMN", help="a variable (repeat)")
    made.add_argument("--y", required=True, metavar="COLUMN", help="what is fitted; successes where --trials is given")
    made.add_argument("--trials", metavar="COLUMN", help="trials of each count in --y")
    made.add_argument("--loss", help="as in analysis.fit, the same for all laws")
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument("--cluster", metavar="COL", help="rows that share their luck, usually run_id")
    made.add_argument("--holdout", metavar="COL==VALUE", help="the rows to extrapolate to (default: largest levels)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--out", metavar="F.json", help="where to write (default: standard output)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where the words, the table or a law cannot be used, in one line."""
    options = parser().parse_args(argv)
    return answer_json("analysis.compare", options.out, lambda: _answer(options))


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    variables = {}
    for text in options.x:
        name, sign, source = text.partition("=")
        if not sign or not name or not source or name in variables:
            raise ValueError(f"--x {text!r}: write NAME=COLUMN, each name once")
        variables[name] = source
    laws = named_laws(options.law, list(variables))
    checked_seed(options.seed)
    frame = read_table(options.table)
    for condition in options.where:
        frame = frame[holds(frame, condition)]
    if frame.empty:
        kept = f" by --where {' and '.join(options.where)}" if options.where else ""
        raise TableError(f"{options.table}: no row left{kept}")
    labels = column(frame, options.cluster, options.table) if options.cluster else None
    if labels is not None and labels.isna().any():
        row = frame.index[labels.isna()][0]
        raise TableError(f"{options.table}: column {options.cluster}, row {row} is empty: name its {options.cluster}")
    found = compared(
        laws,
        {name: numbers(frame, source, options.table) for name, source in variables.items()},
        numbers(frame, options.y, options.table),
        numbers(frame, options.trials, options.table) if options.trials else None,
        loss=options.loss,
        cluster=labels.to_numpy() if labels is not None else None,
        held_out=holds(frame, options.holdout) if options.holdout else None,
        level=options.level,
        seed=options.seed,
    ).as_json()
    found["message"] = sentences(found["message"], repeated_rows(frame))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
