"""The columns to be minimised, read from a table with their errors: plain values, standard errors, rates of counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.boundary.redraw import Rows
from analysis.columns import TableError, check_magnitude, numbers
from analysis.rates import checked_counts

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


@dataclass(frozen=True)
class Minimised:
    """Names in order; `errors`: name -> column of its standard error; `rates`: name -> (hits, trials) columns."""

    names: Sequence[str]
    errors: Mapping[str, str]
    rates: Mapping[str, tuple[str, str]]

    @classmethod
    def of(cls, names: Sequence[str], errors: Sequence[str], rates: Sequence[str]) -> "Minimised":
        """From the words of --minimize COL, --se COL=COL and --rate NAME=HITS/TRIALS; raises ValueError."""
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"--minimize {' '.join(names)}: a boundary needs at least two different columns")
        counts = {}
        for name, value in named(rates, names, "--rate").items():
            hits, sign, trials = value.partition("/")
            if not (hits and sign and trials):
                raise ValueError(f"--rate {name}={value}: write NAME=HITS/TRIALS, two columns of counts")
            counts[name] = (hits, trials)
        given = named(errors, names, "--se")
        twice = sorted(set(given) & set(counts))
        if twice:
            raise ValueError(f"--se {twice[0]}=…: the error of a rate comes from its counts; leave --se out")
        return cls(names, given, counts)

    def read(self, frame: "DataFrame", where: str) -> Rows:
        """Every row; NaN where something is missing. Raises TableError, naming column and row."""
        n, c = len(frame), len(self.names)
        value, se = np.full((n, c), np.nan), np.zeros((n, c))
        hits, trials = np.full((n, c), np.nan), np.full((n, c), np.nan)
        for k, name in enumerate(self.names):
            if name in self.rates:
                if name in frame.columns:
                    raise TableError(f"{where}: --rate {name}=… but there is a column {name}: choose another name")
                successes, of = (numbers(frame, source, where) for source in self.rates[name])
                hits[:, k], trials[:, k] = checked_counts(successes, of, what=f"{where}: {'/'.join(self.rates[name])}")
                value[:, k] = hits[:, k] / trials[:, k]
            else:
                value[:, k] = numbers(frame, name, where)
                check_magnitude(value[:, k], f"{where}: column {name}")
            if name in self.errors:
                se[:, k] = numbers(frame, self.errors[name], where)
                check_magnitude(se[:, k], f"{where}: column {self.errors[name]}")
                if np.any(se[:, k] < 0):
                    row = frame.index[np.flatnonzero(se[:, k] < 0)[0]]
                    raise TableError(
                        f"{where}: column {self.errors[name]}, row {row} is negative, which no standard error is: "
                        f"correct or remove the row"
                    )
        counted = bool(self.rates)
        return Rows(value, se if self.errors else None, hits if counted else None, trials if counted else None)


def complete(rows: Rows) -> Array:
    """Rows [n] without a missing value or error."""
    found = ~np.isnan(rows.value).any(axis=1)
    return found if rows.se is None else found & ~np.isnan(rows.se).any(axis=1)


def subset(rows: Rows, chosen: Array, cluster: Array | None = None) -> Rows:
    """The rows `chosen` (booleans [n]), with the cluster [chosen] given."""
    se, hits, trials = (None if part is None else part[chosen] for part in (rows.se, rows.hits, rows.trials))
    return Rows(rows.value[chosen], se, hits, trials, cluster)


def named(texts: Sequence[str], known: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE words as a dictionary; raises ValueError on other shapes, other names and repeats."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not value or name not in known:
            raise ValueError(f"{option} {text!r}: write NAME=… with one of {', '.join(known)}")
        if name in pairs:
            raise ValueError(f"{option} {text!r}: {name} was given already; each name once")
        pairs[name] = value
    return pairs
