"""The points of the report's photographs: one a sample, at the middle of its picture."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.pictures.points import Points, points
from analysis.plots import Mark

Array = np.ndarray
NEAR = 1 / 3  # gap ratio below which a sample counts as a copy


def pair_points(figure: Figure, pairs: Sequence[Mapping[str, Array]], runs: Sequence[str]) -> Points:
    """The samples of `gallery_plot.plot_gallery`, a strip a run: gap ratio and copies of the nearest training image."""
    parts, marks = [], []
    for k, (pair, run) in enumerate(zip(pairs, runs, strict=True)):
        ratio = np.asarray(pair["ratio"], float)
        parts.append(
            pandas.DataFrame({"drawn": "sample", "strip": k + 1, "column": np.arange(1, len(ratio) + 1),
                              "ratio": ratio, "copies": pair["copies"], "memorized": ratio < NEAR, "runs": run})
        )  # fmt: skip
        panels = _panels(figure, k, rows=2)
        for axes, value, copies in zip(panels[0], ratio, pair["copies"], strict=False):
            said = f"sample of run {run}: gap ratio {value:.3g} to the nearest training image, copies {copies:g}"
            marks.append(_middle(axes, said, run))
    return points(parts, marks)


def prompt_points(
    figure: Figure, strips: Sequence[Mapping[str, Array]], runs: Sequence[str], contexts: Sequence[str]
) -> Points:
    """The completions of `instrument_plots.plot_prompts`, a strip a run and context."""
    parts, marks = [], []
    for k, (strip, run, context) in enumerate(zip(strips, runs, contexts, strict=True)):
        recovered = np.asarray(strip["recovered"], bool)
        parts.append(
            pandas.DataFrame({"drawn": "prompt", "strip": k + 1, "column": np.arange(1, len(recovered) + 1),
                              "context": context, "copies": strip["copies"], "recovered": recovered, "runs": run})
        )  # fmt: skip
        for axes, back, copies in zip(_panels(figure, k, rows=3)[1], recovered, strip["copies"], strict=False):
            outcome = "recovered" if back else "not recovered"
            marks.append(_middle(axes, f"prompt of run {run}, given {context}: {outcome}, copies {copies:g}", run))
    return points(parts, marks)


def _panels(figure: Figure, strip: int, rows: int) -> Array:
    return np.array(figure.subfigs[strip].axes).reshape(rows, -1)


def _middle(axes: Axes, said: str, run: str) -> Mark:
    return Mark(axes, float(np.mean(axes.get_xlim())), float(np.mean(axes.get_ylim())), said, (run,))
