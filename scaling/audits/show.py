"""An audit on the terminal: a table of counts with their nulls, then the words."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scaling.audits.words import wilson
from scaling.limits import printable

WIDTH = 140  # columns where there is no terminal
COUNTS = (  # what, count, trials, null count, null trials
    ("samples: gap ratio < 1/3 (copies)", "n_memorized", "n_generated", "n_null_memorized", "n_generated"),
    ("samples: gap ratio < 1/4", "n_memorized_14", "n_generated", None, None),
    ("samples: gap ratio < 1/2", "n_memorized_12", "n_generated", None, None),
    ("samples: calibrated distance < 1", "n_calibrated", "n_generated", "n_null_calibrated", "n_generated"),
    ("training images that came out", "n_extracted", "n_unique", None, None),
    ("basin chains that came back", "n_basin_recovered", "n_basin", "n_null_basin_recovered", "n_null_basin"),
)
NUMBERS = (  # what, value, standard error, beside it
    ("kernel distance to held-out images (KID)", "kid", "kid_se", "kid_train"),
    ("Frechet distance to held-out images", "frechet", None, "frechet_train"),
    ("distance to the ideal denoiser (0: copier)", "ideal_distance", "ideal_distance_se", "ideal_distance_null"),
)


def show(evals: Mapping, strata: Sequence[Mapping], lines: Iterable[str]) -> None:
    """Prints both tables, and the lines below them."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(count_table(evals))
    if len(strata) > 1:
        console.print(strata_table(strata))
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)  # Text: a path may hold [brackets]


def count_table(evals: Mapping) -> Table:
    """Counts with their intervals and nulls, then the numbers with their standard errors."""
    made = _table("", "found", "share, 95 % interval", "null (held-out images)", "share, 95 % interval")
    for what, hits, trials, null, null_trials in COUNTS:
        found = wilson(evals.get(hits), evals.get(trials))
        if found is not None:
            by_chance = wilson(evals.get(null), evals.get(null_trials)) if null else None
            empty = ("", "") if by_chance is None else (str(by_chance), by_chance.share)
            made.add_row(what, str(found), found.share, *empty)
    for what, value, se, beside in NUMBERS:
        if evals.get(value) is not None:
            error = "" if se is None or evals.get(se) is None else f" ± {evals[se]:.3g}"
            other = "" if evals.get(beside) is None else f"{evals[beside]:.4g}"
            label = "training images: " if beside.endswith("_train") else ""
            made.add_row(what, f"{evals[value]:.4g}{error}", "", f"{label}{other}" if other else "", "")
    return made


def strata_table(strata: Sequence[Mapping]) -> Table:
    """A row for each number of copies."""
    made = _table("copies", "training images", "came out", "samples that copy them", "basin chains back")
    for row in strata:
        basin = wilson(row.get("n_basin_recovered"), row.get("n_basin"))
        cells = (row["copies"], row["n_images"], row["n_extracted"], row["n_hits"])
        made.add_row(*(f"{cell:,}" for cell in cells), "" if basin is None else f"{basin} ({basin.share})")
    return made


def _table(first: str, *others: str) -> Table:
    made = Table(expand=False)
    made.add_column(first)
    for name in others:
        made.add_column(name, justify="right")
    return made
