"""What counterfactual scores mean: kinds, quadrants, base rates, correlations, with intervals (measures.md 2.9).

Strata of copies stand apart: pooled, copies alone would make every measure agree with every other.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import chdtri, ndtr, stdtrit

from analysis.per_image.rank_correlation import Correlation, combined, disattenuated, reliability, spearman
from analysis.rates import wilson

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
HIGH = 2.0  # standard errors above 0
COVARIATES = ("nearest_train_distance", "distance_10", "leverage", "recovered")
AXES = ("high", "recovered", "dense", "high_leverage")
KINDS = ("memorized", "learned", "neither", "undecided")
TOP, CENTRAL = (0.05, 0.10), 0.90  # shares: of the highly memorized, of the published inliers


def covariates(images: "DataFrame") -> "DataFrame":
    """A row for each pool image of each cell: cell_id, image_id and COVARIATES, means over runs.

    Distances over all runs (to the nearest OTHER training image); leverage and recovery over those with the image in
    training. recovered = share of them with at least one basin chain back; hits, in a cell without basin chains.
    """
    pool = images[images["fold_of"].notna() & images["role"].isin(["train", "left_out"])]
    trained = pool["in_training"] == True  # noqa: E712 (objects)
    chains, hits = (
        pool[name].gt(0).astype(float).where(pool[name].notna() & trained) for name in ("n_basin_recovered", "n_hits")
    )
    with_basin = chains.notna().groupby(pool["cell_id"]).transform("any")
    made = pool[["nearest_train_distance", "distance_10"]].assign(
        leverage=pool["leverage"].where(trained), recovered=chains.where(with_basin, hits)
    )
    return made.groupby([pool["cell_id"], pool["image_id"]]).mean().reset_index()


def kinds(table: "DataFrame") -> Array:
    """memorized, learned, neither or undecided for each row [n]; all by 2 standard errors.

    Own score Mbar > 2 se: learned if the neighbours' is above 2 se too; memorized if it is not and the own score
    exceeds it by 2 se of the paired difference; undecided if neither can be said. Own score not above 2 se: neither;
    undecided where only the neighbours gained, or a standard error is missing.
    """
    own, near, more = (
        (table[name] > HIGH * table[se]).to_numpy()
        for name, se in (("Mbar", "se"), ("neighbor", "neighbor_se"), ("excess", "excess_se"))
    )
    known = table[["se", "neighbor_se", "excess_se"]].notna().all(axis=1).to_numpy()
    cases = [known & own & ~near & more, known & own & near, known & ~own & ~near]
    return np.select(cases, KINDS[:3], default="undecided")


def above_median(values: Array, copies: Array) -> Array:
    """values [n], copies [n] -> [n] objects: above the median of its stratum of copies; None where missing."""
    above = np.full(len(values), None, object)
    for r in np.unique(copies):
        own = np.flatnonzero((copies == r) & ~np.isnan(values))
        above[own] = (values[own] > np.median(values[own])).tolist() if len(own) else []
    return above


def axes(table: "DataFrame", log_density: Array | None = None) -> "DataFrame":
    """AXES of each scored image, True, False or None (missing); recovered: in at least half of the runs.

    dense: nearer to its 10th neighbour than the median; or, given `log_density` [n], above its median. That must come
    from other runs than Mbar: Mbar = in - out shares the noise of mean_out and is correlated with it for nothing.
    """
    import pandas

    copies = table["copies"].to_numpy()
    near = -table["distance_10"].to_numpy(float) if log_density is None else np.asarray(log_density, float)
    recovered = table["recovered"].to_numpy(float)
    made = {
        "high": (table["Mbar"] > HIGH * table["se"]).to_numpy(),
        "recovered": np.where(np.isnan(recovered), None, recovered >= 0.5),
        "dense": above_median(near, copies),
        "high_leverage": above_median(table["leverage"].to_numpy(float), copies),
    }
    return pandas.DataFrame(made, index=table.index, dtype=object)[table["se"].notna()]


def quadrants(placed: "DataFrame") -> "DataFrame":
    """`axes` [n] -> a row for each combination with its count n, zeros too; an axis nobody measured stays None."""
    import pandas

    values = []
    for name in AXES:
        missing = placed[name].isna()
        values.append([None] if missing.all() else [True, False, *([None] if missing.any() else [])])
    rows = [
        (*cell, int(np.logical_and.reduce([_is(placed[name], v) for name, v in zip(AXES, cell, strict=True)]).sum()))
        for cell in product(*values)
    ]
    return pandas.DataFrame(rows, columns=[*AXES, "n"]).astype(dict.fromkeys(AXES, object))


def _is(values: "DataFrame", wanted: bool | None) -> Array:
    return values.isna().to_numpy() if wanted is None else (values == wanted).to_numpy(bool)


def central(log_density: Array) -> tuple[float, float]:
    """The ends of the central 90 % of log_density [n]."""
    lo, hi = np.quantile(log_density, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    return float(lo), float(hi)


def base_rate(score: Array, log_density: Array, top: float, level: float) -> dict[str, Any]:
    """Share of the `top` highest scores inside the central 90 % of log_density; .90 if the two have nothing in common.

    score, log_density [n]. van den Burg & Williams 2021 call the highly memorized inliers by this share: alone it says
    nothing.
    """
    known = ~(np.isnan(score) | np.isnan(log_density))
    score, log_density = score[known], log_density[known]
    n = round(top * len(score))
    lo, hi = central(log_density) if n else (0, 0)
    highest = log_density[np.argsort(-score, kind="stable")[:n]]
    share = wilson(int(((lo <= highest) & (highest <= hi)).sum()), n, level)
    return {"top": top, "n": n, "base_rate": CENTRAL, **_numbers(share=share.value, lo=share.lo, hi=share.hi)}


def by_stratum(x: Array, y: Array, copies: Array, level: float) -> tuple[dict[int, Correlation], Correlation]:
    """Spearman of x [n] and y [n] in each stratum of copies, and over strata: their mean in Fisher's z."""
    parts = {int(r): spearman(x[copies == r], y[copies == r], level) for r in np.unique(copies)}
    return parts, combined(list(parts.values()), level)


def expected_above(m_in: Array, m_out: Array, high: float = HIGH) -> float:
    """Mean over images of P(score > `high` se) for normal values without effect: m_in, m_out [n] runs, 2 or more.

    SE^2 is a weighted sum of two chi^2, so P = E Phi(-high sqrt(w U/(m_in - 1) + (1 - w) V/(m_out - 1))), with
    w = m_out/(m_in + m_out); Student's t of m_in + m_out - 2 where both are equal. 2.8 % for 15 runs a side, 7.1 % for
    27 and 3: few runs on one side make a large score by luck.
    """
    pairs, count = np.unique(np.stack([m_in, m_out]), axis=1, return_counts=True)
    p = (np.arange(300) + 0.5) / 300
    chance = []
    for a, b in pairs.T:
        U, V = chdtri(a - 1, 1 - p) / (a - 1), chdtri(b - 1, 1 - p) / (b - 1)
        w = b / (a + b)
        chance.append(ndtr(-high * np.sqrt(w * U[:, None] + (1 - w) * V)).mean())
    return float(np.average(chance, weights=count))


Halves = Sequence[tuple["DataFrame", "DataFrame"]]


def summary(table: "DataFrame", halves: Halves, null: "DataFrame | None", level: float) -> dict[str, Any]:
    """One cell, or the pooled cells, in JSON. halves: scores from disjoint halves of the runs, several random ones."""
    scored, one_cell = table[table["se"].notna()], "n_cells" not in table.columns
    copies, split = scored["copies"].to_numpy(), [_on(table, half) for half in halves[0]]
    between = _between_halves(scored, halves, level)  # above 0 by its interval, or there is nothing to correct with
    trust = reliability(between.value)
    correlations = {}
    for name in COVARIATES[:3]:
        parts, over = by_stratum(scored["Mbar"].to_numpy(), scored[name].to_numpy(float), copies, level)
        correlations[name] = {
            "strata": [{"copies": r, **as_json(found)} for r, found in parts.items()],
            "over_strata": as_json(over),
            "corrected": as_json(disattenuated(over, trust if between.lo > 0 else np.nan)),
        }
    by_density = scored["distance_10"].isna().all()
    placed = axes(split[0], split[1]["mean_out"].to_numpy()) if by_density else axes(scored)
    above = wilson(int((scored["Mbar"] > HIGH * scored["se"]).sum()), len(scored), level)
    expected = expected_above(scored["m_in"], scored["m_out"]) if one_cell and len(scored) else None
    rates = {"same_runs": (table["Mbar"], table["mean_in"]), "disjoint_halves": (split[0]["Mbar"], split[1]["mean_in"])}
    return {
        "level": level, "n_images": len(table), "n_scored": len(scored), "n_never_in": int((table["m_in"] == 0).sum()),
        "n_never_out": int((table["m_out"] == 0).sum()),
        "n_without_error": int((table["Mbar"].notna() & table["se"].isna()).sum()),
        "above_2_se": {**_numbers(share=above.value, lo=above.lo, hi=above.hi), "n": len(scored), "expected": expected},
        "by_copies": [_mean(part["Mbar"], level, copies=int(r)) for r, part in scored.groupby("copies")],
        "null": None if null is None else _null(null, level),
        "halves": {**as_json(between), "splits": len(halves)},
        "reliability": _numbers(value=trust, lo=reliability(between.lo), hi=reliability(between.hi)),
        "correlations": correlations,
        "density_axis": "mean_out of the other half of the runs" if by_density else "distance_10",
        "quadrants": quadrants(placed).to_dict("records"),
        "base_rates": {
            name: [base_rate(score.to_numpy(), density.to_numpy(), top, level) for top in TOP]
            for name, (score, density) in rates.items()
        },
        "kinds": _kinds(table),
        "neighbor_share": neighbor_share(table),
    }  # fmt: skip


def _on(table: "DataFrame", half: "DataFrame") -> "DataFrame":
    """The half's scores with the table's covariates, a row for each row of the table."""
    keys = ["image_id", "copies"]
    known = [name for name in COVARIATES if name in table.columns]
    return table[keys + known].merge(half, on=keys, how="left", validate="one_to_one")


def _between_halves(scored: "DataFrame", halves: Halves, level: float) -> Correlation:
    """The median of the random halves, by its value: one deal of the runs is luck."""
    found = []
    for pair in halves:
        a, b = (_on(scored[["image_id", "copies"]], half)["Mbar"].to_numpy() for half in pair)
        found.append(by_stratum(a, b, scored["copies"].to_numpy(), level)[1])
    known = sorted((c for c in found if np.isfinite(c.value)), key=lambda c: c.value)
    return known[len(known) // 2] if known else found[0]


def _null(null: "DataFrame", level: float) -> dict[str, Any]:
    """The never-trained images: mean 0, spread 1 in units of the standard error, and how many exceed 2 of them."""
    known = null[null["se"].notna()]
    above = wilson(int((known["Mbar"] > HIGH * known["se"]).sum()), len(known), level)
    spread = float(np.sqrt((known["Mbar"] ** 2).mean() / (known["se"] ** 2).mean())) if len(known) else np.nan
    return {
        "above_2_se": {**_numbers(share=above.value, lo=above.lo, hi=above.hi), "n": len(known)},
        "mean": _mean(known["Mbar"], level),
        "spread": _numbers(value=spread)["value"],
    }


def _mean(values: "DataFrame", level: float, **named: int) -> dict[str, Any]:
    """Mean over images with Student's interval, empty for one image."""
    n = len(values)
    half = stdtrit(n - 1, (1 + level) / 2) * values.std() / np.sqrt(n) if n > 1 else np.nan
    return {**named, "n": n, **_numbers(mean=values.mean(), lo=values.mean() - half, hi=values.mean() + half)}


def _kinds(table: "DataFrame") -> dict[str, Any] | None:
    if "neighbor" not in table.columns:
        return None
    with_neighbors = table[table["neighbor"].notna()]
    found = kinds(with_neighbors)
    return {kind: int((found == kind).sum()) for kind in KINDS}


def neighbor_share(table: "DataFrame") -> dict[str, Any] | None:
    """What the nearest hold-out images gain, as a share of an image's own score: median and quartiles over the images
    with a score above 2 standard errors. A share near 0 is memorized, near 1 learned, whatever the standard errors."""
    if "neighbor" not in table.columns:
        return None
    high = table[(table["Mbar"] > HIGH * table["se"]) & table["neighbor"].notna()]
    if high.empty:
        return {"median": None, "lower_quartile": None, "upper_quartile": None, "n": 0}
    lower, median, upper = np.quantile(high["neighbor"] / high["Mbar"], [0.25, 0.5, 0.75])
    return {"median": float(median), "lower_quartile": float(lower), "upper_quartile": float(upper), "n": len(high)}


def as_json(found: Correlation) -> dict[str, Any]:
    """value, lo and hi, null where NaN, and n."""
    return {**_numbers(value=found.value, lo=found.lo, hi=found.hi), "n": found.n}


def _numbers(**values: float | Array) -> dict[str, float | None]:
    """NaN -> None: JSON knows no NaN, and what is missing is null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The summary in a few lines for the terminal."""
    above, strongest = found["above_2_se"], found["base_rates"]["same_runs"][0]
    if above["share"] is None:
        return [f"{found['n_images']} images, none with a standard error: each must be in and out of two runs or more"]
    lines = [
        f"{found['n_scored']} of {found['n_images']} images scored; "
        f"{100 * above['share']:.1f} % above 2 standard errors ({100 * above['lo']:.1f} to {100 * above['hi']:.1f} %"
        + (f"; {100 * above['expected']:.1f} % with no effect)" if above["expected"] is not None else ")")
    ]
    empty = {"never in": "n_never_in", "never left out": "n_never_out", "without a standard error": "n_without_error"}
    if found["n_scored"] < found["n_images"]:
        lines.append("left empty: " + ", ".join(f"{found[name]} {why}" for why, name in empty.items() if found[name]))
    for name, parts in found["correlations"].items():
        rho = parts["over_strata"]
        if rho["lo"] is not None:
            lines.append(
                f"score with {name}: rho {rho['value']:+.2f} ({rho['lo']:+.2f} to {rho['hi']:+.2f}, n {rho['n']})"
            )
    if strongest["share"] is not None:
        lines.append(
            f"of the top {100 * strongest['top']:g} % scores, {100 * strongest['share']:.0f} % are inliers "
            f"({100 * strongest['lo']:.0f} to {100 * strongest['hi']:.0f} %; base rate {100 * CENTRAL:g} %)"
        )
    if found["kinds"]:
        lines.append(", ".join(f"{count} {kind}" for kind, count in found["kinds"].items()))
    if found["neighbor_share"] and found["neighbor_share"]["n"]:
        share = {name: 100 * value for name, value in found["neighbor_share"].items() if name != "n"}
        lines.append(
            f"their nearest hold-out images gain {share['median']:.0f} % of an image's own score (median; quartiles "
            f"{share['lower_quartile']:.0f} to {share['upper_quartile']:.0f} %, n {found['neighbor_share']['n']})"
        )
    return lines
