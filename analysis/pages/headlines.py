"""The five sentences at the head of a page, made from the fits, answers and verdicts below it."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.fitting.result import Estimate
from analysis.pages import page, words
from analysis.summary import StudyFit

if TYPE_CHECKING:
    from pandas import DataFrame

VARIABLES = {
    "params": "the number of parameters",
    "copies": "the copies of an image",
    "images_seen": "the images seen",
    "exposures": "the exposures of the image behind an average training draw",
    "n_unique": "the number of unique images",
    "n_train": "the size of the training set",
}
BOUNDARY = {  # question: what its answer says of the whole number; the first that these data answer is told
    "max_copies": "up to {value} copies keep an image's recovery below 1 %",
    "max_params": "up to {value} parameters the memorized share stays below 1 %",
    "min_unique": "from {value} unique images on the memorized share is below 1 %",
}
PLACE = re.compile(r"at (?!most|least)\w+ [-\d.e+\u202f]+ ")  # where on the surface an answer holds
AXES = {"params": "size", "n_unique": "unique images", "images_seen": "training time"}


def headlines(
    facts: str,
    cells: "DataFrame",
    fits: Sequence[StudyFit],
    answers: Sequence[Mapping[str, Any]],
    verdicts: Sequence[Mapping[str, Any]],
    level: float,
) -> list[tuple[str, str]]:
    """(lead, sentence) of what was run, how much is memorized, the law, the boundary, double descent.

    cells: rate, lo, hi, trials, null; answers and verdicts as answers.json and verdicts.json hold them.
    """
    return [
        ("What was run", facts + "."),
        ("How much is memorized", amount(cells, level)),
        ("The law", law(fits, level)),
        ("The boundary", boundary(answers, level)),
        ("Double descent", descent(verdicts)),
    ]


def amount(cells: "DataFrame", level: float) -> str:
    """How much is memorized where least and where most."""
    if cells.empty:
        return "No run counts memorized samples, so what share of the output is copied cannot be told."
    least, most = cells.loc[cells["rate"].idxmin()], cells.loc[cells["rate"].idxmax()]

    def said(cell: Any) -> str:
        return f"{words.percent(cell['rate'])} ({words.percent(cell['lo'])} to {words.percent(cell['hi'])})"

    known = cells[cells["null"].notna()]
    null = np.average(known["null"], weights=known["trials"]) if len(known) else None
    beside = "" if null is None else f"; the same test against images never trained on finds {words.percent(null)}"
    if len(cells) == 1:
        return (
            f"At the last evaluation {said(most)} of the generated samples are memorized ({100 * level:g} % interval"
            f"{beside})."
        )
    if least["rate"] == most["rate"]:
        return (
            f"At the last evaluation {said(cells.loc[cells['hi'].idxmax()])} of the generated samples are memorized in "
            f"every cell ({100 * level:g} % interval of one cell{beside})."
        )
    return (
        f"At the last evaluation, depending on the cell, between {said(least)} and {said(most)} of the generated "
        f"samples are memorized ({100 * level:g} % intervals{beside})."
    )


def law(fits: Sequence[StudyFit], level: float) -> str:
    """What doubling each variable does to the odds, by the first curve that could be fitted."""
    told = [found for found in fits if found.result.status in ("ok", "at_bound")]
    if not told:
        why = "; ".join(f"{found.title.lower()}: {found.result.message}" for found in fits)
        return f"No curve can be fitted: {why or 'the runs are too few or too alike'}."
    found = told[0]
    what = "recovery of a training image" if found.name == "recovery" else "a memorized sample"
    effects = "; ".join(effect(name, found.result.params[f"b_{name}"]) for name in found.result.law.variables)
    return f"Doubling one variable multiplies the odds of {what} by: {effects} ({100 * level:g} % intervals)."


def effect(name: str, slope: Estimate) -> str:
    """One variable's factor on the odds with its interval, or that it cannot be told."""
    subject = VARIABLES.get(name, name)
    if slope.value is None or slope.lo is None or slope.hi is None:
        bound = "at least", slope.lo
        if slope.lo is None:
            bound = "at most", slope.hi
        known = f"{bound[0]} {words.number(2.0 ** bound[1], 2)}" if bound[1] is not None else "an unknown factor"
        return f"{known} for {subject}, which these runs cannot tell closer"
    times = [words.number(2.0**value, 2) for value in (slope.value, slope.lo, slope.hi)]
    told = f"{times[0]} ({times[1]} to {times[2]}) for {subject}"
    return f"{told}, which may be no effect at all" if slope.lo <= 0 <= slope.hi else told


def boundary(answers: Sequence[Mapping[str, Any]], level: float) -> str:
    """Where memorization stays below 1 %, by the first question of BOUNDARY that was answered."""
    known = {answer["question"]: answer for answer in answers}
    for name, said in BOUNDARY.items():
        answer = known.get(name)
        if answer is not None and answer["answerable"] and not beyond_telling(answer):
            value = words.safe_whole(answer["value"], at_most=name.startswith("max"))
            outside = " This lies outside the data." if answer["extrapolated"] else ""
            ends = f" ({100 * level:g} % interval of the limit: {words.limits(answer['lo'], answer['hi'])})"
            sure = "" if answer["lo"] is answer["hi"] is None else ends
            return f"By the fitted surface {said.format(value=value)}{place(answer)}{sure}.{outside}"
    return "Where memorization vanishes cannot be told from these runs; the reasons stand under “Questions”."


def beyond_telling(answer: Mapping[str, Any]) -> bool:
    """A limit outside the data whose careful end is open: a law drawn out, and nothing to act upon."""
    careful = answer["hi"] if answer["question"].startswith("min") else answer["lo"]
    return bool(answer["extrapolated"]) and careful is None


def place(answer: Mapping[str, Any]) -> str:
    """Where on the surface an answer holds, by its `why`: ", at params 40 489 (median)"; empty where it says none."""
    return next((f", {part}" for part in str(answer["why"]).split("; ") if PLACE.match(part)), "")


def descent(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """How many curves of each axis show a second descent, and where the first three of them peak."""
    if not verdicts:
        return "Nothing can be said: no curve of hold-out loss has three sizes, amounts of data or evaluations."
    parts = []
    for axis, name in AXES.items():
        found = [verdict for verdict in verdicts if verdict["axis"] == axis]
        present = [verdict for verdict in found if verdict["verdict"] == "present"]
        if not found:
            continue
        peaks = ", ".join(_peak(verdict) for verdict in present[:3])
        absent = sum(verdict["verdict"] == "absent" for verdict in found)
        cannot = len(found) - len(present) - absent
        counts = [
            f"present in {len(present)} (peak at {peaks})" if present else "",
            f"absent in {absent}" if absent else "",
            f"not to be told in {cannot}" if cannot else "",
        ]
        told = ", ".join(count for count in counts if count)
        parts.append(f"along {name}, of {words.several(len(found), 'curve')}, {told}")
    return f"In hold-out loss {'; '.join(parts)}."


def _peak(verdict: Mapping[str, Any]) -> str:
    lo, hi = verdict["peak_lo"], verdict["peak_hi"]
    ends = f" ({words.whole(lo)} to {words.whole(hi)})" if lo is not None and hi is not None else ""
    return f"{words.whole(verdict['peak_x'])}{ends}"


def headline_list(said: Sequence[tuple[str, str]], leads_to: Mapping[str, str]) -> page.Html:
    """leads_to: the key of the section behind a sentence, by its lead."""
    rows = []
    for lead, sentence in said:
        link = f' <a href="#{page.text(leads_to[lead])}">look behind it</a>' if lead in leads_to else ""
        rows.append(page.Html(f"<strong>{page.text(lead)}.</strong> {page.text(sentence)}{link}"))
    return page.numbered(rows, "answers")
