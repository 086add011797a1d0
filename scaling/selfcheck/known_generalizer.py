"""What every instrument must give on a generalizer: no more than its null, by chance (measures.md, section 5).

The model knows the population and not a single image, so that all of it must hold for whatever images were drawn.
"""

from math import inf

from scaling.selfcheck.known_study import (
    GENERALIZER,
    HOLDOUT,
    SAMPLES,
    N,
    Studies,
    counterfactual,
    counts,
    coverage,
    gap,
    in_errors,
)
from scaling.selfcheck.table import Given, Row, shown, within


def _general_criteria(on: Studies) -> Given:
    evals = on.tiny.evals(GENERALIZER, "neighbors")
    return _as_null(evals, ("n_memorized", "n_null_memorized"), ("n_calibrated", "n_null_calibrated"))


def _general_none(on: Studies) -> Given:
    evals = on.main.evals(GENERALIZER, "neighbors")
    found = counts(evals, "n_memorized", "n_calibrated", "n_null_memorized", "n_null_calibrated")
    return Given(shown(found), not any(found))


def _general_losses(on: Studies) -> Given:
    """The gap and the largest of the 16 levels, in standard errors; 3.7 is 3 for one level, corrected for 16."""
    levels = on.main.found(GENERALIZER, "loss").noise_levels
    largest = max(abs(in_errors(row)) for row in levels)
    mean = gap(on.main, GENERALIZER)
    return Given(shown((mean, largest)), abs(mean) <= 3 and largest <= 3.7)


def _general_membership(on: Studies) -> Given:
    found = on.main.evals(GENERALIZER, "membership")
    auc, se, tpr = found["membership_auc"], found["membership_auc_se"] or 0, found["tpr_at_1pct_fpr"]
    chance = 2 / (HOLDOUT + 1)
    ok = abs(auc - 0.5) <= 3 * se and tpr <= chance + 3 * (chance / N + chance / 2 * chance) ** 0.5
    return Given(f"{auc:.3f} +- {se:.3f}; {tpr:.4f}", ok)


def _general_distance(on: Studies) -> Given:
    found = on.main.evals(GENERALIZER, "ideal")
    values = [found["ideal_distance"], found["ideal_distance_null"]]
    return Given(shown(values), abs(values[0] - values[1]) <= 3 * 2**0.5 * found["ideal_distance_se"])


def _general_trajectory(on: Studies) -> Given:
    return within(on.main.found(GENERALIZER, "trajectory").noise_levels[-1]["trajectory_distance"], 30, inf)


def _general_basin(on: Studies) -> Given:
    """The 4 chains of an image share its place: over 24 training sets the difference had 1.5 Poisson errors."""
    evals = on.tiny.evals(GENERALIZER, "basin")
    return _as_null(evals, ("n_basin_recovered", "n_null_basin_recovered"), together=2.25)


def _general_cyclic(on: Studies) -> Given:
    evals = on.tiny.evals(GENERALIZER, "cyclic")
    return _as_null(evals, ("n_cyclic_extracted", "n_null_cyclic_extracted"))


def _general_prompts(on: Studies) -> Given:
    main, tiny = on.main.evals(GENERALIZER, "prompts"), on.tiny.evals(GENERALIZER, "prompts")
    names = "n_prompt_recovered", "n_null_prompt_recovered"
    found = [*counts(main, *names), *counts(tiny, *names)]
    return Given(shown(found), not any(found[:2]) and _as_null(tiny, names).ok)


def _general_keys(on: Studies) -> Given:
    found = on.keys.evals(GENERALIZER, "keys")
    counts = _as_null(found, ("n_keys_recovered", "n_null_keys_recovered"))
    error, se = found["key_error"], found["key_error_se"]
    return Given(f"{error:.3f} +- {se:.3f}; {counts.gave}", abs(error - 0.25) <= 3 * se and counts.ok)


def _general_cliques(on: Studies) -> Given:
    found = [study.evals(GENERALIZER, "cliques")["n_flagged"] for study in (on.main, on.tiny)]
    return Given(shown(found), found == [0, 0])


def _general_bits(on: Studies) -> Given:
    found = on.main.evals(GENERALIZER, "loss", "density")
    errors = [found[name] / found[f"{name}_se"] for name in ("bits_memorized", "bits_optimism")]
    return Given(shown(errors), all(abs(error) <= 3 for error in errors))


def _general_counterfactual(on: Studies) -> Given:
    return within(float(counterfactual(on.halves, GENERALIZER).abs().max()), 0, 1e-9)


def _general_quality(on: Studies) -> Given:
    found, expected = on.main.evals(GENERALIZER, "quality"), coverage(SAMPLES)
    error = found["kid"] / found["kid_se"]
    ok = abs(error) <= 3 and abs(found["coverage"] - expected) <= 0.015
    return Given(f"{error:.3g}; {found['coverage']:.3f} ({expected:.3f})", ok)


def _as_null(evals: dict[str, object], *pairs: tuple[str, str], together: int = 1) -> Given:
    """Both counts of each pair, and whether they differ by at most 3 Poisson errors (at least one count)."""
    found = [counts(evals, *pair) for pair in pairs]
    ok = all(abs(a - b) <= 3 * max(1, together * (a + b)) ** 0.5 for a, b in found)
    return Given("; ".join(shown(pair) for pair in found), ok)


ROWS = (
    Row("generalizer: n_memorized, n_calibrated; nulls", "0 0; 0 0", _general_none),
    Row("generalizer, 4 pixels: the same against nulls", "as the null within 3 SE", _general_criteria),
    Row("generalizer: held-out less seen loss, in SE", "0 within 3 SE, no level beyond 3.7", _general_losses),
    Row(
        "generalizer: membership_auc; tpr_at_1pct_fpr", ".5 within 3 SE; 2/257 = .0078 within 3 SE", _general_membership
    ),
    Row("generalizer: ideal_distance, its null", "equal within 3 SE", _general_distance),
    Row("generalizer: trajectory_distance, last level", "far from U (above 30)", _general_trajectory),
    Row("generalizer, 4 pixels: basin, its null", "as the null within 3 SE", _general_basin),
    Row("generalizer, 4 pixels: cyclic, its null", "as the null within 3 SE", _general_cyclic),
    Row("generalizer: prompts, null; of 4 pixels", "0 0; as the null within 3 SE", _general_prompts),
    Row("generalizer: key_error; keys, null", "1/4 within 3 SE; as the null within 3 SE", _general_keys),
    Row("generalizer: cliques flagged; of 4 pixels", "0 0", _general_cliques),
    Row("generalizer: bits_memorized, _optimism, in SE", "0 within 3 SE, both", _general_bits),
    Row("generalizer: largest Mbar", "0: with an image or without, the noise is the same", _general_counterfactual),
    Row("generalizer: kid, in SE; coverage", "0 within 3 SE; .996 +- .015 (K34b)", _general_quality),
)
