"""A study collected in parts: the same run never counts twice, and the parts' rows become one table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.columns import TableError
from scaling import schema

if TYPE_CHECKING:
    from pandas import DataFrame


def joined(parts: Mapping[str, Mapping[str, "DataFrame"]]) -> dict[str, "DataFrame"]:
    """part -> table -> frame with every column of the schema, to table -> frame, in order of the runs.

    A run of several parts is kept once where all its rows are equal in them (missing equals missing). Raises TableError
    where they are not.
    """
    import pandas

    kept: dict[str, list[DataFrame]] = {table: [] for table in schema.TABLES}
    first: dict[str, str] = {}  # run_id -> the part that has it first
    for part, frames in parts.items():
        runs = {run: part for frame in frames.values() for run in frame["run_id"].dropna().unique()}
        for earlier in sorted({first[run] for run in runs.keys() & first.keys()}):
            shared = sorted(run for run in runs if first.get(run) == earlier)
            _check_equal(shared, {earlier: parts[earlier], part: frames})
        for table, frame in frames.items():
            kept[table].append(frame[~frame["run_id"].isin(list(first))])
        first = {**runs, **first}
    return {
        table: pandas.concat(some, ignore_index=True).sort_values("run_id", kind="stable", ignore_index=True)
        for table, some in kept.items()
    }


def _check_equal(runs: Sequence[str], two: Mapping[str, Mapping[str, "DataFrame"]]) -> None:
    """Raises TableError on a run that has other rows in one of these two parts than in the other."""
    for table, key in schema.KEYS.items():
        one, other = (_rows(frames[table], runs, key) for frames in two.values())
        if not one.equals(other):
            run = next(run for run in runs if not _rows(one, [run], key).equals(_rows(other, [run], key)))
            raise TableError(
                f"run {run} stands in the parts {' and '.join(two)} with different rows of {table}: which of them "
                f"count cannot be told; keep it in one part"
            )


def _rows(frame: "DataFrame", runs: Sequence[str], key: Sequence[str]) -> "DataFrame":
    return frame[frame["run_id"].isin(runs)].sort_values(list(key), ignore_index=True)
