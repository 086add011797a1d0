"""Any csv or parquet file and its columns as numbers: what cannot be used is refused, naming file, column and row."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame


MAGNITUDE = 1e-100, 1e100  # of values that are squared and summed
DECIMAL = re.compile(r"\s*\"?[+-]?\d*([.,])\d+([eE][+-]?\d+)?\"?\s*")


class TableError(ValueError):
    """A table that cannot be used; the message names file, column, row and remedy."""

    def __init__(self, message: str):
        super().__init__(schema.printable(message))


def read_table(path: Path | str) -> "DataFrame":
    """Any csv (comma, semicolon or tab; a byte-order mark is skipped) or parquet file; raises TableError."""
    import pandas

    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such file; give a .csv or .parquet table")
    try:
        if path.suffix == ".parquet":
            return _well_named(_from_parquet(path), path)
        separator, decimal = _dialect(path)
        header = pandas.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
        names = [str(name).strip() for name in header.iloc[0].dropna()]
        _refuse_twins(names, path)
        with warnings.catch_warnings():
            # Else the first fields become an index and every name moves to its neighbour's values.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                path, sep=separator, decimal=decimal, encoding="utf-8-sig", low_memory=False, index_col=False
            )
        return _well_named(frame, path)
    except pandas.errors.ParserWarning:
        raise TableError(f"{path}: its rows have more fields than its header has names; name every column") from None
    except TableError:
        raise
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parse errors are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TableError(
            f"{path}: not a readable table ({reason}); save it as csv with one header line, or parquet"
        ) from None


def _from_parquet(path: Path) -> "DataFrame":
    """Raises ValueError: what pandas noted in the file beside its columns may be damaged in any way."""
    try:
        return schema.read_parquet(path, follow=True, threads=True).to_pandas()
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _well_named(frame: "DataFrame", path: Path) -> "DataFrame":
    """The frame with names without blanks around them; raises TableError where two columns have one name."""
    frame.columns = [str(name).strip() for name in frame.columns]
    _refuse_twins(frame.columns, path)
    return frame


def _refuse_twins(names: Sequence[str], path: Path) -> None:
    twins = [name for name, times in Counter(names).items() if times > 1]
    if twins:
        raise TableError(f"{path}: the header names column {twins[0]} more than once: rename or remove one")


def _dialect(path: Path) -> tuple[str, str]:
    """Separator and decimal mark of a csv: the mark is that of its first number that is not whole."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
        separator = max(",;\t", key=header.count)
        if separator == ",":
            return separator, "."
        for line in file:
            for cell in line.split(separator):
                if found := DECIMAL.fullmatch(cell):
                    return separator, found[1]
    return separator, "."


def column(frame: "DataFrame", name: str, where: str = "the table") -> "DataFrame":
    """The column, or a TableError that names the nearest spelling."""
    if name not in frame.columns:
        near = get_close_matches(name, [str(known) for known in frame.columns], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(map(str, frame.columns[:12]))}"
        raise TableError(f"{where}: no column {name}; {hint}")
    return frame[name]


def numbers(frame: "DataFrame", name: str, where: str = "the table", *, infinite: bool = False) -> np.ndarray:
    """The column as floats [n], missing = NaN; raises TableError on text, dates and (unless allowed) infinite values.

    The message names the row as the file counts it, from 0: a choice of rows keeps the frame's index.
    """
    import pandas

    found = column(frame, name, where)
    if getattr(found.dtype, "kind", "O") in "mMc":  # pandas would turn dates into nanoseconds since 1970
        raise TableError(f"{where}: column {name} holds {found.dtype}, which is no number; convert it first")
    if isinstance(found.dtype, np.dtype) and found.dtype.kind in "iufb":
        values = found.to_numpy(float)
    else:
        # None, "" and pandas' NA are missing; whatever else is no number is an error.
        values = pandas.to_numeric(found, errors="coerce").to_numpy(float, na_value=np.nan)
        blank = found.isna().to_numpy(bool) | (found.astype(str).str.strip() == "").to_numpy(bool)
        wrong = np.flatnonzero(np.isnan(values) & ~blank)
        if wrong.size:
            raise TableError(
                f"{where}: column {name}, row {frame.index[wrong[0]]} holds {found.iloc[wrong[0]]!r}, which is no "
                f"number; correct it, or leave the cell empty if it was not measured"
            )
    if not infinite and np.isinf(values).any():
        row = frame.index[np.flatnonzero(np.isinf(values))[0]]
        raise TableError(f"{where}: column {name}, row {row} is infinite; correct it, or leave it out with --where")
    return values


def check_magnitude(values: np.ndarray, what: str, *, each: bool = False) -> None:
    """Raises TableError where the largest of values [n] (`each`: one that is not 0) leaves MAGNITUDE, NaN aside."""
    size = np.abs(values[~np.isnan(values)])
    size = size[size > 0]
    if not size.size:
        return
    smallest, largest = MAGNITUDE
    low, high = size.min() if each else size.max(), size.max()
    if high > largest or low < smallest:
        raise TableError(
            f"{what} holds {high if high > largest else low:g}, beyond {smallest:g} to {largest:g}: its square leaves "
            f"the range of numbers; give it in another unit"
        )
