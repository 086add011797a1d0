"""`python -m analysis.report RUNS_OR_TABLES --out DIR`: one page, its figures, and fits, answers, verdicts as JSON."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.pages import (
    descent_sections,
    instrument_sections,
    onset_sections,
    page,
    question_sections,
    sections,
    words,
)
from analysis.summary import StudyFit, last_evaluations, study_fits, varied_keys
from analysis.table import Tables, load

if TYPE_CHECKING:
    from analysis.plots import ReportFigure

DRAWS = 500  # bootstrap draws of a fit
ANSWER_DRAWS = 200  # at most, of an answer: there are nine
PHOTOGRAPHS = ("gallery", "prompts")  # figures that the page embeds as PNG


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(
        prog="python -m analysis.report", description="Fits, figures and one HTML page.", allow_abbrev=False
    )
    made.add_argument("tables", help="a folder of runs, or of tables written by scaling.collect")
    made.add_argument("--out", required=True, metavar="DIR")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument(
        "--bootstrap", type=int, default=DRAWS, metavar="N", help=f"draws of runs for the fits (default {DRAWS})"
    )
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args(argv)
    if not 0 < options.level < 1 or options.bootstrap < 1:
        print(
            f"analysis.report: --level {options.level} must lie in (0, 1), --bootstrap {options.bootstrap} be > 0",
            file=sys.stderr,
        )
        return 2
    try:
        tables = load(options.tables)
        path = write_report(tables, Path(options.out), level=options.level, draws=options.bootstrap, seed=options.seed)
    except (ValueError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 2
    print(f"report: {path} ({tables.evals['run_id'].nunique()} runs, {len(tables.evals)} evaluations)")
    return 0


def write_report(tables: Tables, out: Path, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Path:
    """Write everything under `out`; returns the path of report.html. Deterministic in (tables, level, draws, seed)."""
    from analysis.pictures.study_figures import (
        study_figures,
    )  # matplotlib: a second that a wrong path need not wait for

    fits, missing = study_fits(tables, draws=draws, level=level, seed=seed)
    figures, absent = study_figures(tables, fits, level)
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    pictures = {figure.name: _embedded(figure, folder) for figure in figures}
    fits_json = [{"name": f.name, "title": f.title, "response": f.response, **f.result.as_json()} for f in fits]
    (out / "fits.json").write_text(json.dumps(fits_json, indent=2, allow_nan=False) + "\n")
    asked, answers = question_sections.question_table(tables, level, min(draws, ANSWER_DRAWS), seed)
    descents, verdicts, few = descent_sections.descent_table(tables.evals, level, seed)
    for name, found in (("answers", answers), ("verdicts", verdicts)):
        (out / f"{name}.json").write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
    said = {"Questions": asked, "Double descent": descents}
    lacking = [*missing, *absent, *few]
    html = _page(tables, fits, figures, pictures, said, lacking, level, np.random.default_rng(seed))
    (out / "report.html").write_text(html, encoding="utf-8")
    return out / "report.html"


def _embedded(figure: "ReportFigure", folder: Path) -> tuple[str, bytes]:
    """Write the figure as PNG and SVG; returns the form the page embeds: charts as SVG, photographs as PNG."""
    from analysis.pictures.saving import save

    data = save(figure, folder, ("png", "svg"))
    return ("png", data["png"]) if figure.name in PHOTOGRAPHS else ("svg+xml", data["svg"])


def _page(
    tables: Tables,
    fits: Sequence[StudyFit],
    figures: "Sequence[ReportFigure]",
    pictures: dict[str, tuple[str, bytes]],
    said: dict[str, page.Html | str],
    missing: Sequence[str],
    level: float,
    rng: np.random.Generator,
) -> str:
    last = last_evaluations(tables.evals)
    instruments, unmeasured = instrument_sections.instrument_table(tables, level)
    onsets, without = onset_sections.onset_table(tables.evals, level, rng)
    missing = [*missing, *unmeasured, *without]
    varied, configs = varied_keys(tables.evals)

    def shown(section: str) -> page.Html | str:
        parts = [
            page.picture(pictures[f.name][1], pictures[f.name][0], alt=f.alt, caption=f.caption, wide=f.wide)
            for f in figures
            if f.section == section
        ]
        return page.figures(parts) if parts else ""

    sources = ", ".join(sorted(map(str, last["dataset"].dropna().unique()))) or "unnamed data"
    facts = (
        f"{sources} · {last['run_id'].nunique()} runs in {last['cell_id'].dropna().nunique()} cells · "
        f"{len(tables.evals)} evaluations · "
        f"{words.whole(last['params'].min())} to {words.whole(last['params'].max())} parameters"
    )
    content = [
        ("Size, copies and duplication", shown("curves")),
        *said.items(),
        ("Fitted curves", sections.fit_table(fits, level) if fits else ""),
        ("Over training", shown("training")),
        ("Memorization against quality", shown("quality")),
        ("Samples beside their nearest training images", shown("gallery")),
        ("Instruments side by side", instruments),
        ("Where in the noise", shown("noise")),
        ("Attack budget", shown("budget")),
        ("Prompts", shown("prompts")),
        ("Onsets", onsets),
        ("The cells", sections.cell_table(last, level)),
        ("Configuration", sections.configuration(varied, configs)),
        ("What could not be said", page.bullets(words.caveats(tables, fits, missing, list(varied)), "caveats")),
    ]
    return page.page(
        "Memorization of diffusion models",
        facts,
        words.summary(sections.cell_rates(last, level), fits, level),
        content,
    )


if __name__ == "__main__":
    raise SystemExit(main())
