"""Membership inference: can the loss tell a training image from a held-out one? Area under the curve, true positives.

Chance is 1/2 with the standard error that DeLong gives. The band of noise levels is fixed before looking: the best of
several bands, picked afterwards, is above chance on nothing (measures.md 2.5).
"""

from typing import NamedTuple

import torch
from torch import Tensor

BAND = (0.17, 1.24)  # of sigma: steps 50 to 300 of 1,000 of a linear DDPM schedule
ONE_IN = 100  # the false positive rate is 1 %


class Membership(NamedTuple):
    """How well losses tell training from held-out images."""

    auc: float
    auc_se: float  # NaN where a side has one image; 0, and no interval, where no pair is out of order
    tpr: float | None  # share of the training images above the level that 1 % of held-out ones pass; None below 99


def membership_scores(losses: Tensor, sigmas: Tensor) -> Tensor:
    """s = minus the mean loss over the levels inside BAND: losses [N J], sigmas [J] -> [N]; higher = more a member.

    Raises ValueError where no level lies inside.
    """
    inside = (sigmas >= BAND[0]) & (sigmas <= BAND[1])
    if not inside.any():
        raise ValueError(
            f"no noise level of {float(sigmas.min()):g} to {float(sigmas.max()):g} lies within {BAND[0]} to {BAND[1]}: "
            f"raise evaluate.draws, or train where membership is measured (train.sigma)"
        )
    return -losses[:, inside].mean(dim=1)


def membership(seen: Tensor, held: Tensor, *, weight: Tensor | None = None, paired: bool = False) -> Membership:
    """AUC = P(s(u) > s(h)) + P(equal)/2 with DeLong's standard error (DeLong et al. 1988), and TPR at 1 % FPR.

    seen [N], held [M] are scores; weight [N] as `losses.measured_images` gives it, for images that stand for others;
    paired: image i of both sides shares its noise, and the covariance of their shares is taken off (N = M, no weight).
    Raises ValueError on an empty side, on NaN, on weights that are not one a training image and positive, and on
    `paired` sides that do not pair.
    """
    if not len(seen) or not len(held):
        raise ValueError(f"{len(seen)} training and {len(held)} held-out scores: membership needs one of each")
    if bad := int((~torch.cat([seen, held]).isfinite()).sum()):
        raise ValueError(f"{bad} of {len(seen) + len(held)} scores are not finite: leave membership empty")
    if paired and (len(seen) != len(held) or weight is not None):
        raise ValueError(f"{len(seen)} and {len(held)} scores cannot be paired: as many on both sides, without weights")
    if weight is not None and (len(weight) != len(seen) or not (weight > 0).all()):
        raise ValueError(f"{len(weight)} weights for {len(seen)} training scores: give a positive one for each image")
    seen, held = seen.double(), held.double()
    weight = torch.ones_like(seen) if weight is None else weight.to(seen)
    of_seen = _shares_below(seen, held, torch.ones_like(held))  # V_i: held-out images it beats
    of_held = 1 - _shares_below(held, seen, weight)  # V'_j: training images that beat it
    auc = float((weight * of_seen).sum() / weight.sum())
    return Membership(auc, _se(of_seen - auc, of_held - auc, weight, paired), _tpr(seen, held, weight))


def _shares_below(scores: Tensor, others: Tensor, weight: Tensor) -> Tensor:
    """Share of the others below each score, ties counted half: scores [N], others, weight [M] -> [N]; by sorting."""
    ordered, order = others.sort()
    total = torch.cat([weight.new_zeros(1), weight[order].cumsum(0)])
    below, upto = torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)
    return (total[below] + total[upto]) / (2 * total[-1])  # divided last: the share of all is exactly 1


def _se(of_seen: Tensor, of_held: Tensor, weight: Tensor, paired: bool) -> float:
    n, m = len(of_seen), len(of_held)
    if min(n, m) < 2:
        return float("nan")
    error_seen = weight / weight.sum() * of_seen * (n / (n - 1)) ** 0.5
    error_held = of_held / m * (m / (m - 1)) ** 0.5
    if paired:  # the two errors of a pair add before they are squared: variances plus twice the covariance
        return float(torch.linalg.vector_norm(error_seen + error_held))
    return float(torch.hypot(torch.linalg.vector_norm(error_seen), torch.linalg.vector_norm(error_held)))


def _tpr(seen: Tensor, held: Tensor, weight: Tensor) -> float | None:
    rank = (len(held) + 1) // ONE_IN  # k of measures.md 2.5
    if rank < 1:
        return None
    return float((weight * (seen > held.topk(rank).values[-1])).sum() / weight.sum())
