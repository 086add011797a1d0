"""Study 5 in one picture: the correlation over all runs beside that among models of one size."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from analysis.plots import ReportFigure

SIZE = (5.6, 2.4)
KINDS = (("r_xy", "r", "all models", "#0072B2", "o"), ("partial", "partial", "models of one size", "#D55E00", "s"))
APART = 0.12  # of a line's height: the two points of a line above and below it


def correlations(answered: Sequence[Mapping[str, Any]]) -> ReportFigure:
    """Rows of the answer to `confounding`, those with ln params as the size: r and the partial r with intervals."""
    import pandas

    rows = [row for row in answered if row["capacity"] == "ln params"]
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for value, short, label, color, marker in KINDS:
        shift = APART if value == "r_xy" else -APART
        for place, row in enumerate(reversed(rows)):
            lo, mid, hi = (row[name] for name in (f"{short}_lo", value, f"{short}_hi"))
            axes.plot([lo, hi], [place + shift] * 2, color=color, linewidth=1.4)
            axes.plot([mid], [place + shift], marker, color=color, markersize=6, label=label if not place else None)
    axes.axvline(0, color="#777777", linewidth=1, linestyle=":", zorder=0)
    axes.set_yticks(range(len(rows)), [_words(row["at"]) for row in reversed(rows)])
    axes.set(ylim=(-0.5, len(rows) - 0.5), xlabel="correlation (95 % interval)")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    said = ", ".join(f"{row['r_xy']:.2f} and {row['partial']:.2f} {_words(row['at'])}" for row in rows)
    caption = (
        f"Correlation of the logit of the memorized share with minus the hold-out loss over {rows[0]['n']} runs; "
        f"{rows[0]['held']} held fixed; and the same with ln params held fixed too. Runs are resampled."
    )
    alt = f"Two correlations with and without the models' size held fixed: {said}."
    return ReportFigure("correlations", "memorization", figure, caption, alt, data=pandas.DataFrame(rows))


def _words(at: str) -> str:
    """`images_seen = 102400` as a reader would say it."""
    value = at.removeprefix("images_seen = ")
    return f"at {float(value):,.0f} images seen" if value != at else "at the hold-out minimum"
