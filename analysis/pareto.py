"""`python -m analysis.pareto TABLE --minimize COL --minimize COL`: the non-dominated rows and how sure they are.

The geometry is in front.py, the uncertainty in redraw.py (rows), cell_means.py (cells) and boundary.py, a model from
elsewhere in place.py; here words become their arguments (measures.md 3.4, design.md 6).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.boundary.boundary import Boundary, boundary, boundary_of
from analysis.boundary.cell_means import Cells, cell_means
from analysis.boundary.front import front, hypervolume, knee
from analysis.boundary.minimised import Minimised, complete, named, subset
from analysis.boundary.pareto_json import Study, boundary_json, placed_json
from analysis.boundary.place import placed
from analysis.boundary.placeable import unlike_data, unlike_measures
from analysis.boundary.reading_points import at_holdout_minimum, at_images_seen
from analysis.boundary.redraw import Rows
from analysis.columns import TableError, column, numbers, read_table
from analysis.command import answer_json, checked_seed, command_line
from analysis.condition import holds, repeated_rows
from analysis.table import load

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Boundary", "boundary", "boundary_of", "front", "hypervolume", "knee", "main", "placed"]

Array = np.ndarray
MOST_SAID = 3  # rows that are not placed, with their reasons


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line(
        "analysis.pareto",
        "TABLE --minimize COL --minimize COL [options]",
        "The rows of a table that no other beats in all columns, and how sure they are of it, as JSON.",
        "evals.parquet --minimize n_memorized --minimize holdout_loss",
    )
    made.add_argument("table", help="csv or parquet; or a folder of runs or tables, whose evals are read")
    made.add_argument("--minimize", action="append", required=True, metavar="COL", help="a column to minimise (repeat)")
    made.add_argument("--rate", action="append", default=[], metavar="NAME=HITS/TRIALS",
                      help="makes a column to minimise from counts, with their error (repeat)")  # fmt: skip
    made.add_argument("--at", metavar="holdout_min|IMAGES_SEEN",
                      help="one evaluation a run: at its lowest holdout_loss, or after so many images")  # fmt: skip
    made.add_argument("--where", action="append", default=[], metavar="COL==VALUE", help="keep these rows (repeat)")
    made.add_argument("--se", action="append", default=[], metavar="COL=COL", help="a column's standard error (repeat)")
    made.add_argument("--cluster", metavar="COL", help="rows that share their luck, usually run_id: resampled together")
    made.add_argument("--cell", metavar="COL", help="usually cell_id: the points are the means over a cell's runs")
    made.add_argument(
        "--reference", action="append", default=[], metavar="COL=VALUE", help="corner of the volume (repeat)"
    )
    made.add_argument("--place", metavar="FILE", help="rows from elsewhere, same columns: where do they stand?")
    made.add_argument("--design", metavar="COL,COL", help="columns in which --place says how to get to a better row")
    made.add_argument("--draws", type=int, default=1000, help="bootstrap draws (default 1000)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--out", metavar="F.json", help="where to write (default: standard output)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where words, table or --place cannot be used, in one line."""
    options = parser().parse_args(argv)
    return answer_json("analysis.pareto", options.out, lambda: _answer(options))


def _answer(options: argparse.Namespace) -> dict[str, Any]:
    if options.draws < 1 or not 0 < options.level < 1:
        raise ValueError(
            f"--draws {options.draws} --level {options.level}: draws are 1 or more, a level between 0 and 1"
        )
    if options.design and not options.place:
        raise ValueError(f"--design {options.design} says how a model gets to a better row and needs --place FILE")
    checked_seed(options.seed)
    asked = Minimised.of(options.minimize, options.se, options.rate)
    reference = _reference(options.reference, asked.names)
    study = _study(options, asked)
    drawn = {"draws": options.draws, "level": options.level, "seed": options.seed}
    found = boundary_of(study.points, reference=reference, **drawn)
    there, said = _placed(options, asked, study, drawn) if options.place else ([], [])
    message = "; ".join(part for part in (*study.said, *said, _about(found)) if part)
    return boundary_json(found, study, asked.names, message, there)


def _study(options: argparse.Namespace, asked: Minimised) -> Study:
    frame = load(options.table).evals if Path(options.table).is_dir() else read_table(options.table)
    n_read, said = len(frame), []
    frame = frame.reset_index(drop=True)
    if options.at:
        frame, about = _at(frame, options.at)
        said.append(about)
    chosen = np.ones(len(frame), bool)
    for condition in options.where:
        chosen &= holds(frame, condition)
    frame = frame[chosen]  # what --where leaves out may be damaged
    every = asked.read(frame, options.table)
    whole = complete(every)
    if not whole.any():
        kept = f" by --where {' and '.join(options.where)}" if options.where else ""
        raise TableError(f"{options.table}: no complete row left{kept}: the front of nothing cannot be told")
    cluster, cell = (_labels(frame, name, whole, options.table) for name in (options.cluster, options.cell))
    if cluster is not None and len(set(cluster.tolist())) < 2:
        raise TableError(
            f"{options.table}: column {options.cluster} holds one cluster: drawn again it is the same rows, which "
            f"would pass for certainty; name another column, or leave --cluster out"
        )
    kept = frame[whole]
    rows = subset(every, whole, cluster)
    points = rows if cell is None else cell_means(rows, cell)
    said += _about_rows(kept, int(np.sum(~whole)), len(frame), points, asked, options)
    return Study(kept, kept.index.to_numpy(), rows, points, n_read, said)


def _at(frame: "DataFrame", at: str) -> tuple["DataFrame", str]:
    images_seen = None if at == "holdout_min" else _number(at, "--at", "holdout_min or a number of images")
    runs = column(frame, "run_id", "--at").nunique()
    if images_seen is None:
        found = at_holdout_minimum(frame)
        falling = int(np.sum(~found["holdout_min_inside"]))
        about = f"{falling} of {len(found)} runs still fall in holdout_loss at their last evaluation: their minimum "
        about = about + "lies beyond (--where holdout_min_inside==1 leaves them out)" if falling else ""
    else:
        found, about = at_images_seen(frame, images_seen), ""
    missing = runs - len(found)
    return found, "; ".join(part for part in (about, f"{missing} runs have no such evaluation" * bool(missing)) if part)


def _labels(frame: "DataFrame", name: str | None, whole: Array, where: str) -> Array | None:
    if name is None:
        return None
    found = column(frame, name, where)[whole]
    if found.isna().any():
        raise TableError(f"{where}: column {name}, row {found.index[found.isna()][0]} is empty: name its {name}")
    return found.to_numpy()


def _about_rows(
    kept: "DataFrame", lost: int, chosen: int, points: Rows | Cells, asked: Minimised, options: argparse.Namespace
) -> list[str]:
    said = [f"{lost} of {chosen} rows lack a value and were left out" if lost else "", repeated_rows(kept)]
    flat = [name for k, name in enumerate(asked.names) if np.ptp(points.value[:, k]) == 0]
    said.append(f"{', '.join(flat)} is constant and decides nothing" if flat else "")
    if isinstance(points, Cells):
        alone = int(np.sum(points.n_runs == 1))
        said.append("front, membership, knee and by count the entries of cells")
        if alone and points.freedom:
            said.append(f"{alone} of {len(points.n_runs)} cells hold one run: their scatter is that of the other cells")
        elif alone:
            said.append("no cell holds two runs: only the errors of measurement are drawn")
    elif not points.redrawn:
        said.append(
            "no --se, --rate, --cluster or --cell: membership and intervals cannot be told, only the rows as printed"
        )
    elif points.cluster is not None and (clusters := len(set(points.cluster.tolist()))) < 8:
        said.append(f"only {clusters} clusters to resample")
    if "run_id" in kept.columns and not options.at and not options.cell and kept["run_id"].duplicated().any():
        said.append("runs stand here with several evaluations: --at holdout_min or --at IMAGES_SEEN keeps one of each")
    return said


def _about(found: Boundary) -> str:
    if found.volume_hi is None or found.volume <= found.volume_hi:
        return ""
    return f"noise alone raises the volume by {found.volume_bias:.3g} or more: its interval lies below the value"


def _placed(
    options: argparse.Namespace, asked: Minimised, study: Study, drawn: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    frame = read_table(options.place)
    # A file without a column of errors holds exact rows, which is said; counts it must have.
    known = {name: source for name, source in asked.errors.items() if source in frame.columns}
    lacking = sorted(set(asked.errors.values()) - set(known.values()))
    every = Minimised(asked.names, known, asked.rates).read(frame, options.place)
    whole = complete(every)
    alike, unlike = _alike(options, frame, whole, study.frame, asked.names)
    said = [f"{options.place} has no column {', '.join(lacking)}: its rows count as exact" if lacking else ""]
    if not whole.all():
        said.append(f"{int(np.sum(~whole))} of {len(frame)} rows of {options.place} lack a value and were not placed")
    said += unlike
    model = subset(every, alike)
    equal = np.array([np.any(np.all(row == study.rows.value, axis=1)) for row in model.value], bool)
    if equal.any() and study.points.redrawn:
        said.append(f"{int(equal.sum())} rows of {options.place} equal a row of the table: they compete with it")
    design = {}
    for name in options.design.split(",") if options.design else ():
        own, about = _design(study, name, options.table)
        design[name] = (own, numbers(frame, name, options.place)[alike])
        said.append(about)
    found = placed(study.points, model, asked.names, design=design, **drawn)
    return [placed_json(int(row), one, study) for row, one in zip(np.flatnonzero(alike), found, strict=True)], said


def _alike(
    options: argparse.Namespace, frame: "DataFrame", whole: Array, study: "DataFrame", names: Sequence[str]
) -> tuple[Array, list[str]]:
    """The complete rows of --place that compare with the boundary's, and why others do not; TableError: none does."""
    both = zip(unlike_data(study, frame), unlike_measures(study, frame, names), strict=True)
    why = ["; ".join(part for part in parts if part) for parts in both]
    alike = whole & np.array([not one for one in why], bool)
    said = [f"row {row} of {options.place} was not placed: {why[row]}" for row in np.flatnonzero(whole & ~alike)]
    if whole.any() and not alike.any():
        raise TableError(f"--place: no row can be placed; {said[0]}")
    return alike, said[:MOST_SAID] + [f"{len(said) - MOST_SAID} more rows were not placed"] * (len(said) > MOST_SAID)


def _design(study: Study, name: str, where: str) -> tuple[Array, str]:
    """The column for each point, and what is said where it varies within cells (images_seen at the minimum does)."""
    values = numbers(study.frame, name, where)
    if not isinstance(study.points, Cells):
        return values, ""
    if np.any(values <= 0):
        raise TableError(f"{where}: design column {name} holds {np.nanmin(values):g}: ratios take positive values")
    varies = [len(np.unique(values[rows])) > 1 for rows in study.points.rows]
    mean = [np.exp(np.mean(np.log(values[rows]))) for rows in study.points.rows]
    first = [values[rows[0]] for rows in study.points.rows]  # as it stands: a mean of logs would be off by rounding
    about = f"{name} varies within {sum(varies)} cells: its geometric mean stands for them" if any(varies) else ""
    return np.where(varies, mean, first), about


def _reference(texts: Sequence[str], names: Sequence[str]) -> Array | None:
    corners = named(texts, names, "--reference")
    if corners and set(corners) != set(names):
        raise ValueError(f"--reference: give one value for each of {', '.join(names)}, or none")
    return np.array([_number(corners[name], f"--reference {name}", "a number") for name in names]) if corners else None


def _number(text: str, what: str, wanted: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = np.nan
    if not np.isfinite(found):
        raise ValueError(f"{what}={text!r}: give {wanted}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
