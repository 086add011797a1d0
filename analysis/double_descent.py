"""Does a curve rise and fall a second time: along params, n_unique or images_seen, for any column, group by group.

`python -m analysis.double_descent TABLE --x COL --y COL` writes present, absent or cannot_tell (measures.md 3.3).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import TableError, check_magnitude, column, numbers, read_table
from analysis.command import answer_json, checked_seed, command_line
from analysis.condition import holds, repeated_rows
from analysis.descent.noise import Given, Noise, Replicates, blocks
from analysis.descent.overfitting import along, malign_overfitting
from analysis.descent.verdict import FEWEST_X, Question, Verdict, judged, unjudged
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
NO_ROWS = np.zeros(0, int)
RUN = "run_id"  # the replicate where no other is named: evaluations of one run are no replicates of each other


def predicted_threshold(n_unique: float, noise_draws: float | None, d: int) -> float | None:
    """Parameters at which m frozen draws a unique image put the peak: n m d (d = 1: random features, p = n m).

    None for fresh noise (m = null): a U shape, no peak (Urfin et al. 2026). Raises ValueError on n, m, d <= 0.

    >>> predicted_threshold(64, 4, d=8 * 8)  # 64 digits, 4 draws each
    16384.0
    """
    if noise_draws is None or np.isnan(noise_draws):
        return None
    if not (n_unique > 0 and noise_draws > 0 and d > 0):
        raise ValueError(f"n_unique={n_unique:g}, noise_draws={noise_draws:g}, d={d:g}: all three must be above 0")
    return float(n_unique * noise_draws * d)


def verdicts(
    frame: "DataFrame",
    *,
    x: str,
    y: str,
    group: str | None = None,
    replicate: str | None = None,
    se: str | None = None,
    log_x: bool = False,
    window: tuple[float, float] | None = None,
    valley: tuple[float, float] | None = None,
    predicted: float | str | None = None,
    train_loss: str | None = None,
    memorized: str | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    where: str = "the table",
) -> list[dict[str, Any]]:
    """The `groups` of design.md section 6. predicted: where theory puts the peak, a number or a column of it.

    Rows of one replicate at several x are one run, with correlated noise; of one replicate at one x they are averaged.
    """
    _checked(window, valley, level, draws)
    replicate = RUN if replicate is None and RUN in frame.columns else replicate
    used = {"x": x, "y": y, "se": se, "train": train_loss, "memorized": memorized}
    values = {name: numbers(frame, source, where) for name, source in used.items() if source}
    labels = column(frame, replicate, where) if replicate else None
    _refused(frame, values, x, se, log_x)
    question = Question(window=window, valley=valley, level=level, draws=draws, seed=seed)
    found = []
    for label, rows in _groups(frame, group, where):
        part = {name: whole[rows] for name, whole in values.items()}
        asked = replace(question, predicted=_predicted(frame, predicted, rows, label))
        ids = labels.iloc[rows].to_numpy(object) if labels is not None else None
        verdict = _verdict(part, ids, asked, {"replicate": replicate or "", "memorized": memorized or ""})
        notes = [repeated_rows(frame.iloc[rows])]
        if group and label is None:
            notes.append(f"these rows have no {group}")
        why = "; ".join(text for text in (verdict.why, *notes) if text)
        found.append({"group": label, **replace(verdict, why=why).as_json()})
    return found


def _verdict(part: Mapping[str, Array], ids: Array | None, question: Question, names: Mapping[str, str]) -> Verdict:
    needed = [part[name] for name in ("x", "y", "se") if name in part]
    whole = np.all([~np.isnan(values) for values in needed], axis=0)
    if ids is not None:
        whole &= np.array([label is not None and label == label for label in ids], bool)
    notes = [f"{several(np.sum(~whole), 'row')} left out: a value is missing"] if not whole.all() else []
    part = {name: values[whole] for name, values in part.items()}
    x, place = np.unique(part["x"], return_inverse=True)
    table, runs, averaged = _by_replicate(part["y"], place, ids[whole] if ids is not None else None, len(x))
    if averaged:
        notes.append(f"{averaged} further rows of the same {names['replicate']} at the same x were averaged with it")
    n = np.sum(~np.isnan(table), axis=0)
    size = len(x), int(n.min(initial=len(table)))
    mean = np.nanmean(table, axis=0) if len(x) else np.zeros(0)
    noise = _noise(x, table, runs, part, place)
    if len(x) < FEWEST_X:
        noise = f"{len(x)} different x: {FEWEST_X} or more are needed to see two falls and a rise"
    if isinstance(noise, str):
        verdict = unjudged(x, mean, size, question, noise)
    else:
        verdict = judged(noise, size, question)
        if "train" in part:
            train = np.interp(noise.x, x, _mean_at(part["train"], place, len(x))[0])
            notes.insert(0, malign_overfitting(noise, train, question.level))
    if "memorized" in part and len(x):
        at = {"first minimum": verdict.first_min_x, "peak": verdict.peak_x, "last x": float(x[-1])}
        notes.insert(0, along(names["memorized"], x, *_mean_at(part["memorized"], place, len(x)), at))
    return replace(verdict, why="; ".join([verdict.why, *notes]))


def _noise(x: Array, table: Array, runs: bool, part: Mapping[str, Array], place: Array) -> Noise | str:
    """How noisy the means are, or in words why nobody knows; table [R K]."""
    n = np.sum(~np.isnan(table), axis=0)
    spread = np.nanmax(table, axis=0) - np.nanmin(table, axis=0) if len(x) else np.zeros(0)
    # Where most x have one value, given standard errors know more than the few replicates.
    replicated = np.sum(n - 1) >= 2 and ("se" not in part or np.mean(n > 1) >= 0.5)
    if replicated and not np.any(spread > 1e-12 * np.abs(table[~np.isnan(table)]).max()):
        return "all replicates agree to the last digit: copies of one run do not show its noise"
    if replicated:
        return Replicates(x, table, runs)
    if "se" in part:
        count = np.bincount(place, minlength=len(x))
        return Given(x, np.nanmean(table, axis=0), np.sqrt(np.bincount(place, part["se"] ** 2)) / count)
    if len(x) and n.max() == 1 and (len(table) == 1 or not runs):
        found = blocks(x, np.nanmean(table, axis=0))
        if not isinstance(found, str) and not found.se[0] > 0:
            return "the curve has no noise at all: nothing to judge a peak against"
        return found
    return "too few replicates to know the noise: train each x with two seeds or more, or give --se"


def _by_replicate(y: Array, place: Array, ids: Array | None, size: int) -> tuple[Array, bool, int]:
    """y as [R K] (a row a run where ids recur along x, else in order of appearance), runs?, rows averaged away."""
    if ids is None:
        row = _order_within(place)
        averaged = 0
        runs = False
    else:
        names, row = np.unique(ids.astype(str), return_inverse=True)
        pairs, first = np.unique(np.stack([row, place], axis=1), axis=0, return_inverse=True)
        averaged = len(y) - len(pairs)
        y = np.bincount(first.ravel(), y) / np.bincount(first.ravel()) if len(y) else y
        runs = len(pairs) > len(names)
        place = pairs[:, 1]
        row = pairs[:, 0] if runs else _order_within(place)
    table = np.full((int(row.max(initial=0)) + 1, size), np.nan)
    table[row, place] = y
    return table, runs, averaged


def _order_within(place: Array) -> Array:
    """0, 1, 2, ... for the rows of each place, in their order."""
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], place[order])
    counted = np.empty(len(place), int)
    counted[order] = np.arange(len(place)) - first
    return counted


def _mean_at(values: Array, place: Array, size: int) -> tuple[Array, Array]:
    """Mean and its standard error at each x, of what was measured."""
    known = ~np.isnan(values)
    n = np.bincount(place[known], minlength=size).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(place[known], values[known], minlength=size) / n
        squares = np.bincount(place[known], (values - mean[place])[known] ** 2, minlength=size)
        return mean, np.sqrt(np.where(n > 1, squares, np.nan) / (n - 1) / n)


def _groups(frame: "DataFrame", group: str | None, where: str) -> list[tuple[object, Array]]:
    if group is None:
        return [(None, np.arange(len(frame)))]
    found = frame.groupby(column(frame, group, where).to_numpy(), dropna=False, sort=True).indices
    plain = [(label.item() if isinstance(label, np.generic) else label, rows) for label, rows in found.items()]
    return [(None if label != label else label, rows) for label, rows in plain]


def _predicted(frame: "DataFrame", predicted: float | str | None, rows: Array, label: object) -> float | None:
    if isinstance(predicted, str):
        found = np.unique(numbers(frame, predicted)[rows])
        found = found[~np.isnan(found)]
        if len(found) > 1:
            raise ValueError(
                f"column {predicted} holds {len(found)} values, {found[0]:g} to {found[-1]:g}"
                f"{'' if label is None else f' in group {label}'}: one curve has one predicted peak; use --group"
            )
        predicted = float(found[0]) if len(found) else None
    if predicted is not None and not predicted > 0:
        raise ValueError(f"predicted peak {predicted:g}: must be above 0, as x there")
    return predicted


def _checked(window: tuple[float, float] | None, valley: tuple[float, float] | None, level: float, draws: int) -> None:
    if (window is None) != (valley is None):
        raise ValueError("--window and --valley go together: the confirmatory test compares the one with the other")
    if window is not None and valley is not None and not valley[1] < window[0]:
        raise ValueError(f"--valley {valley} must end before --window {window} begins: the first minimum comes first")
    if not 0.5 < level < 1:
        raise ValueError(f"--level {level:g}: must lie between .5 and 1")
    if draws < 200:
        raise ValueError(f"--draws {draws}: a p-value near {1 - level:.2g} needs 200 draws or more")


def _refused(frame: "DataFrame", values: Mapping[str, Array], x: str, se: str | None, log_x: bool) -> None:
    if not len(frame):
        raise TableError("no row left: nothing to judge")
    if np.isnan(values["x"]).all() or np.isnan(values["y"]).all():
        raise TableError(f"column {x} or the curve's column is empty in every row: nothing to judge")
    check_magnitude(values["y"], "the curve's column")
    bad = np.flatnonzero(values["x"] <= 0) if log_x else NO_ROWS
    if len(bad):
        raise TableError(
            f"--log-x: column {x}, row {frame.index[bad[0]]} holds {values['x'][bad[0]]:g}, which has no logarithm; "
            f"keep the others with --where '{x}>0'"
        )
    bad = np.flatnonzero(values["se"] <= 0) if se else NO_ROWS
    if len(bad):
        raise TableError(
            f"column {se}, row {frame.index[bad[0]]} holds {values['se'][bad[0]]:g}: a standard error is above 0; "
            f"leave the cell empty if it is not known"
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line(
        "analysis.double_descent",
        "TABLE --x COL --y COL [options]",
        "Does a curve rise and fall a second time? present, absent or cannot_tell, as JSON.",
        "evals.csv --x params --y holdout_loss --replicate seed",
    )
    made.add_argument("table", help="csv or parquet")
    made.add_argument("--x", required=True, metavar="COL", help="params, n_unique or images_seen")
    made.add_argument("--y", required=True, metavar="COL", help="the curve, usually holdout_loss")
    made.add_argument("--group", metavar="COL", help="one verdict for each value")
    made.add_argument("--replicate", metavar="COL", help="what tells replicates apart (default run_id)")
    made.add_argument("--se", metavar="COL", help="standard error of --y, with all that differs between runs")
    made.add_argument("--log-x", action="store_true", help="refuse x <= 0, which has no place on a logarithmic axis")
    made.add_argument("--window", type=_range, metavar="LO,HI", help="where theory puts the peak (confirmatory test)")
    made.add_argument("--valley", type=_range, metavar="LO,HI", help="where the first minimum lies, with --window")
    made.add_argument("--predicted", metavar="X", help="predicted peak, a number or a column (n_unique * m * d)")
    made.add_argument("--train-loss", metavar="COL", help="say whether it goes to 0 while --y rises")
    made.add_argument("--memorized", metavar="COL", help="say its values at first minimum, peak and last x")
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument("--level", type=float, default=0.95, help="of intervals; 1 - level: of the tests (default .95)")
    made.add_argument("--draws", type=int, default=2000, help="simulated null curves of the search test (default 2000)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--out", metavar="FILE.json", help="where to write (default: standard output)")
    return made


def _range(text: str) -> tuple[float, float]:
    try:
        lo, hi = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write LO,HI") from None
    if not lo <= hi:
        raise argparse.ArgumentTypeError(f"{text!r}: LO must not exceed HI")
    return lo, hi


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where words or table cannot be used, in one line; a verdict of cannot_tell is an answer."""
    options = parser().parse_args(argv)
    return answer_json("analysis.double_descent", options.out, lambda: _answer(options))


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    checked_seed(options.seed)
    frame = read_table(options.table)
    for condition in options.where:
        frame = frame[holds(frame, condition)]
    if frame.empty:
        kept = f" by --where {' and '.join(options.where)}" if options.where else ""
        raise TableError(f"{options.table}: no row left{kept}")
    chosen = {name: value for name, value in vars(options).items() if name not in ("table", "where", "out")}
    chosen["predicted"] = _number_or_column(options.predicted)
    return {"groups": verdicts(frame, where=options.table, **chosen)}


def _number_or_column(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


if __name__ == "__main__":
    raise SystemExit(main())
