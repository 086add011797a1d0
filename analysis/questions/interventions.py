"""Interventions at equal quality (measures.md 3.6): what does a change to a memorizing cell win, at what cost?

Base and changed runs are paired by replicate (seed, draw, rotation and fold) and read at the same images_seen. The base
is the configuration from which most others differ in one key; early stopping is the base's own row at its hold-out
minimum.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.boundary.front import front
from analysis.questions.answer import Answer, not_answerable, plain, sentences
from analysis.questions.comparable import Mean, clustered_mean, logit_rate, replicates, rows_at
from analysis.questions.matched import Curve, curves, pair
from analysis.replicates import REPLICATE_KEYS
from analysis.summary import holdout_minima
from analysis.table import Tables
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
UNIT = "logit of the memorized fraction, base minus changed, of the first in rank"
NOT_A_CHANGE = (*REPLICATE_KEYS, "evaluate.at")  # replicates, and when they are looked at
EFFECTS = (
    "benefit", "cost_holdout_loss", "cost_kid", "benefit_single", "benefit_duplicated", "benefit_equal_loss"
)  # fmt: skip
EARLY_STOP = "early stop: the base at its hold-out minimum"


def flat(config: object, prefix: str = "") -> dict[str, object]:
    """A configuration as key.key -> value, without what is no change."""
    if prefix in NOT_A_CHANGE:
        return {}
    if not isinstance(config, dict):
        return {prefix: config}
    return {k: v for key, part in config.items() for k, v in flat(part, f"{prefix}.{key}" if prefix else key).items()}


def changes(base: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """key -> (value of base, value of changed) where they differ; a key that is not there is null."""
    keys = dict.fromkeys((*base, *changed))
    return {key: (base.get(key), changed.get(key)) for key in keys if base.get(key) != changed.get(key)}


def base_of(configs: Sequence[Mapping[str, Any]], candidates: Sequence[int]) -> list[int]:
    """The candidates from which most configurations differ in exactly one key: one is a base, several are a tie."""
    near = [sum(len(changes(configs[k], other)) == 1 for other in configs) for k in candidates]
    return [k for k, count in zip(candidates, near, strict=True) if count == max(near)]


def single_changes(
    configs: Sequence[Mapping[str, Any]], base: int
) -> tuple[dict[int, dict[str, tuple[Any, Any]]], int]:
    """configuration -> its changes from the base, without those that are combinations of others; and how many they are.

    What adds to another's changes something that no other has stays: nowhere else does that thing show.
    """
    found = {k: changes(configs[base], other) for k, other in enumerate(configs) if k != base}
    more = set()
    for k, mine in found.items():
        within = [other.keys() for other in found.values() if other.items() < mine.items()]
        if set[str]().union(*within) == mine.keys():
            more.add(k)
    return {k: mine for k, mine in found.items() if k not in more}, len(more)


def interventions(
    tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int
) -> Answer:
    """Benefit of the change first in rank; `at` names the base by its columns, `rate` is not used.

    Rows: one for each change and one for early stopping, in rank: those whose costs' intervals reach 0 or below by
    benefit, then the rest by Pareto order of benefit and costs, then what one replicate cannot rank.
    """
    evals, strata = tables.evals, tables.strata
    texts = evals["config"].fillna("").to_numpy()
    if not np.any(texts != ""):
        return not_answerable("interventions", "no row has its config: collect the runs again", level=level, unit=UNIT)
    canonical = {text: json.dumps(flat(json.loads(text)), sort_keys=True) for text in set(texts) if text}
    which = list(dict.fromkeys(canonical[text] for text in texts if text))
    configs = [json.loads(text) for text in which]
    evals = evals.assign(
        _config=[which.index(canonical[text]) if text else -1 for text in texts],
        _replicate=replicates(evals),
        _logit=logit_rate(evals["n_memorized"].to_numpy(float), evals["n_generated"].to_numpy(float)),
    )
    bases = base_of(configs, sorted(k for k in rows_at(evals, at)["_config"].unique() if k >= 0))
    if len(bases) != 1:
        tie = f"{len(bases)} configurations are equally near to the others: name the base by its columns, for instance "
        return not_answerable("interventions", tie + "--at params=40489 --at n_unique=128", level=level, unit=UNIT)
    base = bases[0]
    changed, combined = single_changes(configs, base)
    trained = evals[evals["images_seen"] > 0]
    found = {_words(mine): pairs_of(trained, base, k) for k, mine in changed.items()}
    found[EARLY_STOP] = early_stops(trained[trained["_config"] == base])
    by_run = {curve.run_id: curve for curve in curves(evals)}
    rates = stratum_rates(strata)
    rows = [
        _row(change, pairs, rates, by_run, level=level, draws=draws, seed=seed)
        for change, pairs in found.items()
        if pairs
    ]
    rows = ranked(rows)
    unpaired = [change for change, pairs in found.items() if not pairs]
    notes = sentences(
        f"no seed and images_seen in common with the base: {', '.join(unpaired)}" if unpaired else "",
        f"{several(combined, 'configuration')} left out: combinations of other changes" if combined else "",
    )
    if not changed or not rows or rows[0]["benefit"] is None:
        lacking = "no change shares seed, images_seen and counts with the base" if changed else "nothing is changed"
        return not_answerable("interventions", sentences(lacking, notes), level=level, unit=UNIT, rows=rows)
    first = rows[0]
    why = sentences(_verdict(first), _base_words(configs[base], configs), notes)
    ends = (first["benefit"], first["benefit_lo"], first["benefit_hi"])
    return Answer("interventions", True, *ends, level, UNIT, False, why, rows)


def pairs_of(trained: "DataFrame", base: int, changed: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(base row, changed row) of each replicate at the largest images_seen that both were evaluated at."""
    both = trained[trained["_config"] == base].merge(
        trained[trained["_config"] == changed], on=["_replicate", "images_seen"], suffixes=("", "_changed")
    )
    pairs = []
    for _, rows in both.groupby("_replicate"):
        row = rows.loc[rows["images_seen"].idxmax()].to_dict()
        other = {name: row.get(f"{name}_changed", row[name]) for name in trained.columns}
        pairs.append((row, other))
    return pairs


def early_stops(base: "DataFrame") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(last row, row at the hold-out minimum) of each base run."""
    last = base.loc[base.groupby("run_id")["images_seen"].idxmax()].set_index("run_id", drop=False)
    minima = holdout_minima(base)
    return [(last.loc[row["run_id"]].to_dict(), row) for row in minima.to_dict("records")]


def stratum_rates(strata: "DataFrame") -> dict[tuple[str, int, str], float]:
    """(run_id, images_seen, single or duplicated) -> logit of n_basin_recovered / n_basin, images of one copy apart."""
    known = strata[strata["n_basin_recovered"].notna() & (strata["n_basin"] > 0)]
    kind = np.where(known["copies"] > 1, "duplicated", "single")
    counts = (
        known.assign(_kind=kind).groupby(["run_id", "images_seen", "_kind"])[["n_basin_recovered", "n_basin"]].sum()
    )
    return dict(zip(counts.index, logit_rate(*counts.to_numpy(float).T), strict=True))


def _effects(
    base: Mapping[str, Any],
    changed: Mapping[str, Any],
    rates: Mapping[tuple[str, int, str], float],
    by_run: Mapping[str, Curve],
) -> list[float]:
    """One pair's values of EFFECTS, NaN where not measured."""
    strata = [
        rates.get((base["run_id"], base["images_seen"], kind), np.nan)
        - rates.get((changed["run_id"], changed["images_seen"], kind), np.nan)
        for kind in ("single", "duplicated")
    ]
    equal = np.nan
    mine, theirs = (by_run.get(row["run_id"]) for row in (base, changed))
    if mine and theirs and mine.run_id != theirs.run_id:  # early stopping is the base itself at its best loss
        found = pair(mine, theirs)
        equal = -found.difference if found.states else np.nan
    costs = [changed[name] - base[name] for name in ("holdout_loss", "kid")]
    return [base["_logit"] - changed["_logit"], *costs, *strata, equal]


def _row(
    change: str,
    pairs: Sequence[Any],
    rates: Mapping[tuple[str, int, str], float],
    by_run: Mapping[str, Any],
    *,
    level: float,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    table = np.array([_effects(base, changed, rates, by_run) for base, changed in pairs], float)
    cluster = np.array([base["_replicate"] for base, _ in pairs])
    identical = bool(np.all(np.isnan(table) | (table == 0)) and np.any(table == 0))
    row = {"change": change, "n_seeds": len(np.unique(cluster)), "images_seen": _shared(pairs), "identical": identical}
    for name, values in zip(EFFECTS, table.T, strict=True):
        known = ~np.isnan(values)
        if not known.any():
            row |= {name: None, f"{name}_lo": None, f"{name}_hi": None}
            continue
        # Zero everywhere, to the bit, is the same measurement made twice: here the interval is 0 too.
        mean = (
            Mean(0.0, 0.0, 0.0, 0)
            if identical
            else clustered_mean(values[known], cluster[known], level=level, draws=draws, seed=seed)
        )
        row |= {name: mean.value, f"{name}_lo": plain(mean.lo), f"{name}_hi": plain(mean.hi)}
    return row | {"runs": sorted({str(run["run_id"]) for pair in pairs for run in pair})}


def _shared(pairs: Sequence[Any]) -> float | None:
    """The images_seen of the changed rows, None where they differ."""
    seen = {float(changed["images_seen"]) for _, changed in pairs}
    return seen.pop() if len(seen) == 1 else None


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with at_no_cost (None: one replicate, not known) and rank, in rank."""
    free, paid, unknown = [], [], []
    for row in rows:
        lows = [row[f"{name}_lo"] for name in ("cost_holdout_loss", "cost_kid") if row[name] is not None]
        if row["benefit"] is None or not lows or None in lows:
            unknown.append(row | {"at_no_cost": None})
        elif max(lows) <= 0:
            free.append(row | {"at_no_cost": True})
        else:
            paid.append(row | {"at_no_cost": False})

    def by_benefit(row: Mapping[str, Any]) -> float:
        return -(row["benefit"] if row["benefit"] is not None else -np.inf)

    done = sorted(free, key=by_benefit)
    done = [row | {"rank": k} for k, row in enumerate(done, 1)]
    costs = [c for c in ("cost_holdout_loss", "cost_kid") if all(row[c] is not None for row in paid)]
    while paid:
        points = np.array([[-row["benefit"], *(row[c] for c in costs)] for row in paid], float)
        best = set(map(int, np.flatnonzero(front(points))))
        rank = len(done) + 1  # rows of one front share their rank: neither is better in everything
        done += sorted([paid[k] | {"rank": rank} for k in best], key=by_benefit)
        paid = [row for k, row in enumerate(paid) if k not in best]
    return done + [row | {"rank": None} for row in sorted(unknown, key=by_benefit)]


def _verdict(first: Mapping[str, Any]) -> str:
    if first["rank"] is None:
        return f"{first['change']}: one seed, no interval, nothing can be ranked; train other seeds of base and change"
    if not first["at_no_cost"]:
        return (
            f"no change is free of a cost in quality; {first['change']} is first in Pareto order of benefit and costs"
        )
    lo = first["benefit_lo"]
    if lo is None or lo <= 0:
        return f"of the changes at no cost {first['change']} wins most, and even it is not told apart from no benefit"
    return (
        f"{first['change']}: the largest benefit of those whose cost cannot be told from 0 or is below it; the "
        f"first of several looks better than it is"
    )


def _words(mine: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{key}: {json.dumps(a)} -> {json.dumps(b)}" for key, (a, b) in mine.items())


def _base_words(base: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]) -> str:
    varied = [key for key in base if any(other.get(key) != base[key] for other in configs)]
    return "base: " + ", ".join(f"{key} {json.dumps(base[key])}" for key in varied)
