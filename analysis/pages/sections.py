"""The tables of the report's page: fits, cells with counts and nulls, configuration."""

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.pages import page, runs, words
from analysis.rates import wilson
from analysis.summary import StudyFit

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_CONFIGURATIONS = 200  # written out in the page; of a whole one some 2,500 bytes
MEASURES = (  # heading, count, trials, null count, null trials
    ("memorized samples", "n_memorized", "n_generated", "n_null_memorized", "n_generated"),
    ("calibrated", "n_calibrated", "n_generated", "n_null_calibrated", "n_generated"),
    ("basin recovery", "n_basin_recovered", "n_basin", "n_null_basin_recovered", "n_null_basin"),
    ("prompted", "n_prompt_recovered", "n_prompts", "n_null_prompt_recovered", "n_null_prompts"),
    ("extracted images", "n_extracted", "n_unique", None, None),
)


def cell_rates(last: "DataFrame", level: float) -> "DataFrame":
    """Per cell: rate, lo, hi of memorized samples and the null's rate; cells without counts are left out."""
    rows = last[last["n_memorized"].notna() & (last["n_generated"] > 0)]
    sums = rows.groupby("cell_id", dropna=False).agg(
        params=("params", "first"),
        hits=("n_memorized", "sum"),
        trials=("n_generated", "sum"),
        null=("n_null_memorized", lambda v: v.sum(min_count=1)),
    )
    found = wilson(sums["hits"], sums["trials"], level)
    return sums.assign(rate=found.value, lo=found.lo, hi=found.hi, null=sums["null"] / sums["trials"]).reset_index()


def fit_table(fits: Sequence[StudyFit], level: float) -> page.Html:
    """Each fitted curve: formula, parameters with intervals, and the likelihood, rows and draws these rest on."""
    parts = []
    for fit in fits:
        result = fit.result
        rows = [
            (name, words.number(e.value), words.number(e.se), words.interval(e), "yes" if e.identifiable else "no")
            for name, e in result.params.items()
        ]
        by_run = f"intervals by run, {result.bootstrap['draws']} draws"
        resampled = f", {by_run if result.draws is not None else 'profile intervals'}"
        at = "; ".join(f"{name} = {words.number(value, 6)}" for name, value in fit.fixed_at.items())
        parts += [
            page.paragraph(
                page.Html(
                    f"<strong>{page.text(fit.title)}</strong> ({page.text(fit.response)}): "
                    f"<code>{page.text(result.law.formula)}</code>"
                )
            ),
            page.table(
                f"fit_{fit.name}",
                ("parameter", "value", "standard error", f"{100 * level:g} % interval", "identifiable"),
                rows,
            ),
            page.paragraph(
                f"Beta-binomial likelihood, n = {result.n} rows, overdispersion c = "
                f"{words.number(result.overdispersion)}{resampled}; "
                f"status {result.status}, {result.reached_best} of {result.tried} starts reached the best optimum."
                + (
                    f" Not in the curve, because it did not vary or moved together with another variable: {at} "
                    f"(median)."
                    if at
                    else ""
                )
                + (f" {result.message}." if result.message else ""),
                "note",
            ),
        ]
    return page.joined(parts)


def cell_table(last: "DataFrame", kept: Collection[str], level: float) -> page.Html:
    """One row a cell at its last evaluation, counts of its runs added up, each measure beside its null.

    A cell's name leads to the first of its runs in `kept`, those that have their part on the page.
    """
    measured = [m for m in MEASURES if last[m[1]].notna().any()]
    headers = ["cell", "parameters", "unique", "all images", "dupl. rate", "largest copies", "images seen", "runs"]
    headers += [
        page.Html(f"{page.text(m[0])}<br>{'count · rate' if m[3] is None else 'count · rate · null'}") for m in measured
    ]
    losses = [
        (name, label, f"{name}_se")
        for name, label in (("seen_loss", "seen loss"), ("holdout_loss", "hold-out loss"), ("kid", "KID"))
        if last[name].notna().any()
    ]
    headers += [page.Html(f"{label}<br>± s.e.{' · copier' if name == 'kid' else ''}") for name, label, _ in losses]
    if last["ideal_distance"].notna().any():
        headers.append(page.Html("ideal distance<br>value · null"))
    rows = []
    order = last.groupby("cell_id", dropna=False, sort=False)
    for cell, part in sorted(
        order, key=lambda item: (item[1]["params"].iloc[0], item[1]["duplication_rate"].iloc[0], str(item[0]))
    ):
        row = _named(cell, part, kept)
        row += [_counted(part, hits, trials, null, of, level) for _, hits, trials, null, of in measured]
        row += [
            _averaged(part, name, se) + (f" · {words.number(part['kid_train'].mean())}" if name == "kid" else "")
            for name, _, se in losses
        ]
        if last["ideal_distance"].notna().any():
            row.append(
                f"{words.number(part['ideal_distance'].mean())} · {words.number(part['ideal_distance_null'].mean())}"
            )
        rows.append(row)
    note = page.paragraph(
        "Counts of a cell's runs are added. Null: the same test where nothing can have been memorized (held-out "
        "images); a measure no "
        "higher than its null shows no memorization. A dash was not measured. Extracted images depend on the number "
        "of samples drawn and "
        "are no rate to fit. KID of a copier: what the training images themselves score.",
        "note",
    )
    return page.joined([page.table("cells", headers, rows, texts=()), note])


def _named(cell: object, part: "DataFrame", kept: Collection[str]) -> list[object]:
    """The cell's name, what it trained on and how long, and its runs."""
    first = part.iloc[0]
    return [
        runs.linked(cell if isinstance(cell, str) else "–", part["run_id"], kept),
        *(words.whole(first[name]) for name in ("params", "n_unique", "n_train")),
        words.number(first["duplication_rate"]), words.whole(first["copies"]),
        words.whole(part["images_seen"].max()), words.whole(len(part)),
    ]  # fmt: skip


def _counted(part: "DataFrame", hits: str, trials: str, null: str | None, null_trials: str | None, level: float) -> str:
    known = part[part[hits].notna() & (part[trials] > 0)]
    if known.empty:
        return "–"
    x, n = known[hits].sum(), known[trials].sum()
    said = f"{words.whole(x)}/{words.whole(n)} · {words.percent(x / n)}"
    if null is None:
        return said
    beside = part[part[null].notna() & (part[null_trials] > 0)]
    return f"{said} · {words.percent(beside[null].sum() / beside[null_trials].sum()) if len(beside) else '–'}"


def _averaged(part: "DataFrame", name: str, se: str) -> str:
    known = part[part[name].notna()]
    if known.empty:
        return "–"
    error = np.sqrt((known[se] ** 2).sum(min_count=len(known))) / len(known)
    return f"{words.number(known[name].mean())} ± {words.number(error, 2)}"


def configuration(varied: dict[str, list[Any]], configs: Sequence[dict[str, Any]]) -> page.Html | str:
    """The keys that vary (summary.varied_keys), and folded the first configuration and up to MOST_CONFIGURATIONS."""
    if not configs:
        return page.paragraph("The records hold no configuration.", "note")
    rows = [(key, ", ".join(json.dumps(value) for value in values)) for key, values in varied.items()]
    common = page.folded(
        "The configuration of the first run, every key but runtime", json.dumps(configs[0], indent=2, sort_keys=True)
    )
    listed = configs[:MOST_CONFIGURATIONS]
    heading = f"All {len(configs)}" if len(listed) == len(configs) else f"The first {len(listed)} of {len(configs)}"
    lines = "\n".join(json.dumps(config, sort_keys=True) for config in listed)
    others = page.folded(f"{heading} configurations", lines) if len(configs) > 1 else ""
    table = (
        page.table("configuration", ("key", "values"), rows, texts=(0, 1))
        if rows
        else page.paragraph("One configuration; no key varies.", "note")
    )
    lead = (
        page.paragraph(f"{len(configs)} configurations; these keys vary between them:" if rows else "", "note")
        if rows
        else ""
    )
    return page.joined([part for part in (lead, table, common, others) if part])
