"""How far study 1's exponents depend on what was held fixed: rate, averaged weights, company of copies."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.onset import onsets
from analysis.onsets.run_setting import width_rule
from analysis.studies.over_runs import mean_of_runs, share_of_runs
from analysis.studies.quoted import count, interval, number, share, table
from analysis.studies.rate_law import rate_law, slope
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame, Series

HITS, CEILING = "n_basin_recovered", "n_ideal_basin_recovered"
RATES = {
    "0.005 (width/16)^-0.9": "the width rule",
    "0.0025 (width/16)^-0.9": "half the rate",
    "0.01 (width/16)^-0.9": "double the rate",
}
SLOPES = ("params", "copies", "images_seen")
DESIGNS = {"spectrum": ("spectrum",), "every other design": ("none", "uniform", "subset", "strata")}


def one_spectrum(evals: "DataFrame") -> "Series":
    """Which evaluations are of the spectrum of 256 images in its first rotation."""
    return (evals["n_unique"] == 256) & (evals["design"] == "spectrum") & (evals["rotate"] == 0)


def by_rule(evals: "DataFrame", strata: "DataFrame", earliest: float) -> dict[str, str]:
    """The spectrum of 256 images at the rule, half and double its rate and with raw weights: slopes, copies, onset.

    evals, strata: of all runs; the rows of the same sizes, seeds and rotation as the runs at other rates are compared.
    """
    words = width_rule(evals).map(RATES).where(evals["ema"].notna(), "raw weights")
    other = evals[words.notna() & (words != RATES["0.005 (width/16)^-0.9"])]
    alike = one_spectrum(evals)
    alike &= evals["width"].isin(other["width"]) & evals["seed"].isin(other["seed"])
    lines, values = [], dict[str, list[float]]()
    for rule in (*RATES.values(), "raw weights"):
        mine = evals[alike & (words == rule)]
        rows = strata[strata["run_id"].isin(mine["run_id"]) & (strata["images_seen"] >= earliest)]
        law = rate_law(rows, HITS, CEILING, {name: rows[name].to_numpy(float) for name in SLOPES})
        told = [slope(law, name) for name in SLOPES]
        for name, one in zip(SLOPES, told, strict=True):
            values.setdefault(name, []).append(np.nan if one.value is None else one.value)
        last = last_evaluations(mine[mine["params"] == mine["params"].max()])
        lines.append([rule, *(interval(one.value, one.lo, one.hi) for one in told), _onset(mine),
                      share(*share_of_runs(last["n_memorized"], last["n_generated"])),
                      count(mine["run_id"].nunique())])  # fmt: skip
    of_largest = f"of {count(evals.loc[alike, 'params'].max())} parameters"
    header = ["", *(f"ln {name.replace('_', ' ')}" for name in SLOPES), f"1 % copies from, images seen, {of_largest}",
              "copies at the end, of these", "runs"]  # fmt: skip
    spread = {f"rule_{name}": f"{number(min(of))} to {number(max(of))}" for name, of in values.items()}
    return {"rules": table(header, lines), **spread}


def _onset(evals: "DataFrame") -> str:
    """Images seen at which 1 % of the largest size's samples are copies: geometric mean of its runs, 95 % over them.

    A run that never came there is said: left out in silence it would bring the mean forward.
    """
    largest = evals[evals["params"] == evals["params"].max()]
    tau = onsets(largest, rng=np.random.default_rng(0))["tau_mem"]
    known = tau.dropna()
    if known.empty:
        return "none"
    mean = mean_of_runs(np.log(known))
    ends = " to ".join("no limit" if np.isnan(end) else count(float(np.exp(end))) for end in (mean.lo, mean.hi))
    never = f", {len(tau) - len(known)} runs never" if len(known) < len(tau) else ""
    return f"{count(float(np.exp(mean.value)))} ({ends}){never}"


def by_design(strata: "DataFrame", variables: Mapping[str, "DataFrame"]) -> dict[str, str]:
    """The law's slopes in a spectrum of copies and in every other design: laws of different company are not one."""
    rows, found = [], dict[str, str]()
    for key, (name, designs) in zip(("spectrum", "others"), DESIGNS.items(), strict=True):
        mine = strata["design"].isin(designs).to_numpy()
        part = strata[mine]
        law = rate_law(part, HITS, CEILING, {name: np.asarray(column)[mine] for name, column in variables.items()})
        told = {variable: slope(law, variable) for variable in variables}
        said = {variable: interval(one.value, one.lo, one.hi) for variable, one in told.items()}
        found |= {f"design_{key}_{variable}": text for variable, text in said.items()}
        rows.append([name, *said.values(), count(part["run_id"].nunique())])
    return found | {"designs": table(["", *(f"ln {name.replace('_', ' ')}" for name in variables), "runs"], rows)}


def by_steps(evals: "DataFrame", finer: "DataFrame") -> dict[str, str]:
    """The same weights measured with more sampler steps: copies among samples, chains that come back, KID, by size.

    Cells are matched by train_id at the last evaluation; their samples are drawn from the same noise.
    """
    both = last_evaluations(evals).merge(last_evaluations(finer), on="train_id", suffixes=("", "_finer"))
    both = both.sort_values("params")
    columns = {"copies": ("n_memorized", "n_generated"), "recovered": ("n_basin_recovered", "n_basin")}
    rows, most = [], dict[str, float]()
    for one in both.to_dict("records"):
        told = [count(one["params"])]
        for name, (hits, trials) in columns.items():
            shares = [one[f"{hits}{end}"] / one[f"{trials}{end}"] for end in ("", "_finer")]
            told += [share(value) for value in shares]
            most[name] = max(most.get(name, 0.0), abs(shares[1] - shares[0]))
        rows.append([*told, number(one["kid"]), number(one["kid_finer"])])
    levels = [json.loads(frame["config"].iloc[0])["evaluate"]["sampler_steps"] for frame in (evals, finer)]
    header = ["parameters", *(f"{words}, {n} steps" for words in ("copies", "recovered", "KID") for n in levels)]
    most["loss"] = float((both["seen_loss_finer"] / both["seen_loss"] - 1).abs().max())  # trained twice, not once
    return {"steps": table(header, rows), **{f"steps_{name}": share(value) for name, value in most.items()}}


def matching(evals: "DataFrame", other: Tables) -> "DataFrame":
    """The evaluations of the spectrum of 256 images that have the sizes and seeds of the runs of another source."""
    return evals[
        one_spectrum(evals) & evals["params"].isin(other.evals["params"]) & evals["seed"].isin(other.evals["seed"])
    ]


def offset(evals: "DataFrame", strata: "DataFrame", other: Tables, earliest: float) -> dict[str, str]:
    """What another source changes in recovery's logit, against the runs of `by_rule` of the same sizes and seeds.

    At equal parameters and at equal parameters per pixel; copies and images seen are in both laws.
    """
    shape = ["run_id", "image_size", "channels"]
    frames = []
    for source, told, of in ((1.0, matching(evals, other), strata), (np.e, other.evals, other.strata)):
        rows = of[of["images_seen"] >= earliest].merge(told[shape].drop_duplicates(), on="run_id")
        frames.append(rows.assign(source=source))
    import pandas

    both = pandas.concat(frames, ignore_index=True)
    pixels = both["channels"] * both["image_size"] ** 2
    found = {}
    for key, size in (("offset", both["params"]), ("offset_per_pixel", both["params"] / pixels)):
        x = {"size": size.to_numpy(float), **{name: both[name].to_numpy(float) for name in (*SLOPES[1:], "source")}}
        one = slope(rate_law(both, HITS, CEILING, x), "source")
        found[f"elsewhere_{key}"] = interval(one.value, one.lo, one.hi)
    return found


def elsewhere(evals: "DataFrame", strata: "DataFrame", earliest: float) -> dict[str, str]:
    """The slopes of another source's spectrum, as `by_rule` tells them of digits, and the ends of its shares."""
    rows = strata[strata["images_seen"] >= earliest]
    law = rate_law(rows, HITS, CEILING, {name: rows[name].to_numpy(float) for name in SLOPES})
    said = [(name, slope(law, name)) for name in SLOPES]
    last = last_evaluations(evals)
    largest = last[last["params"] == last["params"].max()]
    return {
        **{f"elsewhere_{name}": interval(one.value, one.lo, one.hi) for name, one in said},
        "elsewhere_runs": count(evals["run_id"].nunique()),
        "elsewhere_onset": _onset(evals),
        "elsewhere_memorized": share(*share_of_runs(largest["n_memorized"], largest["n_generated"])),
        "elsewhere_null": f"{count(last['n_null_memorized'].sum())} of {count(last['n_generated'].sum())}",
    }
