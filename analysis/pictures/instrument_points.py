"""The points of the figures of single instruments, where analysis/pictures/instrument_plots.py draws them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from analysis.pictures.instrument_plots import (
    budget_ends,
    contexts_in_order,
    noise_means,
    noise_panels,
    prompted_aside,
)
from analysis.pictures.points import NULL, Points, marks_of, points, said_runs, said_setting, said_share, with_runs
from analysis.plots import Ordered
from analysis.words import several, whole

if TYPE_CHECKING:
    from pandas import DataFrame


def noise_points(panels: Sequence[Axes], levels: "DataFrame", line: Ordered, z: float) -> Points:
    """The means of each line with their band, then the single runs where a line has several; a panel a measure."""
    means, singles, marks, run_marks = [], [], [], []
    for axes, (kind, name, error, _, _, _) in zip(panels, noise_panels(levels), strict=True):
        known = levels[(levels["kind"] == kind) & levels[name].notna()]
        for value, part in known.groupby(line.name):
            mean = with_runs(noise_means(part, name, error, z), part, ("sigma",))
            mean = mean.assign(drawn="mean", measure=name, **{line.name: value}, n_runs=mean["runs"].map(len))
            means.append(mean)
            marks += marks_of(axes, mean, mean["sigma"], mean["value"], lambda row: _said_noise(row, line))
            if part["run_id"].nunique() > 1:
                one = part[["sigma", line.name]].assign(
                    value=part[name], lo=np.nan, hi=np.nan, runs=[(str(run),) for run in part["run_id"]], drawn="run",
                    measure=name, n_runs=1,
                )  # fmt: skip
                singles.append(one)
                run_marks += marks_of(axes, one, one["sigma"], one["value"], lambda row: _said_noise(row, line))
    return points(means + singles, marks + run_marks)


def _said_noise(row: Any, line: Ordered) -> str:
    ends = f" ({row.lo:.3g} to {row.hi:.3g})" if np.isfinite(row.lo) else ""
    measure = {"gap": "hold-out minus seen loss"}.get(row.measure, row.measure.replace("_", " "))
    setting = f"{said_setting(row, (line.name,))}, sigma {row.sigma:.3g}"
    return f"{setting}: {measure} {row.value:.3g}{ends}, {said_runs(row.n_runs)}"


def budget_points(axes: Axes, curves: "DataFrame", line: Ordered) -> Points:
    """What each run's samples found, its Chao1 at the right, and the perfect copier of its plan; shares of unique."""
    n = curves["n_unique"]
    same = {"run_id": curves["run_id"], "n_unique": n, line.name: curves[line.name]}
    runs = [(str(run),) for run in curves["run_id"]]
    found = curves[["b"]].assign(**same, share=curves["found"] / n, lo=curves["lo"] / n, hi=curves["hi"] / n, runs=runs)
    ideal = curves[["b"]].assign(**same, share=curves["copier"] / n, runs=runs)
    ends = budget_ends(curves, line)
    chao1 = ends[list(same)].assign(
        share=ends["at"], lo=ends["at_lo"], hi=ends["at_hi"], runs=[(str(run),) for run in ends["run_id"]],
    )  # fmt: skip

    def said(row: Any) -> str:
        interval = f" ({100 * row.lo:.3g} to {100 * row.hi:.3g} %)" if np.isfinite(row.lo) else ""
        where = (
            f"{several(row.b, 'sample')} found" if hasattr(row, "b") else "Chao1, a lower bound of what can be found:"
        )
        return (
            f"run {row.run_id}, {said_setting(row, (line.name,))}: {where} {100 * row.share:.3g} %{interval} of "
            f"{whole(row.n_unique)} training images"
        )

    marks = marks_of(axes, chao1, ends["x"], chao1["share"], said)
    marks += marks_of(axes, found, found["b"], found["share"], said)
    parts = {"found": found, "chao1": chao1, "copier": ideal}
    return points([part.drop(columns="run_id").assign(drawn=name) for name, part in parts.items()], marks)


def prompted_points(panels: Sequence[Axes], rates: "DataFrame", ends: "DataFrame", line: Ordered) -> Points:
    """Recovered shares by context, copies and line, as drawn in the panel of the context; ceiling and null."""
    parts, marks = [], []
    for axes, context in zip(panels, contexts_in_order(rates), strict=False):  # the last panels may stay empty
        part = rates[rates["context"] == context]
        for k, (_, own) in enumerate(part.sort_values("copies").groupby(line.name)):
            parts.append(own.assign(drawn="pooled"))
            marks += marks_of(
                axes, own, own["copies"] * prompted_aside(k, part[line.name].nunique()), own["rate"],
                lambda row: f"{said_setting(row, (line.name, 'copies'))}, given {row.context}: "
                f"{said_share(row, 'recovered', 'prompts')}",
            )  # fmt: skip
    for name in ("ceiling", "null"):
        known = ends[ends[name].notna()]
        kind = {"null": NULL}.get(name, name)
        parts.append(known.drop(columns=["ceiling", "null"]).assign(drawn=kind, rate=known[name]))
    return points(parts, marks)
