"""One scale of colours and markers a variable and study, so that 40,489 parameters look the same in every figure."""

from analysis.plots import Ordered
from analysis.table import Tables


def study_scale(tables: Tables, name: str) -> Ordered:
    """The scale of `name` over every value in any table of the study, drawn or not."""
    frames = (tables.evals, tables.strata, tables.noise_levels, tables.prompts, tables.images)
    return Ordered({value for frame in frames if name in frame for value in frame[name].dropna().unique()}, name)
