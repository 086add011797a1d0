"""The report's galleries: images that are memorized most, images with most influence, copies beside new samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.pictures.agreement_figures import plot_images
from analysis.pictures.curve_figures import Figures, Fits
from analysis.pictures.points import said_runs
from analysis.plots import Mark, Ordered, ReportFigure
from analysis.summary import last_evaluations
from analysis.table import Tables
from analysis.words import several
from scaling.schema import GALLERY

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
ACROSS = 8
COPY = 1 / 3  # gap ratio below which a sample counts as a copy
A_RUN = 2  # pictures of one run in a strip


class Ranking(NamedTuple):
    """A strip of images: which column ranks them, how a run's values become one, and what stands below."""

    column: str
    label: str
    pooled: str  # of a run's values: sum, min or mean
    largest: bool
    said: Callable[[float], str]
    below: Callable[[float], str]  # the same below a picture, where the label says what it is


def _hits(value: float) -> str:
    return several(value, "hit")


def _chains(value: float) -> str:
    return several(value, "chain")


RANKINGS = (
    Ranking("n_hits", "generated\nmost often", "sum", True, _hits, _hits),
    Ranking("n_basin_recovered", "restored\nmost often", "sum", True, _chains, _chains),
    Ranking("best_ratio", "closest\ncopy", "min", False, "ratio {:.2g}".format, "ratio {:.2g}".format),
    Ranking("leverage", "most\ninfluence\n(leverage)", "mean", True, "leverage {:.2g}".format, "{:.2g}".format),
)


def images(tables: Tables, params: Ordered, fits: Fits, level: float) -> Figures:
    """The images that rank first, and samples that are copies beside samples that are none."""
    out, lacking = [], []
    for found in (_ranked(tables), _copies_and_new(tables)):
        out += [found] if isinstance(found, ReportFigure) else []
        lacking += [found] if isinstance(found, str) else []
    return out or " ".join(lacking)


def ranked_images(rows: "DataFrame", ranking: Ranking) -> "DataFrame":
    """The first ACROSS images: image_id, value, copies_lo, copies_hi, runs (those that measured it); ties by image_id.

    Images that no run memorized (0 counts) or that were not measured are left out.
    """
    known = rows[rows[ranking.column].notna()]
    pooled = known.groupby("image_id").agg(
        value=(ranking.column, ranking.pooled), copies_lo=("copies", "min"), copies_hi=("copies", "max"),
        runs=("run_id", lambda ids: tuple(sorted(map(str, set(ids))))),
    ).reset_index()  # fmt: skip
    pooled = pooled[pooled["value"] > 0] if ranking.largest else pooled
    return pooled.sort_values(["value", "image_id"], ascending=[not ranking.largest, True]).head(ACROSS)


def _ranked(tables: Tables) -> ReportFigure | str:
    import pandas

    rows = tables.images
    rows = rows[rows["in_training"].eq(True) & rows["image_id"].isin(tables.pixels.keys())]
    found = [(ranking, ranked_images(rows, ranking)) for ranking in RANKINGS]
    found = [(ranking, top) for ranking, top in found if len(top)]
    if not found:
        return "No pictures of memorized images: it takes the images table, the samples files and a memorized image."
    strips = [
        (r.label, np.stack([tables.pixels[image] for image in top["image_id"]]),
         [f"×{_copies(row)}\n{r.below(row.value)}\nn {len(row.runs)}" for row in top.itertuples()])
        for r, top in found
    ]  # fmt: skip
    figure = plot_images(strips)
    across = max(len(top) for _, top in found)
    marks = [
        mark(figure.axes[k * across + column], strips[k][1][column],
              f"image {row.image_id}: {r.said(row.value)} ({r.pooled} over runs), ×{_copies(row)}; "
              f"n = {said_runs(len(row.runs))}", row.runs)
        for k, (r, top) in enumerate(found) for column, row in enumerate(top.itertuples())
    ]  # fmt: skip
    n = rows["run_id"].nunique()
    measured = ", ".join(f"{r.column} ({r.pooled} over runs)" for r, _ in found)
    caption = (
        f"The training images that rank first by {measured}, each at the last evaluation of the runs that trained on "
        f"it. "
        f"Below: copies in the training set (lowest to highest over runs), the value, and in how many runs. "
        f"Runs differ in samples and chains drawn, so ranks tell more than counts. n = {said_runs(n)}."
    )
    firsts = "; ".join(f"{r.label.replace(chr(10), ' ')}: {r.said(top['value'].iloc[0])}, "
                       f"×{_copies(top.iloc[0])}" for r, top in found)  # fmt: skip
    alt = f"{several(len(found), 'strip')} of training images, the first of each {firsts}."
    data = pandas.concat([top.assign(ranking=r.column) for r, top in found], ignore_index=True)
    return ReportFigure("images_memorized", "images", figure, caption, alt, wide=True,
                        data=data.assign(runs=data["runs"].map(" ".join)), marks=marks)  # fmt: skip


def _copies(row: Any) -> str:
    return f"{row.copies_lo:g}" if row.copies_lo == row.copies_hi else f"{row.copies_lo:g}–{row.copies_hi:g}"


def mark(axes: Axes, pixels: Array, said: str, runs: tuple[str, ...]) -> Mark:
    """At the middle of a picture [C H W]."""
    return Mark(axes, (pixels.shape[-1] - 1) / 2, (pixels.shape[-2] - 1) / 2, said, runs)


def _copies_and_new(tables: Tables) -> ReportFigure | str:
    samples = pictures_of_runs(tables.gallery, GALLERY)
    if samples is None or not len(samples["ratio"]):
        return "No pictures of copies beside new samples: the runs kept no samples."
    strips, kinds = [], []
    for kind, order in (("copy", np.argsort(samples["ratio"], kind="stable")),
                        ("new", np.argsort(-samples["ratio"], kind="stable"))):  # fmt: skip
        kept = [
            int(k)
            for k in order
            if np.isfinite(samples["ratio"][k]) and (samples["ratio"][k] < COPY) == (kind == "copy")
        ]
        chosen = chosen_of_runs(kept, samples)
        if chosen:
            below = [f"ratio {samples['ratio'][k]:.2f}\n×{samples['copies'][k]:.0f}" for k in chosen]
            strips += [(f"{kind}:\nsample", samples["samples"][chosen], [""] * len(chosen)),
                       ("nearest in\ntraining", samples["nearest"][chosen], below)]  # fmt: skip
            kinds += [(kind, k) for k in chosen]
    figure = plot_images(strips)
    return _described(figure, strips, samples, kinds, tables)


def pictures_of_runs(gallery: Mapping[str, Mapping[str, Array]], names: Sequence[str]) -> dict[str, Array] | None:
    """The arrays `names` of all runs, one below the other, named without the word before _; and `run` [S] of each.

    names: the first is one of pixels (schema.GALLERY). Runs without the arrays, and those of another picture size than
    the first, are left out; None where no run is left.
    """
    whole = {run: arrays for run, arrays in sorted(gallery.items()) if all(name in arrays for name in names)}
    first = next(iter(whole.values()), None)
    if first is None:
        return None
    shape = first[names[0]].shape[1:]
    whole = {run: arrays for run, arrays in whole.items() if arrays[names[0]].shape[1:] == shape}
    found = {name.partition("_")[2]: np.concatenate([arrays[name] for arrays in whole.values()]) for name in names}
    return found | {"run": np.repeat(list(whole), [len(arrays[names[0]]) for arrays in whole.values()])}


def chosen_of_runs(order: Sequence[int], samples: Mapping[str, Array]) -> list[int]:
    """ACROSS of `order`, in it: at most A_RUN of one run and one of each nearest image, while there are others."""
    chosen: dict[int, None] = {}  # in order of choice
    for most in (A_RUN, ACROSS):  # of one run
        for k in order:
            images = {samples["nearest"][other].tobytes() for other in chosen}
            of_run = sum(samples["run"][other] == samples["run"][k] for other in chosen)
            if len(chosen) < ACROSS and of_run < most and samples["nearest"][k].tobytes() not in images:
                chosen[int(k)] = None
    chosen |= dict.fromkeys(int(k) for k in order)
    first = set(list(chosen)[:ACROSS])
    return [int(k) for k in order if k in first]


def _described(
    figure: Figure,
    strips: Sequence[Any],
    samples: Mapping[str, Array],
    kinds: Sequence[tuple[str, int]],
    tables: Tables,
) -> ReportFigure:
    import pandas

    across = max(len(pixels) for _, pixels, _ in strips)
    rows, marks, done = [], [], dict.fromkeys(("copy", "new"), 0)
    first_row = {kind: 2 * k for k, kind in enumerate(dict.fromkeys(kind for kind, _ in kinds))}
    for kind, k in kinds:
        ratio, copies, run = float(samples["ratio"][k]), float(samples["copies"][k]), str(samples["run"][k])
        rows.append({"kind": kind, "gap_ratio": ratio, "copies": copies, "runs": run})
        axes = figure.axes[first_row[kind] * across + done[kind]]
        said = f"{kind}: gap ratio {ratio:.2f} to an image with {copies:g} copies; run {run}"
        marks.append(mark(axes, samples["samples"][k], said, (run,)))
        done[kind] += 1
    last = last_evaluations(tables.evals)
    flagged, spurious = (last[name].sum(min_count=1) for name in ("n_flagged", "n_spurious"))
    counted = (
        f" Of {flagged:.0f} groups of recurring samples {spurious:.0f} are spurious (near no image)."
        if flagged > 0
        else ""
    )
    known = last[last["n_memorized"].notna() & (last["n_generated"] > 0)]
    share = known["n_memorized"].sum() / known["n_generated"].sum() if len(known) else np.nan
    of_all = f" Of all samples {100 * share:.3g} % are copies." if np.isfinite(share) else ""
    caption = (
        f"Samples that are copies (gap ratio below 1/3, the smallest first) beside samples near no training image (the "
        f"largest ratio), each above its nearest training image with that image's copies. Chosen for what they show, "
        f"at most "
        f"{A_RUN} of a run while others have some: no rate can be read from them.{of_all}{counted} "
        f"n = {len({samples['run'][k] for _, k in kinds})} of {said_runs(len(tables.gallery))} with kept samples."
    )
    alt = (
        f"{several(done['copy'], 'sample that is a copy', 'samples that are copies')} and "
        f"{several(done['new'], 'that is new', 'that are new')}, each with its nearest training image."
    )
    return ReportFigure("images_copies_and_new", "images", figure, caption, alt, wide=True, data=pandas.DataFrame(rows),
                        marks=marks)  # fmt: skip
