"""What the law of study 1 says of images in every company: fitted to other runs, with nothing left to fit here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.fitting.estimate import fit
from analysis.laws import law
from analysis.registered import Over
from analysis.studies.context_pairs import HITS
from analysis.studies.memorization import CEILING, EARLIEST, base, quotients
from analysis.studies.quoted import count, interval, number, table
from analysis.summary import last_evaluations
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Array = np.ndarray
KNOWS = {
    "law": ("params_per_unique", "exposures", "time"),
    "blind": ("params", "exposures", "time"),
    "effective": ("params_per_effective", "exposures", "time"),
}


def beside_the_law(known: Tables, strata: "DataFrame") -> "DataFrame":
    """The last rows of `strata` with their share of the ceiling, `measured`, and what each of KNOWS says of it.

    known: study 1's tables, all that the laws are fitted to. `blind` is the same law without the number of images, so
    blind to company at equal n_train; `effective` has the number of images of which each as often as the others would
    give the same chance that two draws are one image, n_train^2 / sum copies^2 (Hill 1973, order 2), in its place.
    """
    before, last = _told(base(known)[1]), last_evaluations(_told(strata))
    return last.assign(measured=_share(last), **{name: _predicted(before, last, name) for name in KNOWS})


def foretold(last: "DataFrame", words: Mapping[str, str]) -> dict[str, str]:
    """How far the laws are from what was measured, over all strata, and the table of the tagged images.

    last: of `beside_the_law`, with `context` and `tagged`. Errors are root mean squares, intervals over draws.
    """
    over = Over(last["draw"].to_numpy(), seed=0)
    squares = {name: (last[name] - last["measured"]).to_numpy() ** 2 for name in KNOWS}
    errors = {f"{name}_error": over.root(each) for name, each in squares.items()}
    for name in ("blind", "effective"):
        errors[f"{name}_worse"] = over.mean(squares[name] - squares["law"], np.ones(len(last), bool))
    return {
        "foretold": _by_company(last[last["copies"] == last["tagged"]], words), "n_strata": count(len(last)),
        **{name: interval(one["value"], one["lo"], one["hi"]) for name, one in errors.items()},
    }  # fmt: skip


def _told(strata: "DataFrame") -> "DataFrame":
    """The rows with a ceiling, from where the averaged weights are no longer those of the warm-up."""
    strata = strata.assign(effective=effective_number(strata))
    return strata[(strata["images_seen"] >= EARLIEST) & (strata[CEILING] > 0) & strata[HITS].notna()]


def effective_number(strata: "DataFrame") -> "Series":
    """The effective number of images of each row's training set, from the strata of its evaluation."""
    training = strata.assign(
        n=strata["n_images"] * strata["copies"], squares=strata["n_images"] * strata["copies"] ** 2
    )
    sums = training.groupby(["run_id", "images_seen"])[["n", "squares"]].transform("sum")
    return sums["n"] ** 2 / sums["squares"]


def _share(rows: "DataFrame") -> Array:
    return np.minimum(rows[HITS] / rows[CEILING], 1).to_numpy(float)


def _variables(rows: "DataFrame", name: str) -> dict[str, Array]:
    columns = {**quotients(rows), "params": rows["params"], "params_per_effective": rows["params"] / rows["effective"]}
    return {variable: np.asarray(columns[variable], float) for variable in KNOWS[name]}


def _predicted(before: "DataFrame", rows: "DataFrame", name: str) -> Array:
    """The share that the law NAME of KNOWS, fitted to the rows `before`, gives `rows`."""
    trials = before[CEILING].to_numpy(float)
    hits = np.minimum(before[HITS].to_numpy(float), trials)
    fitted = fit(law("logistic", KNOWS[name]), _variables(before, name), hits, trials=trials, starts=16)
    return fitted.predict(_variables(rows, name))


def _by_company(own: "DataFrame", words: Mapping[str, str]) -> str:
    """A row a context and number of copies, a column a size: measured and foretold share, means over draws."""
    sizes = sorted(own["params"].unique())
    rows = []
    for (copies, context), part in own.groupby(["copies", "context"]):
        mean = part.groupby("params")[["measured", "law"]].mean()
        told = [" / ".join(f"{number(100 * one)} %" for one in mean.loc[size]) if size in mean.index else "not run"
                for size in sizes]  # fmt: skip
        rows.append([f"{copies:.0f}, {words[context]}", *told])
    return table(["copies of the tagged, company", *(f"{size:,.0f} parameters" for size in sizes)], rows)
