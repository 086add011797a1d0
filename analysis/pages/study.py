"""What one data set's rows say, as a piece of the page: five sentences, figures and tables in sections, caveats."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.descent_curves import descent_curves
from analysis.pages import (
    caveats,
    descent_sections,
    headlines,
    instrument_sections,
    onset_sections,
    page,
    placed_section,
    question_sections,
    recommendation,
    runs,
    sections,
    words,
)
from analysis.placed_models import placed_models
from analysis.summary import StudyFit, last_evaluations, study_fits, varied_keys
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import Series

    from analysis.plots import ReportFigure

ANSWER_DRAWS = 200  # at most, of an answer: there are nine
SECTIONS = (  # key, heading; figures by their section, the rest by name
    ("recommendation", "What to do with such data"),
    ("curves", "Size, copies and duplication"),
    ("maps", "Maps and the phase boundary"),
    ("boundary", "Memorization against quality"),
    ("questions", "Questions"),
    ("descent", "Double descent"),
    ("training", "Over training"),
    ("onsets", "Onsets"),
    ("interventions", "Interventions"),
    ("fits", "Fitted curves"),
    ("agreement", "Do the instruments agree?"),
    ("instruments", "Instruments side by side"),
    ("noise", "Where in the noise"),
    ("budget", "Attack budget"),
    ("prompts", "Prompts"),
    ("scores", "With and without an image"),
    ("gallery", "Samples beside their nearest training images"),
    ("images", "Images that are memorized"),
    ("cells", "The cells"),
    ("runs", "The runs"),
    ("configuration", "Configuration"),
    ("caveats", "What could not be said, and caveats"),
)
LEADS = {
    "What was run": "runs", "How much is memorized": "cells", "The law": "fits", "The boundary": "questions",
    "Double descent": "descent",
}  # fmt: skip
DESIGN = {"params": "parameters", "n_unique": "unique images"}
MOST = {"copies": ("copy", "copies"), "images_seen": ("image seen", "images seen")}
Draw = Callable[["ReportFigure"], page.Html]  # writes the figure's files; what the page shows of it


@dataclass(frozen=True)
class Study:
    """A part of the page, and what its numbers are as JSON."""

    body: page.Html
    contents: list[tuple[str, str]]  # key, heading
    fits: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    kept: list[str]  # runs with a row and a panel


def study(
    tables: Tables, draw: Draw, *, level: float, draws: int, seed: int, prefix: str = "", place: Tables | None = None
) -> Study:
    """The part of `tables`, which hold one data set. prefix: of the sections' keys where there are several parts.

    place: models from elsewhere, to be placed on the boundary.
    """
    # matplotlib: a second that a wrong path need not wait for
    from analysis.pictures.study_figures import study_figures

    fits, missing = study_fits(tables, draws=draws, level=level, seed=seed)
    asked, answers = question_sections.question_table(tables, level, min(draws, ANSWER_DRAWS), seed)
    curves = descent_curves(tables.evals, level, seed)
    descents, verdicts, few = descent_sections.descent_table(curves)
    placed = None if place is None else placed_models(tables, place, level)
    kept = runs.kept_runs(tables.evals, runs.MOST_RUNS)
    figures, absent = study_figures(tables, fits, level, descents=curves, answers=answers, placed=placed)
    instruments, unmeasured = instrument_sections.instrument_table(tables, level)
    onsets, without = onset_sections.onset_table(tables.evals, kept, level, np.random.default_rng(seed))
    last, (varied, configs) = last_evaluations(tables.evals), varied_keys(tables.evals)
    advice = recommendation.recommendations(tables.evals, answers, level, np.random.default_rng(seed))
    if placed:
        few_draws = min(draws, ANSWER_DRAWS)
        advice += recommendation.for_placed(placed.of_data, tables, level=level, draws=few_draws, seed=seed)
    content = _drawn([_on_page(figure, set(kept), prefix) for figure in figures], draw)
    for key, more in (
        ("recommendation", recommendation.recommendation_table(advice, level)),
        ("boundary", placed_section.placed_table(placed, set(kept), level, prefix) if placed else ""),
        ("questions", asked), ("descent", descents), ("onsets", onsets),
        ("fits", sections.fit_table(fits, level) if fits else ""), ("instruments", instruments),
        ("cells", sections.cell_table(last, set(kept), level)), ("runs", runs.runs_table(tables.evals, kept)),
        ("configuration", sections.configuration(varied, configs)),
    ):  # fmt: skip
        content[key] = page.joined([part for part in (content.get(key), more) if part])
    said = caveats.caveats(
        tables, fits, [*missing, *absent, *few, *unmeasured, *without], list(varied), np.random.default_rng(seed)
    )
    content["caveats"] = page.bullets(said, "caveats")
    shown = [(f"{prefix}{key}", heading, content[key]) for key, heading in SECTIONS if content.get(key)]
    found_keys = {key for key, *_ in shown}
    leads = {lead: f"{prefix}{key}" for lead, key in LEADS.items() if f"{prefix}{key}" in found_keys}
    told = headlines.headlines(facts(tables), sections.cell_rates(last, level), fits, answers, verdicts, level)
    body = [headlines.headline_list(told, leads), *(page.section(*one) for one in shown)]
    return Study(
        page.joined(body), [(key, heading) for key, heading, _ in shown], [_fit_json(found) for found in fits], answers,
        verdicts, kept,
    )  # fmt: skip


def facts(tables: Tables) -> str:
    """What was run, in one line; what the rows do not say is left out."""
    last = last_evaluations(tables.evals)
    sources = ", ".join(sorted(map(str, last["dataset"].dropna().unique()))) or "unnamed data"
    runs_said, cells = words.several(last["run_id"].nunique(), "run"), last["cell_id"].nunique()
    said = [f"{runs_said} in {words.several(cells, 'cell')} on {sources}" if cells else f"{runs_said} on {sources}"]
    said.append(words.several(len(tables.evals), "evaluation"))
    known = set(last.columns[last.notna().any()])
    said += [f"{_range(last[name])} {what}" for name, what in DESIGN.items() if name in known]
    said += [f"up to {words.several(last[name].max(), *what)}" for name, what in MOST.items() if name in known]
    return ", ".join(said)


def _range(values: "Series") -> str:
    least, most = words.whole(values.min()), words.whole(values.max())
    return least if least == most else f"{least} to {most}"


def _on_page(figure: "ReportFigure", kept: Collection[str], prefix: str) -> "ReportFigure":
    return replace(figure, marks=[runs.leading_to_kept(mark, kept, prefix) for mark in figure.marks])


def _drawn(figures: "Sequence[ReportFigure]", draw: Draw) -> dict[str, page.Html]:
    by_section: dict[str, list[ReportFigure]] = {}
    for figure in figures:
        by_section.setdefault(figure.section, []).append(figure)
    lost = set(by_section) - {key for key, _ in SECTIONS}
    if lost:
        raise KeyError(f"figures of unknown sections {sorted(lost)}: give them a place in SECTIONS")
    return {key: page.figures([draw(one) for one in own], [one.wide for one in own]) for key, own in by_section.items()}


def _fit_json(found: StudyFit) -> dict[str, Any]:
    return {"name": found.name, "title": found.title, "response": found.response, **found.result.as_json()}
