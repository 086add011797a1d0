"""Row conditions of the command line, "COLUMN==VALUE": parsed here, never evaluated as code."""

import operator
import re
from typing import TYPE_CHECKING

import numpy as np

from analysis.columns import TableError, column, numbers

if TYPE_CHECKING:
    from pandas import DataFrame

OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
PATTERN = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|<|>)\s*(.*?)\s*")


def holds(frame: "DataFrame", text: str) -> np.ndarray:
    """Rows [n] (booleans) where the condition is true; a missing value fulfils none, not even !=.

    Numbers compare as numbers; text (quotes optional) only by == and !=. Raises TableError.
    """
    parsed = PATTERN.fullmatch(text)
    if parsed is None or not parsed[3]:
        raise TableError(f"condition {text!r}: write COLUMN==VALUE with one of == != < <= > >=")
    name, sign, value = parsed.groups()
    value = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    found = column(frame, name, f"condition {text!r}")
    known = found.notna().to_numpy(bool)
    try:
        wanted = float(value)
        values = numbers(frame, name, infinite=True)  # so that a condition can leave them out
    except ValueError:  # the value or the column is text
        if sign not in ("==", "!="):
            raise TableError(
                f"condition {text!r}: {name} and {value!r} are not both numbers; text knows only == and !="
            ) from None
        return np.asarray(OPERATORS[sign](found.astype(str).to_numpy(), value), bool) & known
    return np.asarray(OPERATORS[sign](values, wanted), bool) & known


def repeated_rows(frame: "DataFrame") -> str:
    """A sentence about rows that repeat another row in every column, or an empty string."""
    try:
        count = int(frame.duplicated().sum())
    except TypeError:  # cells that hold lists: compared as they print
        count = int(frame.astype(str).duplicated().sum())
    return f"{count} rows repeat another row in every column and count as often as they stand there" if count else ""
