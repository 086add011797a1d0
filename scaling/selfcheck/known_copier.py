"""What every instrument must give on a copier of its training set: the top of its scale (measures.md, section 5)."""

from math import inf, log

import torch

from scaling.memorization.cliques import clique_size, link_distance
from scaling.quality.distances import kid
from scaling.selfcheck.known_study import (
    COPIER,
    GENERALIZER,
    HALF,
    SAMPLES,
    SIGMA_MIN,
    N,
    Studies,
    counterfactual,
    counts,
    coverage,
    emission,
    gap,
    in_training,
    log_of_copier,
    log_of_population,
    zero_mean,
)
from scaling.selfcheck.table import Given, Row, shown, within


def _copier_memorized(on: Studies) -> Given:
    found = counts(on.main.evals(COPIER, "neighbors"), "n_memorized", "n_calibrated", "n_null_memorized")
    return Given(shown(found), found == [SAMPLES, SAMPLES, 0])


def _copier_emission(on: Studies) -> Given:
    return emission(on.main, COPIER, 1)


def _copier_losses(on: Studies) -> Given:
    """In standard errors of the gap."""
    return within(gap(on.main, COPIER), 10, inf)


def _copier_membership(on: Studies) -> Given:
    found = on.main.evals(COPIER, "membership")
    values = [found["membership_auc"], found["tpr_at_1pct_fpr"]]
    return Given(shown(values), values == [1, 1])


def _copier_distance(on: Studies) -> Given:
    found = on.main.evals(COPIER, "ideal")
    values = [found["ideal_distance"], found["ideal_distance_null"]]
    return Given(shown(values), values[0] < 1e-6 and values[1] > 2)


def _copier_trajectory(on: Studies) -> Given:
    """.03: three standard errors of the median over 512 samples of |eps| in 64 dimensions, on either side."""
    return within(on.main.found(COPIER, "trajectory").noise_levels[-1]["trajectory_distance"], 0.97, 1.03)


def _copier_basin(on: Studies) -> Given:
    at, below = on.main.evals(COPIER, "basin"), on.below.evals(COPIER, "basin")
    found = counts(at, "n_basin_recovered", "n_ideal_basin_recovered")
    found += counts(below, "n_basin_recovered", "n_basin", "n_null_basin_recovered")
    ok = found[0] == found[1] > 0 and found[2] == found[3] and found[4] == 0
    return Given(shown(found), ok)


def _copier_prompts(on: Studies) -> Given:
    (row, *_) = rows = on.main.found(COPIER, "prompts").prompts
    names = ("n_prompt_recovered", "n_ideal_recovered", "n_prompts", "n_null_prompt_recovered")
    found = [sum(row[name] for row in rows) for name in names]
    return Given(shown(found), found[0] == found[1] > 0.8 * found[2] and found[3] == 0 and row["context"] == "1/2")


def _copier_keys(on: Studies) -> Given:
    """Filling in is no exact conditional sampling: not even D* finds all keys, but three errors more than by chance."""
    names = ("n_keys_recovered", "n_ideal_keys_recovered", "n_null_keys_recovered", "n_keys")
    found = counts(on.keys.evals(COPIER, "keys"), *names)
    return Given(shown(found), found[0] == found[1] > found[2] + 3 * (found[1] + found[2]) ** 0.5)


def _copier_cliques(on: Studies) -> Given:
    """Every image that came out as often as a group must be large, and nothing else."""
    held = on.main.bench.holdout.members
    least = clique_size(held, link_distance(held), SAMPLES)
    often = sum(row["n_hits"] >= least for row in on.main.found(COPIER, "neighbors").in_training(on.main.bench))
    found = counts(on.main.evals(COPIER, "cliques"), "n_flagged", "n_flagged_true", "n_spurious")
    return Given(f"{shown(found)} ({often})", found == [often, often, 0] and often > 0)


def _copier_cyclic(on: Studies) -> Given:
    shot = on.main.evals(COPIER, "neighbors")["n_extracted"]
    found = [shot, *counts(on.main.evals(COPIER, "cyclic"), "n_cyclic_extracted", "n_null_cyclic_extracted")]
    return Given(shown(found), shot < found[1] and found[1] >= 0.95 * N and found[2] == 0)


def _copier_bits(on: Studies) -> Given:
    """Over the population's own density, both from the densities themselves; 3 SE of both bounds' noise."""
    value, train = on.main.evals(COPIER, "loss", "density")["bits_memorized"], on.main.bench.train
    images = train.images.flatten(1)
    own = log_of_copier(images, images, train.copies_tensor(), SIGMA_MIN)
    expected = float((own - log_of_population(images, on.main.population, SIGMA_MIN)).sum()) / log(2)
    noise = [in_training(on.main, model, "log_density_se") for model in (COPIER, GENERALIZER)]
    se = float(torch.linalg.vector_norm(torch.cat(noise))) / log(2)
    return Given(f"{value:.0f} ({expected:.0f} +- {se:.0f})", abs(value - expected) <= 3 * se)


def _copier_counterfactual(on: Studies) -> Given:
    """Kernel densities of width sigma_min, with the image (its own fold) and without (the other one)."""
    found, studies = counterfactual(on.halves, COPIER), on.halves
    expected = torch.full_like(found, torch.nan)
    for study, other in (studies, studies[::-1]):
        train, without = study.bench.train, other.bench.train
        images = train.images.flatten(1)
        of_in = log_of_copier(images, images, train.copies_tensor(), SIGMA_MIN)
        of_out = log_of_copier(images, without.images.flatten(1), without.copies_tensor(), SIGMA_MIN)
        expected[train.positions.cpu()] = (of_in - of_out).cpu()
    return Given(f"{found.mean():.2f} ({expected.mean():.2f})", zero_mean(found - expected))


def _copier_kid(on: Studies) -> Given:
    """Against U drawn again and again by copies: kid_train has each image once, and no pair of equal images.

    Both look at the same H, whose luck kid_se counts: of what is left, 2 kid_se are 3 standard errors.
    """
    found, study = on.main.evals(COPIER, "quality"), on.main
    rows = study.models[HALF].unique.flatten(1)
    expected = kid(rows.repeat(8, 1), study.bench.holdout.images.flatten(1)).value
    value = found["kid"]
    return Given(f"{value:.2g} ({expected:.2g})", abs(value - expected) <= 2 * found["kid_se"])


def _copier_coverage(on: Studies) -> Given:
    """As many images of the population as were extracted cover, whatever else the copier emits."""
    extracted = on.main.evals(COPIER, "neighbors")["n_extracted"]
    expected = coverage(extracted)
    value = on.main.evals(COPIER, "quality")["coverage"]
    return Given(f"{value:.3f} ({expected:.3f})", abs(value - expected) <= 0.09)


ROWS = (
    Row("copier: n_memorized, n_calibrated; null", f"{SAMPLES} {SAMPLES} 0: all of them, and none", _copier_memorized),
    Row("copier: E_r at 1 2 4 8 copies", "1 1 1 1, each within 3 SE", _copier_emission),
    Row("copier: held-out less seen loss", "above 10 standard errors", _copier_losses),
    Row("copier: membership_auc, tpr_at_1pct_fpr", "1 1", _copier_membership),
    Row("copier: ideal_distance; its null", "0; large (above 2)", _copier_distance),
    Row("copier: trajectory_distance, last level", "1 +- .03 (3 SE)", _copier_trajectory),
    Row("copier: basin at sigma_c, D*; below, all; null", "as D*; all of them; 0", _copier_basin),
    Row("copier: prompts, D*, asked; null", "as D*, over .8 of those asked; 0", _copier_prompts),
    Row("copier: keys, D*; null, asked", "as D*, 3 SE above the null", _copier_keys),
    Row("copier: cliques flagged, true, spurious", "each image that came out so often, all true; 0", _copier_cliques),
    Row("copier: extracted at once, by cycles; null", f"more by cycles, .95 of {N} or more; 0", _copier_cyclic),
    Row("copier: bits_memorized", "ln q_copier - ln q_population of its images, 3 SE", _copier_bits),
    Row("copier: mean Mbar, nats", "ln q with the image - ln q without (K28), 3 SE", _copier_counterfactual),
    Row("copier: kid", "as U drawn by copies against H, within 2 kid_se", _copier_kid),
    Row("copier: coverage", "as n_extracted new images +- .09 (3 SE)", _copier_coverage),
)
