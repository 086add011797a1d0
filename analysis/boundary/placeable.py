"""Which models from elsewhere can stand on a boundary: of the same images, with its columns measured alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

# What a column's value depends on besides the model: values compare only where these are the same. KID is unbiased in
# the number of samples, the Frechet distance and coverage are not (measures.md).
MEASURED = {
    "kid": ("feature_space",),
    "frechet": ("feature_space", "n_generated"),
    "coverage": ("feature_space", "n_generated"),
}
WHAT = {"feature_space": "features", "n_generated": "number of samples"}


def unlike_data(study: "DataFrame", models: "DataFrame") -> list[str]:
    """For each row of `models`, why its images are not those of the rows of `study`; empty where nothing says so.

    Compared are `dataset`, where a missing name is a name of its own, and `data_sha256` where both know it; a column
    that one table does not have tells nothing.
    """
    found = []
    names, contents = _values(study, "dataset"), _values(study, "data_sha256") - {None}
    for row in models.to_dict("records"):
        why = ""
        if names and "dataset" in row:
            name = _plain(row["dataset"])
            if len(names) > 1:
                why = f"the boundary is of several data sets ({_list(names)}), which do not compare: keep one"
            elif name not in names:
                why = f"its data set is {_said(name)}, that of the boundary {_list(names)}"
        content = _plain(row.get("data_sha256"))
        if not why and contents and content is not None and content not in contents:
            short = _list({one[:12] for one in contents if one is not None})
            why = (
                f"its images are not the boundary's, though the name is the same (content {content[:12]}, not {short})"
            )
        found.append(why)
    return found


def unlike_measures(study: "DataFrame", models: "DataFrame", columns: Sequence[str]) -> list[str]:
    """For each row of `models`, which of `columns` was measured otherwise than in `study`, where both tell how."""
    asked = [(column, key) for column in columns for key in MEASURED.get(column, ())]
    known = {key: _values(study, key) - {None} for _, key in asked}
    found = []
    for row in models.to_dict("records"):
        why = []
        for column, key in asked:
            own = _plain(row.get(key))
            if not known[key] or own is None:
                continue
            if len(known[key]) > 1:
                why.append(f"{column} of the boundary has several {WHAT[key]} ({_list(known[key])}): keep one")
            elif own not in known[key]:
                why.append(f"{WHAT[key]} of its {column}: {own}, of the boundary's: {_list(known[key])}")
        found.append("; ".join(why))
    return found


def _values(frame: "DataFrame", name: str) -> set[str | None]:
    """The distinct values of a column as text, None: missing; nothing where there is no such column."""
    return {_plain(value) for value in frame[name].unique()} if name in frame.columns else set()


def _plain(value: object) -> str | None:
    if value is None or value != value:  # NaN, pandas' mark of a missing text too
        return None
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _list(values: set[str] | set[str | None]) -> str:
    return ", ".join(sorted(map(_said, values)))


def _said(name: str | None) -> str:
    return "not named" if name is None else name
