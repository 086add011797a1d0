"""What is true in a simulated study: rates, hold-out loss, onsets, the front; closed forms of a plan, no randomness."""

import hashlib
import json
from collections.abc import Sequence
from math import inf, log
from typing import Any

import numpy as np
from scipy.special import expit

from analysis.boundary.front import front
from analysis.descent.shape import peak
from analysis.planning.planned import Descent, StudyPlan
from analysis.planning.planned_grid import Cell

Array = np.ndarray
LATEST = 1e15  # images: an onset beyond is none


def digest(*parts: object) -> str:
    """12 hexadecimal digits of the parts, as run_id and cell_id are."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def stratum_logit(plan: StudyPlan, cell: Cell, images_seen: Array) -> Array:
    """logit f of each stratum without luck: images_seen [t] -> [t s]; an untrained network (0) knows nothing: -inf."""
    t = np.asarray(images_seen, float)
    copies = np.array([copies for copies, _ in cell.strata], float)
    seen = np.where(t > 0, t, 1.0)[:, None] * np.ones_like(copies)
    known = {"params": float(cell.params), "n_unique": float(cell.n_unique), "images_seen": seen, "copies": copies}
    x = {name: np.broadcast_to(known[name], seen.shape).ravel() for name in plan.rate.law.variables}
    theta = np.array([plan.rate.parameters[name] for name in plan.rate.law.parameters])
    raw = plan.rate.law.raw(x, theta).reshape(seen.shape)
    return np.where(t[:, None] > 0, raw, -inf)


def shares(cell: Cell) -> Array:
    """Part of the training draws, and so of a copier's samples, that each stratum has [s]; they sum to 1."""
    return np.array([copies * images for copies, images in cell.strata]) / cell.n_train


def cell_rate(plan: StudyPlan, cell: Cell, images_seen: Array) -> Array:
    """Expected n_memorized / n_generated without luck [t]: a sample falls on a stratum by its share, then with f."""
    return expit(stratum_logit(plan, cell, images_seen)) @ shares(cell)


def holdout_loss(plan: StudyPlan, cell: Cell, images_seen: Array, height: float) -> Array:
    """The law of planned.LossTruth and a bump of this height [t]."""
    own, t = plan.loss, np.asarray(images_seen, float)
    seen = np.where(t > 0, t, 1.0)
    late = np.maximum(np.log(seen / (own.overfit_epochs * cell.n_unique)), 0)
    loss = seen_loss(plan, cell, t) + np.where(t > 0, own.overfit * late**2, 0)
    return loss + np.where(t > 0, height * _bump(plan, [cell.params])[0], 0)


def seen_loss(plan: StudyPlan, cell: Cell, images_seen: Array) -> Array:
    """The law of planned.LossTruth without overfitting and bump [t]; `untrained` at 0."""
    own, t = plan.loss, np.asarray(images_seen, float)
    law = own.E + own.A / cell.params**own.alpha + own.B / np.where(t > 0, t, 1.0) ** own.beta
    return np.where(t > 0, law, own.untrained)


def _bump(plan: StudyPlan, params: Sequence[float]) -> Array:
    if plan.descent is None:
        return np.zeros(len(params))
    return np.exp(-((np.log(params) - log(plan.descent.peak)) ** 2) / (2 * plan.descent.width**2))


def prominence(y: Array) -> float:
    """Of the peak of y [n], in order of x; 0 where there is none (measures.md 3.3)."""
    found = peak(np.asarray(y, float))
    return found.prominence if found else 0.0


def bump_heights(plan: StudyPlan) -> dict[str, float]:
    """The height that gives each group of cells (alike but for size) the stated prominence; raises ValueError."""
    heights = {}
    for group in dict.fromkeys(cell.group for cell in plan.cells):
        ladder = _ladder(plan, group)
        heights[group] = _height(plan, plan.descent, ladder) if plan.descent else 0.0
    return heights


def _ladder(plan: StudyPlan, group: str) -> list[Cell]:
    return sorted((cell for cell in plan.cells if cell.group == group), key=lambda cell: cell.params)


def final_losses(plan: StudyPlan, ladder: Sequence[Cell], height: float) -> Array:
    """holdout_loss of each cell at the end of its training [cells], under a bump of this height."""
    return np.array([holdout_loss(plan, cell, np.array([cell.images]), height)[0] for cell in ladder])


def _height(plan: StudyPlan, descent: Descent, ladder: Sequence[Cell]) -> float:
    from scipy.optimize import brentq  # half of this package's import time

    wanted = descent.prominence
    highest = 1e3 * wanted + 10 * np.ptp(final_losses(plan, ladder, 0.0))
    if prominence(final_losses(plan, ladder, highest)) < wanted:
        listed = ", ".join(str(cell.params) for cell in ladder)
        raise ValueError(
            f"truth.double_descent: no bump at peak={descent.peak:g} of width={descent.width:g} has "
            f"prominence {wanted:g} at the sizes {listed}: put the peak between them, or plan more sizes"
        )
    return brentq(lambda height: prominence(final_losses(plan, ladder, height)) - wanted, 0.0, highest, xtol=1e-12)


def tau_mem(plan: StudyPlan, cell: Cell, eps: float) -> float | None:
    """images_seen at which the cell's rate without luck reaches eps; None where the law knows no time, or never."""
    if "images_seen" not in plan.rate.law.variables:
        return None
    from scipy.optimize import brentq

    def above(log_t: float) -> float:
        return float(cell_rate(plan, cell, np.array([np.exp(log_t)]))[0] - eps)

    ends = (0.0, log(LATEST))
    return float(np.exp(brentq(above, *ends, xtol=1e-10))) if above(ends[0]) < 0 < above(ends[1]) else None


def truth(plan: StudyPlan) -> dict[str, Any]:
    """All of it, for JSON: the rate's law, each cell's curves and onset, the Pareto front, double descent."""
    heights = bump_heights(plan)
    eps = sorted({0.01} | {float(row["eps"]) for row in plan.tau_mem})
    rows = []
    for cell in plan.cells:
        t = np.array(cell.points)
        loss, rate = holdout_loss(plan, cell, t, heights[cell.group]), cell_rate(plan, cell, t)
        best = 1 + int(np.argmin(loss[1:]))  # its hold-out minimum, among the planned evaluations after 0
        rows.append({
            "cell_id": digest(cell.config), "params": cell.params, "width": cell.width, "n_unique": cell.n_unique,
            "design": cell.design, "strata": [list(part) for part in cell.strata], "images_seen": t.tolist(),
            "rate": rate.tolist(), "holdout_loss": loss.tolist(), "t_over": int(t[best]),
            "rate_at_minimum": float(rate[best]), "holdout_loss_at_minimum": float(loss[best]),
            "tau_mem": {f"{level:g}": tau_mem(plan, cell, level) for level in eps},
        })  # fmt: skip
    for name, at in (("at_minimum", None), ("at_end", -1)):
        points = [
            (row["rate_at_minimum"], row["holdout_loss_at_minimum"])
            if at is None
            else (row["rate"][at], row["holdout_loss"][at])
            for row in rows
        ]
        for row, there in zip(rows, front(np.array(points)), strict=True):
            row[f"on_front_{name}"] = bool(there)
    return {
        "name": plan.name,
        "rate": {"formula": plan.rate.law.formula, "parameters": dict(plan.rate.parameters),
                 "luck_run": plan.rate.luck_run, "luck_draw": plan.rate.luck_draw,
                 "overdispersion": plan.rate.overdispersion, "null": plan.rate.null},
        "holdout_loss": vars(plan.loss),
        "double_descent": [_descent(plan, group, height) for group, height in heights.items()],
        "ended_early": plan.ended_early,
        "cells": rows,
    }  # fmt: skip


def _descent(plan: StudyPlan, group: str, height: float) -> dict[str, Any]:
    ladder = _ladder(plan, group)
    y = final_losses(plan, ladder, height)
    return {
        "params": [cell.params for cell in ladder],
        "n_unique": ladder[0].n_unique,
        "design": ladder[0].design,
        "strata": [list(part) for part in ladder[0].strata],
        "height": height,
        "prominence": prominence(y),
        "peak": plan.descent.peak if plan.descent else None,
    }
