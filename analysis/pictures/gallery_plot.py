"""Samples above their nearest training images: data in, matplotlib Figure out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import VERMILION


def plot_gallery(pairs: Sequence[Mapping[str, Any]], rows: Sequence[str], columns: int) -> Figure:
    """Generated samples above the training image nearest to each, a strip for each run.

    pairs: one mapping a strip with samples [G C H W], nearest, ratio [G], copies [G]; rows: the strips' titles.
    """
    figure = Figure(figsize=(0.72 * columns + 0.7, 1.95 * len(pairs) + 0.2), layout="constrained")
    strips = figure.subfigures(len(pairs), 1, squeeze=False).ravel()
    for strip, arrays, title in zip(strips, pairs, rows, strict=True):
        strip.suptitle(title, fontsize=9, x=0.01, ha="left")
        panels = strip.subplots(2, columns, squeeze=False)
        for column in range(columns):
            for row, name in enumerate(("samples", "nearest")):
                _image(panels[row, column], arrays[name], column)
            if column < len(arrays["ratio"]):
                _caption(panels[:, column], float(arrays["ratio"][column]), arrays["copies"][column])
        for row, name in enumerate(("sample", "nearest")):
            panels[row, 0].set_ylabel(name, fontsize=8)
    return figure


def _image(axes: Axes, images: np.ndarray, index: int) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if index < len(images):
        picture = np.moveaxis(images[index], 0, -1)
        axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _caption(panels: Sequence[Axes], ratio: float, copies: float) -> None:
    memorized = ratio < 1 / 3
    panels[1].set_xlabel(f"{ratio:.2f}\n×{int(copies)}", fontsize=7.5, color=VERMILION if memorized else "#333333")
    for axes in panels:
        axes.spines[:].set(visible=memorized, color=VERMILION, linewidth=2)
