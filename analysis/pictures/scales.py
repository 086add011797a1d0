"""One scale of colours and markers a variable and study, so that 40,489 parameters look the same in every figure."""

from analysis.plots import Ordered
from analysis.table import Tables


def study_scale(tables: Tables, name: str) -> Ordered:
    """The scale of `name` over every value in the evaluations and strata, drawn or not."""
    frames = [frame for frame in (tables.evals, tables.strata) if name in frame]
    return Ordered({value for frame in frames for value in frame[name].dropna().unique()}, name)
