"""Models from elsewhere as crosses on a study's boundaries."""

import numpy as np
from scipy.special import ndtri

from analysis.boundary_points import SHORT, rates_and_quality
from analysis.pictures.boundary_figures import Guest, boundary_figure
from analysis.pictures.boundary_plot import Arrow, Bars
from analysis.placed_models import PlacedModels, Placement
from analysis.plots import Ordered, ReportFigure
from analysis.rates import wilson

NAMES = {"holdout_loss": "boundary_placed_holdout", "kid": "boundary_placed_kid"}


def placed_figures(placed: PlacedModels, params: Ordered, level: float) -> list[ReportFigure]:
    """A figure for each boundary that a model stands on; what does not is said in `placed`."""
    return [
        boundary_figure(NAMES[one.column], one.column, "at the last evaluation", one.study, params, level,
                        _guests(one, level))
        for one in placed.placements
    ]  # fmt: skip


def _guests(placement: Placement, level: float) -> list[Guest]:
    models, column, found = placement.models, placement.column, list[Guest]()
    z, rate = ndtri((1 + level) / 2), wilson(models["y"], models["y_trials"], level)
    for at, there in zip(rates_and_quality(models, column).value, placement.found, strict=True):
        x, y, move, k = float(at[0]), float(at[1]), there.moves[0], len(found)
        error = models[f"{column}_se"].iloc[k]  # missing: no bar, and said
        bars = Bars(x, x - z * error, x + z * error, y, float(rate.lo[k]), float(rate.hi[k]))
        sure = " (its error is not known)" if np.isnan(error) else f" ({bars.x_lo:.4g} to {bars.x_hi:.4g})"
        way = None if move.by == 0 else Arrow(x, y, *((move.to, y) if move.column == "x" else (x, move.to)))
        ends = "" if move.lo is None else f" ({move.lo:.3g} to {move.hi:.3g})"
        less = f"; on it if its {SHORT[column] if move.column == 'x' else 'rate'} fell by {move.by:.3g}{ends}"
        said = (
            f"placed model {models['run_id'].iloc[k]}: {SHORT[column]} {x:.4g}{sure}, rate {100 * y:.3g} % "
            f"({100 * bars.y_lo:.3g} to {100 * bars.y_hi:.3g} %), on the boundary with probability "
            f"{there.p_front:.2f}{'' if way is None else less}"
        )
        found.append(Guest(x, y, bars, way, said, placement.anchor(k)))
    return found
