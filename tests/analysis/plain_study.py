"""Tables of the schema from a few columns, for tests of questions whose answer is known in closed form."""

from collections.abc import Sequence

import pandas

from analysis.table import Tables, validated


def tables(evals: Sequence[dict], strata: Sequence[dict] = ()) -> Tables:
    """Tables with these rows; what a row does not name is missing."""
    found = {name: validated(pandas.DataFrame(list(rows)), name, f"test {name}")[0]
             for name, rows in (("evals", evals), ("strata", strata))}  # fmt: skip
    empty = {
        name: validated(pandas.DataFrame(), name, f"test {name}")[0] for name in ("noise_levels", "prompts", "images")
    }
    return Tables(**found, **empty)
