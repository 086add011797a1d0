"""Agreement as a heat map, and the images themselves: most memorized by each instrument, and where two disagree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from analysis.plots import VERMILION

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
WORDS = {"n_basin_recovered": "basin", "n_prompt_recovered": "prompt", "log_density_bound": "log-density",
         "membership_score": "membership", "n_hits": "hits", "best_ratio": "gap ratio", "n_memorized": "memorized",
         "n_calibrated": "calibrated", "n_extracted": "extracted", "n_cyclic_extracted": "cyclic",
         "n_keys_recovered": "keys", "n_flagged_true": "flagged", "membership_auc": "membership AUC",
         "tpr_at_1pct_fpr": "TPR at 1 %", "ideal_distance": "ideal distance", "bits_memorized": "bits memorized",
         "bits_optimism": "bits optimism"}  # fmt: skip
ACROSS = 10  # pictures of one instrument
PAIRS = 12  # of instruments, in one picture


def plot_agreement(pairs: "DataFrame", title: str) -> Figure:
    """Spearman's rho of each measured pair with interval and n; columns first, second, value, lo, hi, n, n_runs."""
    known = pairs[pairs["value"].notna()]
    names = list(dict.fromkeys([*known["first"], *known["second"]]))
    at, rho = {name: k for k, name in enumerate(names)}, np.full((len(names), len(names)), np.nan)
    figure = Figure(figsize=(1.15 * len(names) + 2.0, 0.78 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    for row in known.itertuples():
        y, x = max(at[row.first], at[row.second]), min(at[row.first], at[row.second])
        rho[y, x] = row.value
        ends = f"({row.lo:.2f}, {row.hi:.2f})" if np.isfinite(row.lo) else "(no interval)"
        dark = abs(row.value) > 0.6
        said = f"{row.value:.2f}\n{ends}\nn {row.n:.0f}" + (f" × {row.n_runs} runs" if row.n_runs > 1 else "")
        axes.text(x, y, said, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
    shown = colormaps["PuOr_r"].with_extremes(bad="white")
    image = axes.imshow(np.ma.masked_invalid(rho), cmap=shown, vmin=-1, vmax=1, aspect="auto")
    labels = [WORDS.get(name, name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes, label="Spearman's rho (more = more memorized)", shrink=0.8)
    return figure


def plot_images(rows: Sequence[tuple[str, Array, Sequence[str]]], *, marked: Sequence[set[int]] = ()) -> Figure:
    """Strips of pictures: rows of (label, pixels [K C H W] uint8, a caption each); `marked` columns have a frame."""
    across = max((len(pixels) for _, pixels, _ in rows), default=1)
    figure = Figure(figsize=(0.85 * across + 1.3, 1.15 * len(rows) + 0.2), layout="constrained")
    panels = figure.subplots(len(rows), across, squeeze=False)
    for k, (label, pixels, captions) in enumerate(rows):
        for column, axes in enumerate(panels[k]):
            axes.set_xticks([])
            axes.set_yticks([])
            framed = k < len(marked) and column in marked[k]
            axes.spines[:].set(visible=framed, color=VERMILION, linewidth=2)
            if column < len(pixels):
                picture = np.moveaxis(pixels[column], 0, -1).squeeze()
                axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set_xlabel(captions[column], fontsize=6.5)
        panels[k, 0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    return figure


def most_memorized(read: "DataFrame", pixels: Mapping[str, Array], across: int = ACROSS) -> Figure | None:
    """The images that rank highest in each instrument (mean rank over runs), those chosen by several framed."""
    chosen = {}
    for name in (c for c in read.columns if c not in ("run_id", "cell_id", "image_id", "copies")):
        seen = read[read[name].notna() & read["image_id"].isin(pixels)]
        if seen[name].nunique() < 2:
            continue
        rank = seen.groupby("run_id")[name].rank(pct=True)
        mean = seen.assign(rank=rank).groupby("image_id").agg(rank=("rank", "mean"), copies=("copies", "max"))
        chosen[name] = mean.sort_values("rank", ascending=False, kind="stable").head(across)
    if not chosen:
        return None
    every = [image for top in chosen.values() for image in top.index]
    shared = {image for image in every if every.count(image) > 1}
    rows = [
        (
            WORDS.get(name, name),
            np.stack([pixels[image] for image in top.index]),
            [f"×{copies:.0f}" for copies in top["copies"]],
        )
        for name, top in chosen.items()
    ]
    return plot_images(rows, marked=[{k for k, i in enumerate(top.index) if i in shared} for top in chosen.values()])


def disputed(apart: "DataFrame", pixels: Mapping[str, Array]) -> Figure | None:
    """The images whose rank differs most, a row for each of the PAIRS most disputed; below, two ranks and copies."""
    rows, shown = [], apart[apart["image_id"].isin(pixels)]
    by_pair = [part for _, part in shown.groupby(["first", "second"], sort=False)]
    for part in sorted(by_pair, key=lambda part: -part["apart"].max())[:PAIRS]:
        first, second = part["first"].iloc[0], part["second"].iloc[0]
        said = [f"{r.rank_first:.2f} | {r.rank_second:.2f}\n×{r.copies:.0f}" for r in part.itertuples()]
        label = f"{WORDS.get(first, first)} |\n{WORDS.get(second, second)}"
        rows.append((label, np.stack([pixels[image] for image in part["image_id"]]), said))
    return plot_images(rows) if rows else None


def write_figures(
    found: "DataFrame", read: "DataFrame", apart: "DataFrame", pictures: Mapping[str, Array], out: Path
) -> list[str]:
    """Write what can be drawn under `out`; the names of the files."""
    over_images = found[(found["over"] == "images") & (found["stratum"] == "within")]
    figures = {
        "agreement_images.png": plot_agreement(over_images, "over images, within numbers of copies")
        if over_images["value"].notna().any()
        else None,
        "agreement_cells.png": plot_agreement(found[found["over"] == "cells"], "over cells, last evaluation")
        if found.loc[found["over"] == "cells", "value"].notna().any()
        else None,
        "most_memorized.png": most_memorized(read, pictures),
        "disagreements.png": disputed(apart, pictures),
    }
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(out / name, dpi=160, metadata={"Software": None})
    return [name for name, figure in figures.items() if figure is not None]
