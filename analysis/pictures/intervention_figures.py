"""The report's interventions in rank: memorization removed, quality lost, and the moves from the base."""

from collections.abc import Mapping, Sequence
from textwrap import shorten, wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from analysis.pictures.curve_figures import Figures
from analysis.pictures.intervention_plot import PANELS, plot_moves, plot_ranked
from analysis.plots import Mark, ReportFigure
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
MOST = 12  # changes; of a line: characters
ACROSS, LINES = 34, 2


def interventions(answers: Sequence[Mapping[str, Any]], level: float) -> Figures:
    """From the answers of the questions (as JSON): that of `interventions`, its rows in rank."""
    found = [answer for answer in answers if answer["question"] == "interventions"]
    rows = [row for answer in found for row in answer["rows"] if row["benefit"] is not None]
    changed = [row for row in rows if not row["change"].startswith("early stop")]
    if not changed:
        why = found[0]["why"] if found else "the question was not asked"
        return f"No figure of interventions: {why}."
    table = ranked_table(rows[:MOST])
    numbers = [f"{rank:.0f}" if np.isfinite(rank) else "?" for rank in table["rank"]]
    labels = [_label(number, change) for number, change in zip(numbers, table["change"], strict=True)]
    left = f" The first {MOST} of {len(rows)}." if len(rows) > MOST else ""
    pairs = sorted({table["n_seeds"].min(), table["n_seeds"].max()})
    most = several(pairs[-1], "pair")
    n = f"n = {f'{pairs[0]} to {most}' if len(pairs) > 1 else most} of runs a change"
    said = (
        f"Bars: {100 * level:g} % over pairs of runs of one seed; the ratio's holds both ends of both, so at least "
        f"{100 * (2 * level - 1):g} %. Open: no interval, as where the removal may be none. Number: rank, free changes "
        f"by "
        f"what they remove, then by Pareto order; equal: neither is better in all; ?: one seed, no rank.{left} {n}."
    )
    figure = plot_ranked(table, labels)
    first = table.iloc[0]
    alt = (
        f"{several(len(table), 'change')} in rank; first {first['change']}: removes {first['benefit']:.3g} of the "
        f"logit of the memorized share."
    )
    caption = f"What each single change of the base removes of memorization and costs in quality. {said}"
    marks = _ranked_marks(figure.axes, table)
    out = [ReportFigure("interventions_ranked", "interventions", figure, caption, alt, wide=True, data=_data(table),
                        marks=marks)]  # fmt: skip
    priced = table[table["cost_holdout_loss"].notna()]
    if len(priced):
        out.append(_moves(priced, [numbers[k] for k in priced.index], level, n))
    return out


def ranked_table(rows: Sequence[Mapping[str, Any]]) -> "DataFrame":
    """The rows as a table with loss_per_logit: hold-out loss lost for each unit of the logit removed, _lo and _hi."""
    import pandas

    table = pandas.DataFrame(list(rows)).reset_index(drop=True)
    numeric = ["rank", *(f"{name}{end}" for name in PANELS if name != "loss_per_logit" for end in ("", "_lo", "_hi"))]
    table[numeric] = table[numeric].astype(float)
    benefit, cost = (table[[f"{name}{end}" for end in ("", "_lo", "_hi")]].to_numpy(float)
                     for name in ("benefit", "cost_holdout_loss"))  # fmt: skip
    table["loss_per_logit"], table["loss_per_logit_lo"], table["loss_per_logit_hi"] = ratio_interval(cost, benefit)
    return table


def ratio_interval(over: Array, under: Array) -> tuple[Array, Array, Array]:
    """over/under with the extremes that both intervals allow; over, under [n 3]: value, lo, hi.

    NaN where `under` is not above 0 (value), or its interval reaches 0 (ends): the ratio has no limit then.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(under[:, 0] > 0, over[:, 0] / under[:, 0], np.nan)
        corners = over[:, 1:, None] / under[:, None, 1:]
    told = under[:, 1] > 0
    return value, np.where(told, corners.min((1, 2)), np.nan), np.where(told, corners.max((1, 2)), np.nan)


def _label(number: str, change: str) -> str:
    """4  train.weight_decay: 0.0 -> 1.0, in lines that fit beside the axes."""
    lines = wrap(shorten(change, ACROSS * LINES, placeholder=" …"), ACROSS) or [""]
    return f"{number}  " + "\n".join(lines[:LINES])


def _moves(table: "DataFrame", numbers: Sequence[str], level: float, n: str) -> ReportFigure:
    figure = plot_moves(table, numbers)
    names = "; ".join(f"{number} {shorten(change, 60, placeholder=' …')}"
                      for number, change in zip(numbers, table["change"], strict=True))  # fmt: skip
    caption = (
        f"Where each change moves the base: upwards it memorizes less, to the right its hold-out loss is worse; the "
        f"upper "
        f"left is better in both. {names}. Bars: {100 * level:g} % over pairs of runs of one seed. {n}."
    )
    better = int(((table["cost_holdout_loss"] <= 0) & (table["benefit"] > 0)).sum())
    alt = (
        f"Arrows from the base to {several(len(table), 'change')}; memorizing less at no higher hold-out loss: "
        f"{better}."
    )
    marks = [
        Mark(figure.axes[0], row.cost_holdout_loss, row.benefit, _words(row), tuple(row.runs))
        for row in table.itertuples()
    ]
    return ReportFigure("intervention_moves", "interventions", figure, caption, alt, data=_data(table), marks=marks)


def _ranked_marks(axes: Sequence[Axes], table: "DataFrame") -> list[Mark]:
    shown = [name for name in PANELS if table[name].notna().any()]
    return [
        Mark(one, getattr(row, name), len(table) - 1 - k, _words(row), tuple(row.runs))
        for one, name in zip(axes, shown, strict=True)
        for k, row in enumerate(table.itertuples())
        if np.isfinite(getattr(row, name))
    ]


def _words(row: Any) -> str:
    parts = [f"{PANELS[name][0].replace(chr(10), ' ')} {getattr(row, name):.3g}{_ends(row, name)}"
             for name in PANELS if np.isfinite(getattr(row, name))]  # fmt: skip
    return f"{row.change}: {', '.join(parts)}; n = {several(row.n_seeds, 'pair')} of runs"


def _ends(row: Any, name: str) -> str:
    lo, hi = getattr(row, f"{name}_lo"), getattr(row, f"{name}_hi")
    return f" ({lo:.3g} to {hi:.3g})" if np.isfinite([lo, hi]).all() else " (no interval)"


def _data(table: "DataFrame") -> "DataFrame":
    names = [f"{name}{end}" for name in PANELS for end in ("", "_lo", "_hi")]
    return table[["rank", "change", "n_seeds", "images_seen", *names]].assign(runs=table["runs"].map(" ".join))
