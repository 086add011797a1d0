"""The `metric` of a bayes sweep, as far as it can be judged without a run."""

import re
from collections.abc import Mapping

from scaling.columns import TABLES, own_columns
from scaling.limits import printable


def is_logged(metric: str) -> bool:
    """Whether a history row may have a number of this name: what the `metric` of a bayes sweep must be."""
    table, _, name = metric.rpartition("/")
    if not table:
        columns = TABLES["evals"]
    elif re.fullmatch(r"strata/[1-9][0-9]*", table):
        columns = [column for column in own_columns("strata") if column.name != "copies"]
    else:
        return False
    return any(column.name == name and column.type is not str for column in columns)


def unlogged(sweep: Mapping[str, object]) -> list[str]:
    """At most one line: a sweep file's metric that no run logs."""
    metric = sweep.get("metric")
    if not isinstance(metric, Mapping) or is_logged(str(metric.get("name"))):
        return []
    name = printable(str(metric.get("name")), 60)
    return [f"metric: {name}: no run logs it; name a number of evals, or strata/<copies>/<column>"]
