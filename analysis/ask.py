"""`python -m analysis.ask TABLES QUESTION [--rate F] [--at COL=VALUE …]`: questions of the field, asked of a study.

Each question is one function in a file of its own; it arrives only when it is asked. The answer's `why` is for people.
"""

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType

from analysis.command import answer_json, command_line
from analysis.questions.answer import Answer, not_answerable
from analysis.table import Tables, load

QUESTIONS = {  # name -> (module, function, what it answers)
    "max_copies": ("inverse", "max_copies", "how many copies of an image keep its rate below --rate"),
    "min_unique": ("inverse", "min_unique", "from how many unique images on it is"),
    "max_params": ("inverse", "max_params", "up to which size it is"),
    "predict": ("prediction", "predict", "memorization of the cell --at, of a new run"),
    "absolute_vs_fraction": ("absolute", "absolute_vs_fraction", "amount and share as size grows"),
    "matched": ("matched", "matched", "memorization at equal hold-out loss"),
    "confounding": ("confounding", "confounding", "is their correlation capacity's"),
    "interventions": ("interventions", "interventions", "the effect of each at equal quality"),
    "wasted": ("wasted", "wasted", "what parameters beyond the compute-optimal ones memorize"),
    "exchange": ("exchange", "exchange", "training that a doubling of copies is worth"),
    "next": ("next_cell", "next_cell", "which cell to train next to narrow --quantity"),
}
RATE = 0.01
OPTIONAL = ("response", "evaluation", "quantity")  # options that only some questions take


def question(name: str) -> Callable[..., Answer]:
    """The function that answers it; raises ValueError on a name that is none."""
    if name not in QUESTIONS:
        near = get_close_matches(name, QUESTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(QUESTIONS)}"
        raise ValueError(f"question {name!r} is unknown: {hint}")
    module, function, _ = QUESTIONS[name]
    return getattr(import_module(f"analysis.questions.{module}"), function)


def asked(
    name: str, tables: Tables, *, level: float, draws: int, seed: int, at: Mapping[str, float] = MappingProxyType({})
) -> Answer:
    """The answer at a rate of 1 %, beside `at` as the data suggest; a refusal is an answer that says why."""
    try:
        return question(name)(tables, rate=RATE, at=at, level=level, draws=draws, seed=seed)
    except ValueError as error:  # asked by itself it would want another --at
        return not_answerable(name, str(error), level=level)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line(
        "analysis.ask",
        "TABLES QUESTION [options]",
        "Ask the tables of a study a question; the answer is JSON.",
        "runs max_copies --rate .01 --at params=40489",
        more="; ".join(f"{name}: {words}" for name, (_, _, words) in QUESTIONS.items()),
    )
    made.add_argument("tables", help="folder of runs, or of collected tables")
    made.add_argument("question", help="one of those below", metavar="QUESTION")
    made.add_argument("--rate", type=float, default=RATE, help="the rate f of the question (default .01)")
    made.add_argument("--at", action="append", default=[], metavar="COL=VALUE", help="where on the surface (repeat)")
    made.add_argument("--level", type=float, default=0.95, help="of every interval (default .95)")
    made.add_argument("--draws", "--bootstrap", type=int, default=1000, metavar="N", help="resamplings (default 1000)")
    made.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    made.add_argument("--response", help="stratum (recovery of a stratum's images) or cell (memorized samples)")
    made.add_argument("--eval", dest="evaluation", metavar="WHICH",
                      help="evaluation of each run: last (default), holdout_min or an images_seen")  # fmt: skip
    made.add_argument("--quantity", help="for next: max_copies (default), min_unique, max_params or a parameter")
    made.add_argument("--out", metavar="F.json", help="where to write (default: standard output)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0, also where the answer is that these data cannot tell; 2 where words or tables cannot be used, in one line."""
    options = parser().parse_args(argv)
    return answer_json("analysis.ask", options.out, lambda: ask(options).as_json())


def ask(options: argparse.Namespace) -> Answer:
    """The answer to the words of the command line; raises ValueError."""
    if not 0 < options.level < 1:
        raise ValueError(f"--level {options.level:g}: a level lies between 0 and 1, .95 is usual")
    if options.draws < 20:
        raise ValueError(f"--draws {options.draws}: an interval takes at least 20 resamplings, 1000 is usual")
    answers, at = question(options.question), _point(options.at)
    taken = inspect.signature(answers).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
    extra = {name: getattr(options, name) for name in OPTIONAL if getattr(options, name) is not None}
    for name in extra:
        if name not in taken and not (open_ended and name != "quantity"):
            option = {"evaluation": "--eval"}.get(name, f"--{name}")
            raise ValueError(f"{option}: {options.question} has no such choice; leave it out")
    return answers(load(options.tables), rate=options.rate, at=at, level=options.level, draws=options.draws,
                   seed=options.seed, **extra)  # fmt: skip


def _point(texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise ValueError(f"--at {text}: write COL=VALUE, each column once")
        try:
            found[name] = float(value)
        except ValueError:
            raise ValueError(f"--at {text}: {value!r} is no number") from None
    return found


if __name__ == "__main__":
    raise SystemExit(main())
