"""Which run of a study is repeated: the cheapest one that has replicates and shows some memorization, not all."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling.limits import parse_json
from scaling.reproduce.committed import Run
from scaling.store_errors import StoreError

FEWEST = 3  # replicates that a tolerance is measured from
RATES = (("n_memorized", "n_generated"), ("n_basin_recovered", "n_basin"))
INFORMATIVE = (0.05, 0.95)  # the mean rate of a cell: elsewhere counts hardly move


@dataclass(frozen=True)
class Choice:
    """A run to repeat, its replicates, whose spread says what agrees, and those of other cells."""

    run: str
    others: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]  # of the study but this one
    why: str


def choose(runs: Mapping[str, Run]) -> Choice:
    """The run of least train_flops among the informative cells, or where there is none among all with replicates.

    Of equals the one whose cell's rate is nearest to 1/2, then the lowest seed, then the first run_id. Raises
    StoreError where nothing has FEWEST replicates.
    """
    cells, how = _with_replicates(runs)
    if not cells:
        raise StoreError(
            f"no cell has {FEWEST} runs of other seeds, nor a setting {FEWEST} of other draws or rotations, with the "
            f"same last images_seen: there is no spread to measure a tolerance from"
        )
    telling = [cell for cell in cells if any(map(_informative, _rates(runs, cell)))]
    among = telling or cells
    candidates = [(run, cell) for cell in among for run in cell]
    run, cell = min(candidates, key=lambda pair: (*_cost(runs, *pair), pair[0]))
    that = "where some is memorized and not all" if telling else "(in none is some memorized and not all)"
    those = f"{len(candidates):,} runs in {len(among):,} cells of {FEWEST} {how} or more {that}"
    return _choice(run, cell, cells, f"the cheapest of {those}; {_said(runs, run, cell)}, {len(cell)} {how}")


def named(runs: Mapping[str, Run], run: str) -> Choice:
    """The run that was asked for; raises StoreError where it is not in the table or has too few replicates."""
    if run not in runs:
        raise StoreError(f"--run {run}: the table has no such run, but {len(runs):,} others; leave --run out for one")
    for key, how in KEYS:
        groups = _groups(runs, key)
        cell = next(group for group in groups if run in group)
        if len(cell) >= FEWEST:
            return _choice(run, cell, groups, f"asked for; {_said(runs, run, cell)}, {len(cell)} {how}")
    raise StoreError(
        f"--run {run}: has {len(cell) - 1} replicate(s) with its last images_seen, and a tolerance needs "
        f"{FEWEST} runs; name another run, or leave --run out"
    )


def _choice(run: str, cell: tuple[str, ...], cells: Sequence[tuple[str, ...]], why: str) -> Choice:
    others = tuple(other for other in cell if other != run)
    return Choice(run, others, tuple(one for one in cells if one != cell and len(one) >= FEWEST), why)


def _setting(row: Mapping[str, Any]) -> str:
    """The configuration without all that only says which images and which random numbers."""
    tree = parse_json(row["config"])
    try:
        del tree["seed"], tree["data"]["fold"], tree["data"]["draw"], tree["data"]["duplication"]["rotate"]
    except (KeyError, TypeError):
        raise StoreError(f"run {row['run_id']}: its configuration has no seed, draw, fold or rotate") from None
    return json.dumps(tree, sort_keys=True)


KEYS: tuple[tuple[Callable[[Mapping[str, Any]], str], str], ...] = (
    (lambda row: str(row["cell_id"]), "replicates"),
    (_setting, "replicates, other draws or rotations among them"),  # where no cell has enough
)


def _groups(runs: Mapping[str, Run], key: Callable[[Mapping[str, Any]], str]) -> list[tuple[str, ...]]:
    found: dict[tuple[str, int], list[str]] = {}
    for run, rows in sorted(runs.items()):
        found.setdefault((key(rows[-1]), rows[-1]["images_seen"]), []).append(run)
    return [tuple(cell) for cell in found.values()]


def _with_replicates(runs: Mapping[str, Run]) -> tuple[list[tuple[str, ...]], str]:
    for key, how in KEYS:
        if cells := [cell for cell in _groups(runs, key) if len(cell) >= FEWEST]:
            return cells, how
    return [], ""


def _rates(runs: Mapping[str, Run], cell: Sequence[str]) -> list[float | None]:
    """The mean over replicates of each of RATES at the last evaluation; None where one was not measured."""
    means: list[float | None] = []
    for hits, trials in RATES:
        counts = [(runs[run][-1].get(hits), runs[run][-1].get(trials)) for run in cell]
        shares = [x / n for x, n in counts if x is not None and n]
        means.append(sum(shares) / len(shares) if len(shares) == len(counts) else None)
    return means


def _informative(rate: float | None) -> bool:
    return rate is not None and INFORMATIVE[0] < rate < INFORMATIVE[1]


def _cost(runs: Mapping[str, Run], run: str, cell: Sequence[str]) -> tuple[float, float, int]:
    last = runs[run][-1]
    from_half = min((abs(rate - 0.5) for rate in _rates(runs, cell) if rate is not None), default=0.5)
    return last["train_flops"], from_half, last["seed"]


def _said(runs: Mapping[str, Run], run: str, cell: Sequence[str]) -> str:
    last, seconds = runs[run][-1], runs[run][-1].get("wall_seconds")
    rates = [
        f"{hits}/{trials} {rate:.3f}"
        for (hits, trials), rate in zip(RATES, _rates(runs, cell), strict=True)
        if rate is not None
    ]
    beside = f", its share of {packed} at once," if (packed := last.get("packed") or 1) > 1 else ""
    took = "" if seconds is None else f", {seconds:.0f} s{beside} when it was committed"
    return ", ".join([f"{last['train_flops']:.3g} FLOP{took}", *rates])
