"""The report's answers to the questions of the field: what is asked, the value with its interval, what it rests on."""

from collections.abc import Mapping
from typing import Any

from analysis.ask import asked
from analysis.pages import page, words
from analysis.questions.answer import Answer
from analysis.questions.inverse import INVERSES
from analysis.table import Tables

ASKED: Mapping[str, str] = {
    "max_copies": "At most how many copies of an image keep its rate below 1 %?",
    "min_unique": "From how many unique images on is the memorized share of samples below 1 %?",
    "max_params": "Up to how many parameters is the memorized share of samples below 1 %?",
    "exchange": "What are more copies worth in training time (1: only exposures count)?",
    "absolute_vs_fraction": "How does the amount memorized grow with size?",
    "matched": "At equal hold-out loss, does the larger model memorize more?",
    "confounding": "How much of memorization against generalization is size?",
    "wasted": "What do parameters beyond the smallest equally good size memorize?",
    "interventions": "Which change lowers memorization at equal quality?",
}


def question_table(tables: Tables, level: float, draws: int, seed: int) -> tuple[page.Html, list[dict[str, Any]]]:
    """A row a question, answered or with the reason why these data cannot; and the answers as JSON."""
    answers = [asked(name, tables, level=level, draws=draws, seed=seed) for name in ASKED]
    rows = [[ASKED[answer.question], _value(answer), answer.unit, answer.why] for answer in answers]
    headers = ("question", f"answer ({100 * level:g} % interval)", "unit", "what it rests on")
    note = (
        f"The same as python -m analysis.ask TABLES QUESTION, where --rate, --at and more can be given; intervals from "
        f"{draws} resamplings. An answer marked as extrapolated lies outside the data."
    )
    table = page.joined([page.table("questions", headers, rows, texts=(0, 1, 2, 3)), page.paragraph(note, "note")])
    return table, [answer.as_json() for answer in answers]


def _value(answer: Answer) -> str:
    if not answer.answerable:
        return "cannot tell"
    ends = words.limits(answer.lo, answer.hi)
    said = f"{words.number(answer.value)} ({ends})"
    if answer.question in INVERSES and answer.value is not None:  # of a limit, the last whole number on its safe side
        said = f"{words.safe_whole(answer.value, at_most=INVERSES[answer.question].rising)} (the limit: {ends})"
    return f"{said}, extrapolated" if answer.extrapolated else said
