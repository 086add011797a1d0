"""When generalization and memorization begin: the report's table of onsets, with what is censored said in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.onset import onsets
from analysis.onsets.crossing import Status
from analysis.pages import page, words

if TYPE_CHECKING:
    from pandas import DataFrame

STATUS = {
    Status.BELOW_RANGE: "before the first evaluation, at {b}",
    Status.ABOVE_RANGE: "not up to the end, after {a}",
    Status.CENSORED: "not up to {a}, where the run was stopped",
    Status.MISSING: "not measured",
}
OF_LOSS = STATUS | {
    Status.ABOVE_RANGE: "hold-out loss still falling at the end, after {a}",
    Status.CENSORED: "hold-out loss still falling after {a}, where the run was stopped",
}
OF_MINIMUM = OF_LOSS | {Status.BELOW_RANGE: "at the first evaluation, before {b}"}


def onset_table(
    evals: "DataFrame", kept: Sequence[str], level: float, rng: np.random.Generator
) -> tuple[page.Html | str, list[str]]:
    """A row a run: when it generalizes, when it memorizes, what lies between; or in words why there is no table.

    kept: the runs that have their part on the page; others have no row.
    """
    every = evals["run_id"].nunique()
    evals = evals[evals["run_id"].isin(kept)]
    trained = evals[evals["images_seen"] > 0]
    several = trained.groupby("run_id")["images_seen"].transform("nunique") > 1
    rows = evals[evals["run_id"].isin(trained["run_id"][several])]
    if rows.empty:
        return "", ["No table of onsets: it takes two or more evaluations of a run; give evaluate.at more points."]
    if not rows[["n_memorized", "holdout_loss"]].notna().any(axis=None):
        return "", ["No table of onsets: ask for loss and neighbors in evaluate.measures."]
    found = onsets(rows, level=level, rng=rng)
    if found.empty:
        return "", ["No table of onsets: every learning rate decays, and a point inside a decay is no run of its own."]
    found = found.sort_values(["n_unique", "params", "copies", "cell_id", "seed"])
    headers = ["run", "cell", "parameters", "unique", "largest copies", "weights", "generalizes from", "memorizes from",
               "window: ratio of the two", "lowest hold-out loss at", "samples memorized there",
               "images extracted there"]  # fmt: skip
    body = [
        [page.run_link(str(row["run_id"])), row["cell_id"] or "–",
         *(words.whole(row[name]) for name in ("params", "n_unique", "copies")),
         row["weights"], _onset(row, "tau_gen"), _onset(row, "tau_mem"), _window(row), _onset(row, "t_over"),
         _before(row, "f_before"), _before(row, "extracted_before")]
        for row in found.to_dict("records")
    ]  # fmt: skip
    note = (
        f"In images seen. Generalizes from: the first evaluation whose hold-out loss is within 2 standard errors of "
        f"the lowest. Memorizes from: where 1 % of the samples are memorized, between two evaluations. Below each, the "
        f"evaluations around it, and for memorizing, where it can be told, the {100 * level:g} % interval from "
        f"redrawing the samples of this run, which tells nothing of another seed. The null of memorized samples "
        f"stands in the table of instruments. n = {len(found)} runs."
        + (f" Only runs with a row in the table of runs stand here, {len(kept)} of {every}." * (len(kept) < every))
    )
    return page.joined([page.table("onsets", headers, body, texts=(0, 6, 7, 8)), page.paragraph(note, "note")]), []


def _onset(row: dict[str, Any], name: str) -> page.Html:
    a, b, status = row[f"{name}_a"], row[f"{name}_b"], row[f"{name}_status"]
    if status != Status.INTERP:
        why = {"tau_gen": OF_LOSS, "t_over": OF_MINIMUM}.get(name, STATUS)
        return page.text(why[status].format(a=words.whole(a), b=words.whole(b)))
    said = f"{words.whole(row[name])}\nin {words.whole(a)} to {words.whole(b)}"
    if name == "tau_mem" and not np.isnan(row["tau_mem_lo"]):
        lo, hi = row["tau_mem_lo"], row["tau_mem_hi"]
        said += f"\ninterval {words.whole(lo)} to {words.whole(hi) if np.isfinite(hi) else 'no limit'}"
    return page.lines(said)


def _window(row: dict[str, Any]) -> page.Html:
    lo, hi = row["window_lo"], row["window_hi"]
    ends = f"{words.number(lo)} to {words.number(hi)}" if np.isfinite(hi) else f"at least {words.number(lo)}"
    if np.isnan(lo) or (lo == 0 and not np.isfinite(hi)):
        return page.text("cannot be told")
    return page.lines(f"{words.number(row['window'])}\n{ends}") if np.isfinite(row["window"]) else page.text(ends)


def _before(row: dict[str, Any], name: str) -> str:
    if np.isnan(row[name]):
        return "–"
    lo, hi = row[f"{name}_lo"], row[f"{name}_hi"]
    return f"{words.percent(row[name])} ({words.percent(lo)} to {words.percent(hi)})"
