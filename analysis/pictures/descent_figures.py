"""The report's curves of hold-out loss along size, data and time, each with its verdict on double descent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from analysis.descent_curves import FEWEST_X, NOT_OF_CURVE, OF_AXIS, DescentCurve
from analysis.onsets.run_setting import config
from analysis.pictures.curve_figures import Figures
from analysis.pictures.descent_plot import SHOWN, DescentPanel, plot_descents
from analysis.pictures.points import said_runs
from analysis.plots import Mark, ReportFigure
from analysis.questions.interventions import changes, flat
from analysis.words import amount, count_label, number, several

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_PANELS = 4  # of one axis
MOST_KEYS, MOST_WORDS = 2, 48  # of a title
SAID = {"present": "double descent", "absent": "no double descent", "cannot_tell": "cannot tell"}
XLABEL = {"params": "parameters", "n_unique": "unique images", "images_seen": "images seen"}
ASSURED = ("present", "cannot_tell", "absent")  # which curves are shown first


def descents(curves: Sequence[DescentCurve], level: float) -> Figures:
    """A figure an axis: the curves with a second descent first, then those with most points."""
    out = []
    for axis in XLABEL:
        mine = [curve for curve in curves if curve.axis == axis]
        mine.sort(key=lambda curve: (ASSURED.index(curve.verdict["verdict"]), -curve.verdict["n_x"]))
        if mine:
            out.append(_figure(axis, mine[:MOST_PANELS], mine, level))
    return out or f"No figure of double descent: it takes {FEWEST_X} sizes, amounts of data or evaluations."


def _figure(axis: str, shown: Sequence[DescentCurve], every: Sequence[DescentCurve], level: float) -> ReportFigure:
    import pandas

    losses = [curve_losses(curve) for curve in shown]
    apart = told_apart(shown)
    panels = [_panel(*one) for one in zip(shown, losses, apart, strict=True)]
    figure = plot_descents(panels)
    marks = [mark for axes, curve, one in zip(figure.axes, shown, losses, strict=False)
             for mark in _marks(axes, curve, one)]  # fmt: skip
    runs = {run for curve in shown for run in curve.rows["run_id"]}
    chosen = f" Shown: {len(shown)} of {len(every)} curves, those with a second descent first."
    chosen = chosen if len(every) > len(shown) else ""
    counts = [curve.verdict["n_replicates"] for curve in shown]
    per = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    predicted = " Dotted: n·m·d, where frozen noise draws put the peak." if any(c.threshold for c in shown) else ""
    caption = (
        f"Hold-out and training loss along {XLABEL[axis]} ({shown[0].kind}). Bars: standard error of the replicates' "
        f"mean. Triangle: the peak with its {100 * level:g} % interval, where a second descent is not "
        f"excluded.{predicted} "
        f"Verdict and p-value of the search test above each panel.{chosen} n = {said_runs(len(runs))}, {per} a point "
        f"at least."
    )
    said = "; ".join(f"{title}: {_verdict(curve)}" for curve, title in zip(shown, apart, strict=True))
    alt = f"Hold-out loss along {XLABEL[axis]}, {several(len(shown), 'panel')}. {said}."
    data = pandas.concat([one.assign(setting=title) for title, one in zip(apart, losses, strict=True)])
    data = data.assign(runs=data["runs"].map(" ".join)).rename(columns={"x": axis})
    return ReportFigure(f"descent_along_{axis}", "descent", figure, caption, alt, wide=len(shown) > 1, data=data,
                        marks=marks)  # fmt: skip


def curve_losses(curve: DescentCurve) -> "DataFrame":
    """Columns loss, x, mean, se (of the replicates; NaN for one), n, runs (tuple): a row a loss and x."""
    import pandas

    parts = []
    for name in SHOWN:
        known = curve.rows[curve.rows[name].notna()]
        if known.empty:
            continue
        grouped = known.groupby(curve.axis)
        parts.append(pandas.DataFrame({
            "loss": name, "mean": grouped[name].mean(), "se": grouped[name].std(ddof=1) / np.sqrt(grouped[name].size()),
            "n": grouped[name].size(), "runs": grouped["run_id"].agg(lambda ids: tuple(map(str, ids))),
        }).rename_axis("x").reset_index())  # fmt: skip
    return pandas.concat(parts, ignore_index=True)


def told_apart(curves: Sequence[DescentCurve]) -> list[str]:
    """Each curve's size and data, and the keys of its configuration in which it differs from the first."""
    known = {*NOT_OF_CURVE, *(key for keys in OF_AXIS.values() for key in keys)}
    configs = [flat(config(curve.rows.iloc[0].to_dict())) for curve in curves]
    varied = {key for one in configs for key in changes(configs[0], one)} - known
    values = {key: [one.get(key) for one in configs] for key in sorted(varied)}
    telling = sorted(values, key=lambda key: -len(set(map(str, values[key]))))  # what tells most curves apart first
    return [
        _within(MOST_WORDS, [_short(curve), *(f"{key.rsplit('.')[-1]} {one[key]}" for key in telling[:MOST_KEYS]
                                              if one.get(key) is not None)])
        for curve, one in zip(curves, configs, strict=True)
    ]  # fmt: skip


def _within(room: int, parts: Sequence[str]) -> str:
    """As many of the parts as have room, the first one always."""
    return ", ".join(parts[: max(1, sum(len(", ".join(parts[: k + 1])) <= room for k in range(len(parts))))])


def _panel(curve: DescentCurve, losses: "DataFrame", title: str) -> DescentPanel:
    verdict = curve.verdict
    ends = verdict["peak_x"], verdict["peak_lo"], verdict["peak_hi"]
    peak = None if None in ends else ends
    xlabel = f"{XLABEL[curve.axis]} (log scale)"
    return DescentPanel(f"{title}\n{_verdict(curve)}", xlabel, losses, peak, curve.threshold)


def _short(curve: DescentCurve) -> str:
    """512 unique, 634 k parameters."""
    words = {"n_unique": "unique", "params": "parameters"}
    return ", ".join(f"{count_label(value)} {words[name]}" for name, value in curve.fixed.items())


def _verdict(curve: DescentCurve) -> str:
    p = curve.verdict["p_value"]
    return SAID[curve.verdict["verdict"]] + (f", p = {p:.2g}" if p is not None else ", no test")


def _marks(axes: Axes, curve: DescentCurve, losses: "DataFrame") -> list[Mark]:
    held = losses[losses["loss"] == "holdout_loss"]
    points = [
        Mark(axes, row.x, row.mean,
             f"hold-out loss {row.mean:.4g}{f' ± {row.se:.2g}' if row.se > 0 else ''} at {number(row.x, 6)} "
             f"{XLABEL[curve.axis]}; n = {said_runs(row.n)}", row.runs)
        for row in held.itertuples()
    ]  # fmt: skip
    verdict = curve.verdict
    if verdict["peak_x"] is None:
        return points
    at = float(np.interp(np.log(verdict["peak_x"]), np.log(held["x"]), held["mean"]))
    ends = "" if verdict["peak_lo"] is None else f" ({amount(verdict['peak_lo'])} to {amount(verdict['peak_hi'])})"
    said = f"peak at {amount(verdict['peak_x'])} {XLABEL[curve.axis]}{ends}; {_verdict(curve)}"
    return [*points, Mark(axes, verdict["peak_x"], at, said, held.loc[(held["mean"] - at).abs().idxmin(), "runs"])]
