"""Every instrument on a copier, a generalizer and a half copier: the top of its scale, its null, and the half.

The models stand where a trained network would, in `measure` (known_study.py); what must come out is measures.md,
section 5. Leverage asks a network, which none of the three is: there an untrained one is asked what must hold of any.
"""

from collections.abc import Iterator
from math import log

import torch
from torch import Tensor

from scaling.memorization.gradients import projected_gradients
from scaling.memorization.leverage import default_ridge, effective_dof, leverage
from scaling.selfcheck import known_copier, known_generalizer
from scaling.selfcheck.known_study import (
    COPIER,
    GENERALIZER,
    HALF,
    SAMPLES,
    N,
    Studies,
    Study,
    counts,
    emission,
    in_training,
    zero_mean,
)
from scaling.selfcheck.table import Check, Given, Row, answered, shown, within
from scaling.training.session import make_denoiser


def _half_memorized(on: Studies) -> Given:
    found = on.main.evals(HALF, "neighbors")
    share, se = found["n_memorized"] / SAMPLES, 0.5 / SAMPLES**0.5
    null = found["n_null_memorized"]
    return Given(shown((share, null)), abs(share - 0.494) <= 3 * se and null == 0)


def _half_emission(on: Studies) -> Given:
    return emission(on.main, HALF, 0.494)


def _half_membership(on: Studies) -> Given:
    return within(on.main.evals(HALF, "membership")["membership_auc"], 1, 1)


def _half_distance(on: Studies) -> Given:
    levels = [row for row in on.main.found(HALF, "ideal").noise_levels if row["sigma"] < 0.2]
    return within(max(row["ideal_distance"] for row in levels), 0, 0.01)


def _half_basin(on: Studies) -> Given:
    found = counts(on.below.evals(HALF, "basin"), "n_basin_recovered", "n_basin")
    return Given(shown(found), found[0] >= 0.98 * found[1])


def _half_bits(on: Studies) -> Given:
    """L of every image: half the weight is ln 2 nats, or one bit. Noise and its largest part are shared."""
    copier, half = (in_training(on.main, model, "log_density_bound") for model in (COPIER, HALF))
    return Given(float((copier - half).mean()), zero_mean(copier - half - log(2)))


def _half_prompts(on: Studies) -> Given:
    found = [on.main.evals(model, "prompts")["n_prompt_recovered"] for model in (GENERALIZER, HALF, COPIER)]
    return Given(shown(found), found == sorted(set(found)))


def _leverage_adds_up(on: Studies) -> Given:
    """Against the eigenvalues of sum_j r_j phi_j phi_j^T: sum h = sum_k lambda_k / (lambda_k + lam)."""
    phi, copies = _gradients(on.main, "train"), on.main.bench.train.copies_tensor()
    lam = default_ridge(phi, copies)
    values = torch.linalg.eigvalsh((copies * phi.T) @ phi).clamp(min=0)
    found, expected = effective_dof(leverage(phi, copies, lam)), float((values / (values + lam)).sum())
    return Given(f"{found:.6f} ({expected:.6f})", abs(found / expected - 1) <= 1e-9)


def _leverage_of_copies(on: Studies) -> Given:
    phi, copies = _gradients(on.main, "train"), on.main.bench.train.copies_tensor()
    lam, row = default_ridge(phi, copies), torch.arange(N, device=phi.device).repeat_interleave(copies)
    of_rows = leverage(phi[row], torch.ones_like(row), lam)
    together = phi.new_zeros(N).index_add_(0, row, of_rows)
    return within(float((leverage(phi, copies, lam) - together).abs().max()), 0, 1e-9)


def _leverage_untrained(on: Studies) -> Given:
    """U and N held-out images as one set, each once: no image is more its own than another. In standard errors."""
    phi = torch.cat([_gradients(on.main, "train"), _gradients(on.main, "null")])
    ones = torch.ones(len(phi), device=phi.device)
    h = leverage(phi, ones, default_ridge(phi, ones))
    difference, se = h[:N].mean() - h[N:].mean(), (h[:N].var() / N + h[N:].var() / N).sqrt()
    return within(float(difference / se), -3, 3)


def _gradients(study: Study, of: str) -> Tensor:
    group = getattr(study.bench, of)
    denoiser = make_denoiser(study.config, study.data).to(group.images.device)
    return projected_gradients(denoiser, group.images, None, group.positions, study.bench.sigmas)


ROWS = (
    *known_copier.ROWS,
    *known_generalizer.ROWS,
    Row("half copier: n_memorized/B; null", ".494 within 3 SE (40 Heun levels); 0", _half_memorized),
    Row("half copier: E_r at 1 2 4 8 copies", ".494 each, within 3 SE", _half_emission),
    Row("half copier: membership_auc", "1: losses do not halve", _half_membership),
    Row("half copier: ideal_distance, sigma below .2", "0 (at most .01)", _half_distance),
    Row("half copier: basin below sigma_c, of", "near all (.98)", _half_basin),
    Row("half copier: L of the copier less its L, nats", "ln 2 = .693 an image, 3 SE", _half_bits),
    Row("prompts: generalizer, half copier, copier", "in this order", _half_prompts),
    Row("leverage, untrained network: sum of h", "effective degrees of freedom, by eigenvalues", _leverage_adds_up),
    Row("leverage: r copies against r rows", "the same, to 1e-9", _leverage_of_copies),
    Row("leverage, untrained: seen less held-out, in SE", "0 within 3 SE: no relation", _leverage_untrained),
)


def checks(device: torch.device) -> Iterator[Check]:
    """Each check as it is made."""
    yield from answered("instruments", ROWS, Studies(device))
