"""How much of the correlation of memorization and generalization over runs is capacity's (measures.md 3.7)?

In words: size causes both, directly; data and length cause both too and are held fixed (regressed out); what is left is
a path between the two that size does not open. Nothing here says which of the two would cause the other.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.questions.answer import Answer, not_answerable, plain, sentences
from analysis.questions.comparable import expanded, logit_rate, rows_at
from analysis.summary import holdout_minima
from analysis.table import Tables
from analysis.words import several

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
UNIT = "share of the correlation of memorization (logit f) and generalization (-holdout_loss) that capacity explains"
NUMBERS, WORDS = ("n_unique", "n_train", "copies", "length"), ("family", "design", "near", "conditioning")
SPARE = 4  # runs beyond what is held fixed: an atanh needs them for its variance 1/(n - controls - 3)


class Shares(NamedTuple):
    """Of one sample (floats) or of many draws (arrays [b])."""

    r_xy: Array
    share: Array  # r_xz r_yz / r_xy for a line in z
    partial: Array  # correlation of what z leaves


def shares(x: Array, y: Array, capacity: Array, held: Array | None = None, weights: Array | None = None) -> Shares:
    """x [n], y [n], capacity [n c], held [n h], weights [b n] (None: one sample of weight 1) -> values, each [b].

    All after `held` (and a mean). share = cov(x_hat, y_hat)/cov(x, y), x_hat on capacity; for one column that is
    r_xz r_yz / r_xy. NaN where a variance is 0. A factor is given as one column of 0 and 1 for each of its values.
    """
    held = np.empty((len(x), 0)) if held is None else held
    weights = np.ones((1, len(x))) if weights is None else weights
    columns = np.concatenate([np.stack([x, y], axis=1), held, capacity], axis=1)
    columns = (columns - columns.mean(0)) / np.where(np.ptp(columns, axis=0) > 0, columns.std(0), 1.0)
    total = weights.sum(1)[:, None]
    means = weights @ columns / total
    moments = np.einsum("bn,ni,nj->bij", weights, columns, columns, optimize=True) / total[:, :, None]
    moments -= means[:, :, None] * means[:, None, :]
    before = _left_by(moments, range(2, 2 + held.shape[1]))
    after = _left_by(moments, range(2, columns.shape[1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - after[:, 0, 1] / np.where(before[:, 0, 1] == 0, np.nan, before[:, 0, 1])
    return Shares(_correlation(before, np.diagonal(moments, axis1=1, axis2=2)), share,
                  _correlation(after, np.diagonal(before, axis1=1, axis2=2)))  # fmt: skip


def _left_by(moments: Array, controls: Sequence[int]) -> Array:
    """Covariance [b 2 2] of the first two columns after regression on the columns `controls`."""
    controls = list(controls)
    first = moments[:, :2, :2]
    if not controls:
        return first
    cross = moments[:, :2, controls]
    # The pseudo-inverse: a factor's columns add up to a constant, and a draw may miss one of its values.
    inverse = np.linalg.pinv(moments[:, controls][:, :, controls], rcond=1e-10, hermitian=True)
    return first - cross @ inverse @ cross.transpose(0, 2, 1)


def _correlation(covariance: Array, before: Array) -> Array:
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    rounding = 1e-10 * before[:, :2]  # of a column that the controls explain exactly nothing is left
    scale = np.sqrt(np.where(variance > rounding, variance, np.nan).prod(1))
    return np.clip(covariance[:, 0, 1] / scale, -1, 1)


def with_intervals(
    x: Array, y: Array, capacity: Array, held: Array, *, level: float, draws: int, seed: int
) -> dict[str, tuple[float, float, float]]:
    """Of `shares`: r_xy, share, partial, each (value, lo, hi), runs [n] resampled; share NaN where r_xy's holds 0."""
    n = len(x)
    rng = np.random.default_rng(seed)
    times = np.stack([np.bincount(row, minlength=n) for row in rng.integers(n, size=(draws, n))]).astype(float)
    value, drawn = shares(x, y, capacity, held), shares(x, y, capacity, held, times)
    used = np.linalg.matrix_rank(np.concatenate([np.ones((n, 1)), held], axis=1))
    found = {}
    for name in ("r_xy", "partial"):
        taken = used if name == "r_xy" else used + np.linalg.matrix_rank(capacity - capacity.mean(0))
        # On Fisher's scale the ends stay inside (-1, 1).
        one, many = (np.arctanh(np.clip(getattr(part, name), -1 + 1e-12, 1 - 1e-12)) for part in (value, drawn))
        ends = np.tanh(expanded(float(one[0]), many, n, n - int(taken), level))
        found[name] = (float(getattr(value, name)[0]), float(ends[0]), float(ends[1]))
    told = found["r_xy"][1] > 0 or found["r_xy"][2] < 0
    share = float(value.share[0])
    found["share"] = (share, *expanded(share, drawn.share, n, n - int(used) - 1, level)) if told else (np.nan,) * 3
    return found


def confounding(tables: Tables, *, rate: float, at: Mapping[str, float], level: float, draws: int, seed: int) -> Answer:
    """The share at each run's hold-out minimum, z = ln params; `rate` is not used.

    Rows: at hold-out minima and at a fixed images_seen (`at`, else the largest that all runs reached), each with z as
    a line and as a factor (means of each size taken out).
    """
    evals = rows_at(tables.evals, {name: value for name, value in at.items() if name != "images_seen"})
    evals = evals.assign(length=evals.groupby("run_id")["images_seen"].transform("max"))
    fixed = at.get("images_seen", _common(evals))
    chosen = {"holdout_minimum": holdout_minima(evals)}
    if fixed is not None:
        chosen[f"images_seen = {fixed:g}"] = rows_at(evals, {"images_seen": fixed})
    rows, notes = [], []
    for where, frame in chosen.items():
        found, said = _of(frame, where, level=level, draws=draws, seed=seed)
        rows += found
        notes.append(said)
    main = next((row for row in rows if row["at"] == "holdout_minimum" and row["capacity"] == "ln params"), None)
    if main is None:
        return not_answerable("confounding", sentences(*notes), level=level, unit=UNIT, rows=rows)
    if main["r_xy"] is None:
        why = f"over {several(main['n'], 'run')} at their hold-out minima memorization or hold-out loss does not vary"
        return not_answerable("confounding", sentences(why, *notes), level=level, unit=UNIT, rows=rows)
    if main["share"] is None:
        why = (
            f"the correlation over {several(main['n'], 'run')} is {main['r_xy']:.2g} ({main['r_lo']:.2g} to "
            f"{main['r_hi']:.2g}): "
            f"not told apart from 0, so there is nothing to take a share of; more runs would tell"
        )
        return not_answerable("confounding", sentences(why, *notes), level=level, unit=UNIT, rows=rows)
    why = sentences(
        f"over {several(main['n'], 'run')}, each at its lowest hold-out loss, memorization and generalization "
        f"correlate "
        f"by {main['r_xy']:.2g}, and by {main['partial']:.2g} among models of one size ({main['partial_lo']:.2g} to "
        f"{main['partial_hi']:.2g})",
        "outside [0, 1] is suppression: size works against the correlation, or beyond it"
        if not 0 <= main["share"] <= 1
        else "",
        f"this takes size as a cause of both, {main['held'] or 'data and length'} held fixed; what remains does "
        f"not come "
        f"from size: one may drive the other, or a cause not in the table drives both",
        *notes,
    )
    ends = (main["share"], main["share_lo"], main["share_hi"])
    return Answer("confounding", True, *ends, level, UNIT, False, why, rows)


def _of(frame: "DataFrame", where: str, *, level: float, draws: int, seed: int) -> tuple[list[dict[str, Any]], str]:
    """The rows of one choice of evaluations, and what was left out or lacking."""
    held, names = _held(frame)
    x = logit_rate(frame["n_memorized"].to_numpy(float), frame["n_generated"].to_numpy(float))
    y, params = -frame["holdout_loss"].to_numpy(float), frame["params"].to_numpy(float)
    known = ~np.isnan(np.column_stack([x, y, params, held])).any(1)
    lost = f"{where}: {several(int(np.sum(~known)), 'run')} left out for want of a value" if not known.all() else ""
    x, y, params, held = x[known], y[known], params[known], held[known]
    sizes = np.unique(params)
    if len(sizes) < 2 or len(x) < held.shape[1] + len(sizes) + SPARE:
        few = (
            f"{where}: {several(len(x), 'run')} of {several(len(sizes), 'size')} are too few with "
            f"{several(len(names), 'thing')} held fixed"
        )
        return [], sentences(few, lost)
    factor = (params[:, None] == sizes).astype(float)
    rows = []
    for name, capacity in (("ln params", np.log(params)[:, None]), ("params as a factor", factor)):
        found = with_intervals(x, y, capacity, held, level=level, draws=draws, seed=seed)
        row = {"at": where, "capacity": name, "n": len(x), "n_sizes": len(sizes), "held": ", ".join(names)}
        for key, (value, lo, hi) in found.items():
            short = "r" if key == "r_xy" else key
            row |= {key: plain(value), f"{short}_lo": plain(lo), f"{short}_hi": plain(hi)}
        rows.append(row)
    return rows, lost


def _held(frame: "DataFrame") -> tuple[Array, list[str]]:
    """What is regressed out [n h]: the logarithm of every number that varies, 0 and 1 for every word that varies."""
    columns, names = [np.empty((len(frame), 0))], []
    for name in NUMBERS:
        values = frame[name].to_numpy(float)
        if len(np.unique(values[~np.isnan(values)])) > 1:
            columns.append(np.log(np.where(values > 0, values, np.nan))[:, None])
            names.append(name)
    for name in WORDS:
        found = frame[name].fillna("none").astype(str).to_numpy()
        if len(np.unique(found)) > 1:
            columns.append((found[:, None] == np.unique(found)[1:]).astype(float))
            names.append(name)
    return np.concatenate(columns, axis=1), names


def _common(evals: "DataFrame") -> float | None:
    """The largest images_seen that every run was evaluated at; None where there is none above 0."""
    counts = evals[evals["images_seen"] > 0].groupby("images_seen")["run_id"].nunique()
    shared = counts.index[counts == evals["run_id"].nunique()]
    return float(shared.max()) if len(shared) else None
