"""Data in, matplotlib Figure out; no file, no fit, no global state.

Named things take Okabe-Ito colours, ordered things magma over one range a report (the pale end stays unused), and a
marker of their own: no reading depends on colour alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from analysis.words import count_label

if TYPE_CHECKING:
    from pandas import DataFrame, Series

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#6b6b6b"
LOSSES = {"train_loss": (GREEN, ":", "^"), "seen_loss": (BLUE, "-", "o"), "holdout_loss": (VERMILION, "--", "s")}
MARKERS = "osD^vP<>Xp*h"
# Of magma: from where it is no longer black to contrast 3 to white (WCAG 2.2, criterion 1.4.11). Within this contrast
# eight values differ by 9 CIELAB units at least, for red- and green-blind readers too; cividis is grey in most of it.
DARKEST, PALEST = 0.08, 0.68
SIZE = (5.0, 3.7)  # inches: two beside each other on a desk, one on a phone
LABEL_ROOM = 0.16  # of the axis: a label such as 40.5 k on a single figure


@dataclass(frozen=True)
class Mark:
    """A place in a figure that a reader can point at: what stands there, and the runs behind it."""

    axes: Axes
    x: float  # in the data of `axes`
    y: float
    said: str  # one line: values with units, interval and n
    runs: tuple[str, ...] = ()
    link: str = ""  # of what is no run: the identifier on the page that it leads to


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report with its words, the rows it draws and the places that lead to runs."""

    name: str  # of the files
    section: str  # of the page
    figure: Figure
    caption: str
    alt: str
    wide: bool = False
    data: "DataFrame | None" = None  # one row a drawn point, with its interval: the csv beside the figure
    marks: Sequence[Mark] = ()


class Ordered:
    """Colours and markers of an ordered variable, the same in every figure of a report."""

    def __init__(self, values: Iterable[float], name: str) -> None:
        self.name, self.values = name, sorted({float(v) for v in values if v > 0})
        low, high = (self.values[0], self.values[-1]) if self.values else (1.0, 2.0)
        self._norm = LogNorm(low, high if high > low else 2 * low)
        # In a legend 159,697 and 160,337 must not both be "160 k".
        apart = (d for d in range(3, 10) if len({count_label(v, d) for v in self.values}) == len(self.values))
        self._digits = next(apart, 9)

    def color(self, value: float) -> tuple[float, float, float, float]:
        """RGBA of a value above 0, by its place on the log scale of all values."""
        return colormaps["magma"](DARKEST + (PALEST - DARKEST) * float(self._norm(value)))

    def label(self, value: float) -> str:
        """A short number, in as many digits as tell all of `values` apart."""
        return count_label(value, self._digits)

    def marker(self, value: float) -> str:
        """The marker of one of `values`, by its rank; raises ValueError on any other."""
        return MARKERS[self.values.index(value) % len(MARKERS)]


def ticks_apart(values: Iterable[float], share: float) -> list[float]:
    """Of positive values, ascending, those at least `share` of the span apart on a log axis; both ends stay."""
    distinct = sorted({float(value) for value in values})
    first, last = distinct[0], distinct[-1]
    room, shown = share * np.log(last / first), [first]
    for value in distinct[1:-1]:
        if np.log(value / shown[-1]) >= room and np.log(last / value) >= room:
            shown.append(value)
    return [*shown, last] if last > first else shown


def _figure(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _legend(axes: Axes, title: str, extra: Sequence[Line2D] = ()) -> None:
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = handles + list(extra), labels + [line.get_label() for line in extra]
    if handles:
        axes.legend(
            handles,
            labels,
            title=title,
            fontsize=8,
            title_fontsize=8,
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )


def plot_rates(
    rates: "DataFrame",
    x: str,
    line: Ordered,
    *,
    ylabel: str,
    xlabel: str,
    runs: "DataFrame | None" = None,
    curve: Callable[[np.ndarray, float], np.ndarray] | None = None,
    null: float | None = None,
    null_label: str = "null",
    log_x: bool = True,
    legend: Sequence[Line2D] = (),
) -> Figure:
    """Rates with intervals against `x`, one line for each value of the ordered variable `line`.

    rates: columns x, line.name, rate, lo, hi. runs: the single runs, columns x, line.name, rate (faint dots).
    curve: (grid of x, value of line) -> fitted rate. legend: entries of what is drawn upon it.
    """
    figure, axes = _figure()
    grid = curve_grid(rates[x]) if log_x else None
    shift = sideways(rates, x, line.name) if log_x else {}
    for value, part in rates.sort_values(x).groupby(line.name):
        color, aside = line.color(value), shift.get(value, 1.0)
        if runs is not None:
            dots = runs[runs[line.name] == value]
            axes.plot(dots[x] * aside, dots["rate"], ".", color=color, alpha=0.45, markersize=4, zorder=2)
        arms = [np.maximum(part["rate"] - part["lo"], 0), np.maximum(part["hi"] - part["rate"], 0)]
        joined = "-" if curve is None or grid is None else "none"
        axes.errorbar(
            part[x] * aside, part["rate"], yerr=arms, fmt=line.marker(value), linestyle=joined,
            linewidth=1, capsize=2, elinewidth=0.9, markersize=5, color=color, markeredgecolor="white",
            markeredgewidth=0.5, zorder=3, label=line.label(value),
        )  # fmt: skip
        if curve is not None and grid is not None:
            axes.plot(grid, curve(grid, value), color=color, linewidth=1.2, zorder=1)
    if null is not None:
        axes.axhline(null, color=GREY, linewidth=1, linestyle=":", zorder=1)
    extra = [Line2D([], [], color=GREY, linewidth=1, linestyle=":", label=null_label)] if null is not None else []
    extra += (
        [Line2D([], [], color="#333333", linewidth=1.2, label="fit")] if curve is not None and grid is not None else []
    )
    extra += legend
    axes.set(xlabel=xlabel + (" (log scale)" if log_x else ""), ylabel=ylabel)
    if log_x:
        _log_axis(axes, rates[x])
    top = float(np.nanmax([rates["hi"].max(), null or 0]))
    axes.set_ylim(-0.03 * top, 1.05 * top)
    _legend(axes, {"params": "parameters", "copies": "copies"}.get(line.name, line.name), extra)
    return figure


def curve_grid(x: "Series") -> np.ndarray | None:
    """Where a fitted curve is evaluated, evenly in log x [100]; None where x reaches 0."""
    return np.geomspace(x.min(), x.max(), 100) if x.min() > 0 else None


def sideways(rates: "DataFrame", x: str, line: str) -> dict[float, float]:
    """A factor near 1 for each line, so that intervals at one x stand beside each other: a quarter of a gap in all."""
    if x == line:  # one point at each x
        return {}
    places, values = np.unique(np.log(rates[x].to_numpy(float))), sorted(rates[line].unique())
    if len(places) < 2 or len(values) < 2:
        return {}
    room = 0.25 * np.diff(places).min()
    return dict(zip(values, np.exp(room * np.linspace(-0.5, 0.5, len(values))), strict=True))


def _log_axis(axes: Axes, values: "DataFrame") -> None:
    """A log axis labelled at the measured values where they are few, as far as the labels have room."""
    axes.set_xscale("log")
    ticks = sorted(set(values))
    if len(ticks) <= 8:
        shown = ticks_apart(ticks, LABEL_ROOM)
        axes.set_xticks(shown, [count_label(tick) for tick in shown])
        axes.set_xticks([tick for tick in ticks if tick not in shown], minor=True, labels=[])
        axes.tick_params(axis="x", labelsize=8)


def _clock(axes: Axes, images_seen: "Series") -> None:
    """A log axis over images_seen with room for 0, linear below the decade of the first evaluation after it."""
    positive = images_seen[images_seen > 0]
    if len(positive):
        first, last = np.floor(np.log10([positive.min(), positive.max()]))
        axes.set_xscale("symlog", linthresh=10.0**first, linscale=0.6)
        # Its own ticks would set a decade inside the linear part, upon the 0.
        axes.xaxis.set_major_locator(FixedLocator([0, *10.0 ** np.arange(first, last + 1)]))


def plot_losses(evals: "DataFrame", sizes: Sequence[float]) -> Figure:
    """Training, seen and hold-out loss against images_seen, a panel for each number of parameters, 95 % intervals.

    evals: columns params, images_seen and the losses with _se; several runs of one size are averaged.
    """
    columns = min(2, len(sizes))
    rows = -(-len(sizes) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.4, 2.5 * rows + 0.5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)).ravel()
    for axes, size in zip(panels, sizes, strict=False):  # the last panels may stay empty
        _style(axes)
        part = evals[evals["params"] == size]
        for name, (color, style, marker) in LOSSES.items():
            _loss_line(axes, part, name, color, style, marker)
        axes.set_title(f"{count_label(size)} parameters", fontsize=9)
        _clock(axes, evals["images_seen"])
    for axes in panels[len(sizes) :]:
        axes.set_visible(False)
    figure.supxlabel("images seen (log scale, 0 at the left)", fontsize=10)
    figure.supylabel("weighted mean squared error", fontsize=10)
    handles = {}
    for axes in panels[: len(sizes)]:
        handles.update(dict(zip(axes.get_legend_handles_labels()[1], axes.get_legend_handles_labels()[0], strict=True)))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def _loss_line(axes: Axes, part: "DataFrame", name: str, color: str, style: str, marker: str) -> None:
    known = part[part[name].notna()]
    if known.empty:
        return
    means = loss_means(known, name)
    axes.plot(
        means["images_seen"], means["loss"], color=color, linestyle=style, marker=marker, markersize=3,
        label=name.replace("_", " "),
    )  # fmt: skip
    axes.fill_between(means["images_seen"], means["lo"], means["hi"], color=color, alpha=0.18, linewidth=0)


def loss_means(part: "DataFrame", name: str) -> "DataFrame":
    """Columns images_seen, loss, lo, hi (95 %): the mean of the runs of one size at each evaluation that has `name`."""
    known = part[part[name].notna()]
    groups = known.assign(_square=known[f"{name}_se"] ** 2).groupby("images_seen", as_index=False)
    found = groups.agg(loss=(name, "mean"), count=(name, "size"), square=("_square", lambda v: v.sum(min_count=1)))
    # Independent errors of the runs of one size; the mean's is their root sum of squares over their number.
    half = 1.96 * np.sqrt(found["square"]) / found["count"]
    return found[["images_seen", "loss"]].assign(lo=found["loss"] - half, hi=found["loss"] + half)


def plot_growth(rates: "DataFrame", line: Ordered, *, ylabel: str) -> Figure:
    """Rates against images_seen, one line for each value of `line`; columns images_seen, line.name, rate, lo, hi."""
    figure, axes = _figure()
    for value, part in rates.sort_values("images_seen").groupby(line.name):
        color = line.color(value)
        axes.plot(
            part["images_seen"],
            part["rate"],
            color=color,
            marker=line.marker(value),
            markersize=4,
            linewidth=1.2,
            label=line.label(value),
        )
        axes.fill_between(part["images_seen"], part["lo"], part["hi"], color=color, alpha=0.18, linewidth=0)
    _clock(axes, rates["images_seen"])
    axes.set(xlabel="images seen (log scale, 0 at the left)", ylabel=ylabel)
    axes.set_ylim(bottom=-0.03 * float(rates["hi"].max()))
    _legend(axes, "parameters")
    return figure
