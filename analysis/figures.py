"""`python -m analysis.figures RUNS_OR_TABLES --out DIR`: every figure of the report as files for a paper."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.ask import asked
from analysis.command import command_line
from analysis.datasets import by_dataset
from analysis.pictures import paper
from analysis.table import load
from scaling import schema

if TYPE_CHECKING:
    from analysis.plots import ReportFigure

DRAWS, ANSWER_DRAWS = 500, 200  # as the report: the figures are the same


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where an option or the tables cannot be used, or a figure asked for is not among theirs, in one line."""
    options = _parser().parse_args(argv)
    try:
        _check(options)
        figures, absent = _figures(options)
        if options.list:
            for figure in figures:
                print(f"{figure.name}\n    {schema.printable(figure.caption)}")
        else:
            _write(figures, options)
            print(f"figures: {options.out} ({len(figures)} figures, {', '.join(options.format)}, {options.width:g} in)")
        for said in absent:
            print(f"not drawn: {schema.printable(said)}")
    except (ValueError, OSError) as error:
        print(f"analysis.figures: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    made = command_line(
        "analysis.figures",
        "TABLES --out DIR [options]",
        "Every figure of the report as PNG, SVG and PDF with a csv of its points, ready for a paper.",
        "runs --out figures --only losses --format pdf --width 3.35",
    )
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect")
    made.add_argument("--out", metavar="DIR", help="for the files (required without --list)")
    made.add_argument("--list", action="store_true", help="name the figures with their captions; write nothing")
    made.add_argument("--only", nargs="+", metavar="NAME", help="these figures (default: all that the tables allow)")
    made.add_argument("--format", nargs="+", choices=paper.FORMATS, default=list(paper.FORMATS), help="(default: all)")
    made.add_argument("--width", type=float, default=5.0, help="inches (default 5; one column 3.35, two 6.9)")
    made.add_argument("--dpi", type=int, default=300, help="of PNG and of photographs (default 300)")
    made.add_argument("--place", metavar="TABLES", help="models from elsewhere (scaling.audit) for the boundary")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--bootstrap", type=int, default=DRAWS, metavar="N", help=f"draws of runs (default {DRAWS})")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    return made


def _check(options: argparse.Namespace) -> None:
    if options.out is None and not options.list:
        raise ValueError("--out: missing; name a folder for the files, or ask with --list which figures there are")
    paper.check_width(options.width)
    if not paper.RESOLUTIONS[0] <= options.dpi <= paper.RESOLUTIONS[1]:
        raise ValueError(f"--dpi {options.dpi} must lie in {paper.RESOLUTIONS[0]} to {paper.RESOLUTIONS[1]}")
    if not 0 < options.level < 1 or options.bootstrap < 1 or options.seed < 0:
        raise ValueError(
            f"--level {options.level:g} must lie in (0, 1), --bootstrap {options.bootstrap} be > 0, "
            f"--seed {options.seed} be >= 0"
        )


def _figures(options: argparse.Namespace) -> tuple[list["ReportFigure"], list[str]]:
    """The figures asked for, at their width, and in words why others are not there."""
    tables = load(options.tables)
    place = load(options.place) if options.place else None
    from analysis.descent_curves import descent_curves
    from analysis.pictures.paper_size import resize
    from analysis.pictures.study_figures import study_figures
    from analysis.placed_models import check_placeable, placed_models
    from analysis.summary import study_fits

    figures, absent = list["ReportFigure"](), list[str]()
    parts, how = by_dataset(tables), dict(level=options.level, seed=options.seed)
    if place is not None:
        check_placeable([part.tables for part in parts], place)
    for part in parts:
        fits, _ = study_fits(part.tables, draws=options.bootstrap, **how)
        descents = descent_curves(part.tables.evals, **how)
        answers = [asked("interventions", part.tables, draws=min(options.bootstrap, ANSWER_DRAWS), **how).as_json()]
        placed = None if place is None else placed_models(part.tables, place, options.level)
        made, missing = study_figures(
            part.tables, fits, options.level, descents=descents, answers=answers, placed=placed
        )
        missing = [*missing, *(placed.said if placed else ())]
        figures += [replace(figure, name=part.prefix + figure.name) for figure in made]
        absent += [f"{part.name}: {said}" if len(parts) > 1 else said for said in missing]
    if options.only:
        names = [figure.name for figure in figures]
        for name in options.only:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
                raise ValueError(f"--only {name}: these tables give no such figure; {hint}")
        figures, absent = [figure for figure in figures if figure.name in options.only], []
    for figure in figures:
        resize(figure.figure, options.width)
    return figures, absent


def _write(figures: Sequence["ReportFigure"], options: argparse.Namespace) -> None:
    from analysis.pictures.saving import save, save_data

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        save(figure, out, options.format, options.dpi)
        save_data(figure, out)
    (out / "captions.md").write_text(_captions(figures, options), encoding="utf-8")


def _captions(figures: Sequence["ReportFigure"], options: argparse.Namespace) -> str:
    """Name, caption, alternative text and command of each figure; indented, so that no text of the data is markup."""
    tables, place = _elsewhere(options.tables), options.place and _elsewhere(options.place)
    same = ["--width", f"{options.width:g}", "--dpi", str(options.dpi), "--level", f"{options.level:g}"]
    same += ["--bootstrap", str(options.bootstrap), "--seed", str(options.seed)]
    same += ["--place", place] if place else []
    parts = ["# Figures\n"]
    for figure in figures:
        command = ["python", "-m", "analysis.figures", tables, "--out", "figures", "--only", figure.name, *same]
        words = (figure.caption, figure.alt, shlex.join(command))
        parts.append(f"## {figure.name}\n")
        parts += [f"{name}:\n\n    {schema.printable(said)}\n" for name, said in zip(TOLD, words, strict=True)]
    return "\n".join(parts)


def _elsewhere(folder: str) -> str:
    """As it is written in a command for others: a path of this machine is nobody else's."""
    source = Path(folder)
    return source.name if source.is_absolute() else str(source)


TOLD = ("Caption", "Alternative text", "Command")


if __name__ == "__main__":
    raise SystemExit(main())
