"""`python -m analysis.report RUNS_OR_TABLES --out DIR`: one page, its figures, and fits, answers, verdicts as JSON."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.command import command_line
from analysis.datasets import by_dataset
from analysis.pages import page
from analysis.table import Tables, load
from scaling import schema

if TYPE_CHECKING:
    from analysis.pages.study import Study
    from analysis.plots import ReportFigure

DRAWS = 500  # bootstrap draws of a fit
PHOTOGRAPHS = ("gallery", "images", "prompts")  # sections whose figures the page embeds as PNG
PAGE_FORMATS = ("png", "svg")
MOST_NUMBERS = 1_000  # rows of a figure's csv that the page shows; the file beside it has all
REFRESH = 20  # seconds after which a live page loads itself again


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where options or tables cannot be used, in one line; 130 where Ctrl-C ended it."""
    options = _parser().parse_args(argv)
    if not 0 < options.level < 1 or options.bootstrap < 1 or options.every <= 0:
        print(
            f"analysis.report: --level {options.level} must lie in (0, 1), --bootstrap {options.bootstrap} and --every "
            f"{options.every:g} be > 0",
            file=sys.stderr,
        )
        return 2
    try:
        return _watch(options) if options.watch else _once(options)
    except (ValueError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    made = command_line(
        "analysis.report", "TABLES --out DIR [options]", "Fits, figures and one HTML page that shows them.",
        "runs --out report",
    )  # fmt: skip
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect or scaling.audit")
    made.add_argument("--out", required=True, metavar="DIR", help="for report.html, figures/ and the answers as JSON")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--bootstrap", type=int, default=DRAWS, metavar="N", help=f"draws of runs (default {DRAWS})")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--place", metavar="TABLES", help="models from elsewhere (scaling.audit) for the boundary")
    made.add_argument("--watch", action="store_true", help="render again as records arrive, until interrupted")
    made.add_argument("--every", type=float, default=30.0, metavar="S", help="seconds between looks (default 30)")
    return made


def _once(options: argparse.Namespace, refresh: int | None = None) -> int:
    tables = load(options.tables)
    place = load(options.place) if options.place else None
    how = dict(level=options.level, draws=options.bootstrap, seed=options.seed)
    path = write_report(tables, Path(options.out), **how, refresh=refresh, place=place)
    print(f"report: {path} ({tables.evals['run_id'].nunique()} runs, {len(tables.evals)} evaluations)", flush=True)
    return 0


def _watch(options: argparse.Namespace) -> int:
    """Render whenever a record or table changed. A page is replaced whole: who looks never sees half of one."""
    seen: object = None
    while True:
        now = _state(Path(options.tables))
        if now != seen:
            try:
                _once(options, REFRESH)
            except (ValueError, OSError) as error:  # no record yet, or a folder being collected at this moment
                print(f"analysis.report: {error}; looking again every {options.every:g} s", file=sys.stderr, flush=True)
            seen = now
        time.sleep(options.every)


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files a report reads."""
    files = [
        *folder.glob(f"*/{schema.RECORDS}"),
        *folder.glob("*.parquet"),
        *folder.glob("*.csv"),
        *folder.glob("*.jsonl"),
        *folder.glob("parts/*/*.parquet"),
        *folder.glob("parts/*/*.csv"),
    ]
    found = []
    for file in files:
        with suppress(FileNotFoundError):  # replaced or removed since it was listed: the next look sees what is there
            stat = file.stat()
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def write_report(
    tables: Tables, out: Path, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0, refresh: int | None = None,
    place: Tables | None = None,
) -> Path:  # fmt: skip
    """Write everything under `out`; returns the path of report.html. Deterministic in all its arguments.

    Data sets are never pooled: each has its own part of the page, with its name before those of its figures. Raises
    ValueError where no model of `place` can stand on a boundary.
    """
    from analysis.pages.study import study  # fits and figures: not for --help or a mistyped option
    from analysis.placed_models import check_placeable

    parts, studies = by_dataset(tables), []
    if place is not None:
        check_placeable([part.tables for part in parts], place)
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:

        def draw(figure: "ReportFigure", first: str = part.prefix) -> page.Html:
            return _drawn(replace(figure, name=first + figure.name), folder)

        studies.append(study(part.tables, draw, level=level, draws=draws, seed=seed, prefix=part.prefix, place=place))
    for name in ("fits", "answers", "verdicts"):
        content = [
            {"dataset": part.name, **found} if len(parts) > 1 else found
            for part, one in zip(parts, studies, strict=True)
            for found in getattr(one, name)
        ]
        _replace(out / f"{name}.json", json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    path = out / "report.html"
    _replace(path, _page(tables, [part.name for part in parts], studies, refresh))
    return path


def _replace(path: Path, content: str) -> None:
    """Write at once: who reads at any moment finds the old file or the new one, whole."""
    half = path.with_name(f".{path.name}.part")
    half.write_text(content, encoding="utf-8")
    half.replace(path)


def _drawn(figure: "ReportFigure", folder: Path) -> page.Html:
    """Write the figure's files; embedded are charts as SVG and photographs as PNG, with their points and numbers."""
    from analysis.pictures import saving

    pictures = saving.save(figure, folder, PAGE_FORMATS)
    saving.save_data(figure, folder)
    kind = "png" if figure.section in PHOTOGRAPHS else "svg"
    marks = [
        page.mark(place.left, place.top, place.mark.said, place.mark.runs, place.mark.link)
        for place in saving.mark_positions(figure)
    ]
    numbers = "" if figure.data is None else figure.data.head(MOST_NUMBERS).to_csv(index=False, lineterminator="\n")
    if figure.data is not None and len(figure.data) > MOST_NUMBERS:
        numbers += f"# the first {MOST_NUMBERS} of {len(figure.data)} rows; figures/{figure.name}.csv has all\n"
    return page.picture(
        figure.name, pictures[kind], "png" if kind == "png" else "svg+xml", alt=figure.alt, caption=figure.caption,
        wide=figure.wide, marks=marks, numbers=numbers,
    )  # fmt: skip


def _page(tables: Tables, names: Sequence[str], studies: Sequence["Study"], refresh: int | None) -> str:
    from analysis.pages import runs
    from analysis.pages.study import facts

    title, several = "Memorization of diffusion models", len(names) > 1
    contents: list[tuple[str, str]] = []
    live = f"A live page: made {time.strftime('%X')}, again as records arrive." if refresh else ""
    body = [page.Html(f"<h1>{page.text(title)}</h1>")] + ([page.paragraph(facts(tables), "facts")] if several else [])
    body += [page.paragraph(live, "live")] if live else []
    for name, one in zip(names, studies, strict=True):
        if several:
            key = f"part-{len(contents)}"
            contents.append((key, name))
            body.append(page.Html(f'<h1 class="part" id="{key}">{page.text(name)}</h1>'))
        contents += one.contents
        body.append(one.body)
    known = runs.panels(tables, [run for one in studies for run in one.kept])
    whole = page.Html(f"{page.contents(contents)}<main>\n{page.joined(body)}\n</main>")
    return page.page(title, whole, known, refresh=refresh)


if __name__ == "__main__":
    raise SystemExit(main())
