"""What replicates of a setting differ in, by key of the configuration: their cells are one design.

A rotation only says which image has how many copies, a draw which images there are: both are luck, as a seed is.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame, Series

REPLICATE_KEYS = ("seed", "data.draw", "data.fold", "data.duplication.rotate")
OF_DESIGN = ["params", "n_unique", "n_train", "copies"]  # told by the rows, whatever their configuration says


def without(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A copy of `config` that lacks the `keys`, SECTION.KEY, and all that lies under them."""
    found = {}
    for name, part in config.items():
        inner = [key.removeprefix(f"{name}.") for key in keys if key.startswith(f"{name}.")]
        if name not in keys:
            found[name] = without(part, inner) if inner and isinstance(part, dict) else part
    return found


def design_cells(evals: "DataFrame") -> "Series":
    """The cell of each row as text; cells that differ in REPLICATE_KEYS alone bear the first one's name.

    A run without a cell is its own, and a cell whose configuration is not known is told from every other.
    """
    own = evals["cell_id"].where(evals["cell_id"].notna(), evals["run_id"]).astype(str)
    known = {
        text: json.dumps(without(json.loads(text), REPLICATE_KEYS), sort_keys=True)
        for text in evals["config"].dropna().unique()
    }
    said = evals["config"].map(known).where(evals["cell_id"].notna())
    first = own.groupby([said, *(evals[name] for name in OF_DESIGN)], dropna=False).transform("min")
    return first.where(said.notna(), own)
