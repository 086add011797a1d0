"""A study's tables by data set: no fit, figure or answer pools the images of two."""

import re
from dataclasses import replace
from typing import NamedTuple

from analysis.table import Tables
from scaling import schema

LONGEST = 24  # letters of a data set's name in that of a file


class Part(NamedTuple):
    """The tables of one data set."""

    name: str
    prefix: str  # before the names of its figures and sections; empty where it is the only one
    tables: Tables


def by_dataset(tables: Tables) -> list[Part]:
    """The parts in order of name; runs whose data set is not named are one."""
    names = tables.evals["dataset"].where(tables.evals["dataset"].notna(), "unnamed data").astype(str)
    found = sorted(names.unique())
    parts = []
    for at, name in enumerate(found):
        mine = set(tables.evals["run_id"][names == name])
        kept = {
            table: (frame := getattr(tables, table))[frame["run_id"].isin(mine)].reset_index(drop=True)
            for table in schema.TABLES
        }
        own = replace(tables, **kept, gallery={run: a for run, a in tables.gallery.items() if run in mine})
        parts.append(Part(name, f"{_file_name(name)}-{at}-" if len(found) > 1 else "", own))
    return parts


def _file_name(name: str) -> str:
    """A name of a data set as part of a file's: letters and digits, whatever it holds."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())[:LONGEST].strip("_") or "data"
