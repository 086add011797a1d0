"""The attack-budget curve: how many training images b samples find, and how many more there are (measures.md 2.4).

TRAP of the counts by stratum: S(B) measures the attack, not the memory. A PERFECT copier (spectrum of 8 levels, 256
images, B 1,000) has .115 .217 .388 .625 .860 .980 of the images at 1 2 4 8 16 32 copies extracted: a "law in copies" of
slope 1 where every image is memorized alike. Fit no law to it: read S(b) beside `copier` of the same plan, and compare
runs at equal b only. Responses that do not depend on the budget: analysis/emission.py and basin recovery.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import gammaln, ndtri

from analysis.columns import TableError, column, numbers

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


class Richness(NamedTuple):
    """Chao1 with the interval of this lower bound; the richness itself it covers in .23 to .39 (unequal copies)."""

    value: float
    lo: float
    hi: float
    flagged: bool  # no image more is expected from the images hit once: lo = hi = value, which proves nothing


def _checked_hits(hits: Array) -> Array:
    hits = np.asarray(hits, float)
    bad = np.flatnonzero(~(hits >= 0) | (hits != np.floor(hits)))
    if bad.size:
        raise ValueError(
            f"hits: image {bad[0]} has {hits[bad[0]]:g}; hits are whole numbers: leave unmeasured runs out"
        )
    return hits


def _missed(hits: Array, budget: int, at: Array) -> Array:
    """P(none of image i's hits is among b of the B samples) = C(B - h_i, b)/C(B, b): hits [n], at [k] -> [k n]."""
    hits, at = _checked_hits(hits), np.asarray(at, float)
    if hits.sum() > budget:
        raise ValueError(f"budget={budget}: the images have {hits.sum():g} hits; a sample hits one image at most")
    if np.any((at < 0) | (at > budget)):
        raise ValueError(f"at={at.min():g}..{at.max():g} must lie in 0..{budget}: a larger budget needs more samples")
    left = budget - hits[None, :] - at[:, None]
    log_missed = gammaln(budget - hits + 1)[None, :] - gammaln(np.maximum(left, 0) + 1)
    log_missed += (gammaln(budget - at + 1) - gammaln(budget + 1))[:, None]
    return np.where(hits == 0, 1.0, np.where(left < 0, 0.0, np.exp(log_missed)))  # exactly 1 without a hit


def rarefaction(hits: Array, budget: int, at: Array) -> Array:
    """S(b) = sum_i [1 - C(B - h_i, b)/C(B, b)], exact: hits [n] of B = `budget` samples, b = `at` [k] -> [k]."""
    return (1 - _missed(hits, budget, at)).sum(1)


def rarefaction_se(hits: Array, budget: int, at: Array) -> Array:
    """SE of S(b) over new attacks (Colwell et al. 2012, Eq. 5): sum_i (1 - missed_i)^2 - S(b)^2/Chao1 -> [k].

    NaN where it comes out 0: a saturated attack shows no spread.
    """
    found = 1 - _missed(hits, budget, at)
    if not np.any(np.asarray(hits) > 0):
        return np.full(len(found), np.nan)
    square = (found**2).sum(1) - found.sum(1) ** 2 / chao1(hits).value
    return np.sqrt(np.where(square > 1e-9, square, np.nan))


def copier(copies: Array, at: Array) -> Array:
    """S(b) of a plan's perfect copier: sum_i [1 - (1 - r_i/N)^b]; copies [n], b = `at` [k] -> [k]; copies < 1 raise."""
    copies = np.asarray(copies, float)
    if not np.all(copies >= 1):
        raise ValueError(
            f"copies={np.min(copies):g}: each training image has 1 or more; leave out what was not trained"
        )
    if len(copies) == 1:  # one image: every sample is it; the logarithm below would be that of 0
        return (np.asarray(at) > 0).astype(float)
    return -np.expm1(np.asarray(at, float)[:, None] * np.log1p(-copies / copies.sum())).sum(1)


def chao1(hits: Array, level: float = 0.95) -> Richness:
    """Images that an endless attack finds, at least: S + f1 (f1 - 1)/(2 (f2 + 1)), interval of Chao 1987; hits [n]."""
    hits = _checked_hits(hits)
    s, f1, f2 = float((hits > 0).sum()), float((hits == 1).sum()), float((hits == 2).sum())
    t = f1 * (f1 - 1) / (2 * (f2 + 1))
    if t == 0:
        return Richness(s, s, s, flagged=True)
    if f2 > 0:
        v = f2 * ((f1 / f2) ** 4 / 4 + (f1 / f2) ** 3 + (f1 / f2) ** 2 / 2)
    else:
        v = f1 * (f1 - 1) / 2 + f1 * (2 * f1 - 1) ** 2 / 4 - f1**4 / (4 * (s + t))
    g = np.exp(ndtri((1 + level) / 2) * np.sqrt(np.log1p(v / t**2)))
    return Richness(s + t, float(s + t / g), float(s + t * g), flagged=False)


def by_stratum(hits: Array, copies: Array, level: float = 0.95) -> Richness:
    """Chao1 of each number of copies, capped at its images, summed (ends alike): hits, copies [n].

    The sum's ends are no interval of the sum: at B 64 they cover a copier of 32 images in .43 (K14b), pooled in .956.
    """
    hits, copies = np.asarray(hits), np.asarray(copies)
    value, lo, hi, flagged = 0.0, 0.0, 0.0, False
    for r in np.unique(copies):
        one, n_images = chao1(hits[copies == r], level), float((copies == r).sum())
        value, lo, hi = (
            total + min(part, n_images)
            for total, part in zip((value, lo, hi), (one.value, one.lo, one.hi), strict=True)
        )
        flagged |= one.flagged
    return Richness(value, lo, hi, flagged)


def budget_curves(images: "DataFrame", evals: "DataFrame", level: float = 0.95) -> "DataFrame":
    """A row for each run and b = 1, 2, 4, … B: what was found, what the perfect copier of its plan finds, and Chao1.

    Columns: run_id, cell_id, seed, images_seen, n_unique, b; found, lo, hi (S(b), the attack repeated on this run);
    copier (its S(b): the module's TRAP); chao1, chao1_lo, chao1_hi, chao1_flagged (pooled, from all B) and
    chao1_strata, …_lo, …_hi, …_flagged (by stratum). Runs without n_hits are left out. Raises TableError where images
    and evals disagree.
    """
    import pandas

    trained = images[column(images, "in_training", "images").eq(True)]  # missing is not True
    rows, z = [], ndtri((1 + level) / 2)
    for run, part in trained.groupby("run_id"):
        hits = numbers(part, "n_hits", f"images of run {run}")
        if np.isnan(hits).all():
            continue
        copies, budget = numbers(part, "copies", f"images of run {run}"), _budget(part, hits, evals, str(run))
        at = np.unique(np.append(2 ** np.arange(budget.bit_length()), budget))
        found, se = rarefaction(hits, budget, at), rarefaction_se(hits, budget, at)
        pooled, strata = chao1(hits, level), by_stratum(hits, copies, level)
        same = {name: part[name].iloc[0] for name in ("run_id", "cell_id", "seed", "images_seen", "n_unique")}
        same |= {"chao1": pooled.value, "chao1_lo": pooled.lo, "chao1_hi": pooled.hi, "chao1_flagged": pooled.flagged}
        same |= {f"chao1_strata{end}": value for end, value in zip(("", "_lo", "_hi", "_flagged"), strata, strict=True)}
        for b, s, error, ideal in zip(at, found, se, copier(copies, at), strict=True):
            ends = {"lo": max(s - z * error, 0.0), "hi": min(s + z * error, len(hits))} if error > 0 else {}
            rows.append({**same, "b": int(b), "found": s, "lo": np.nan, "hi": np.nan, **ends, "copier": ideal})
    return pandas.DataFrame(rows, columns=CURVE_COLUMNS)


CURVE_COLUMNS = (
    "run_id", "cell_id", "seed", "images_seen", "n_unique", "b", "found", "lo", "hi", "copier",
    "chao1", "chao1_lo", "chao1_hi", "chao1_flagged",
    "chao1_strata", "chao1_strata_lo", "chao1_strata_hi", "chao1_strata_flagged",
)  # fmt: skip


def _budget(part: "DataFrame", hits: Array, evals: "DataFrame", run: str) -> int:
    """B of the run's images rows, which must tell of every training image and of one evaluation in evals."""
    if np.isnan(hits).any():
        raise TableError(f"run {run}: {int(np.isnan(hits).sum())} of {len(hits)} images lack n_hits: evaluate it again")
    if len(hits) != part["n_unique"].iloc[0]:
        raise TableError(f"run {run}: images has {len(hits)} of n_unique={part['n_unique'].iloc[0]:g} training images")
    seen = part["images_seen"].iloc[0]
    at = evals["images_seen"].isna() if np.isnan(seen) else evals["images_seen"] == seen  # NaN: an audited model
    row = evals[(evals["run_id"] == run) & at]
    if len(row) != 1:
        raise TableError(f"run {run}: evals has {len(row)} rows at images_seen={seen:g}, not one")
    counted = row["n_extracted"].iloc[0]
    if not np.isnan(counted) and counted != (hits > 0).sum():
        raise TableError(
            f"run {run}: images tells of {int((hits > 0).sum())} images hit, evals has n_extracted={counted:g}: "
            f"the tables are not of one evaluation; collect them again"
        )
    return int(part["n_generated"].iloc[0])
