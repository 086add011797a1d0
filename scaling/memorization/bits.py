"""What a model memorized of its training images, in bits: log-density gained over a reference, or over held-out images.

Both are n (mean over training images - mean over held-out images) of a score in nats, over ln 2 (measures.md 2.11).
"""

from collections.abc import Mapping
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.memorization.density import error_integral
from scaling.memorization.losses import Estimate, gap_and_se


class Bits(NamedTuple):
    """Bits memorized, of all images together."""

    value: float
    se: float  # over images; 0 where the model is its own reference at every level
    reference: list[str]  # the best at each level over all held-out images


def bits_memorized(
    model: Tensor,
    references: Mapping[str, Tensor],
    held_model: Tensor,
    held_references: Mapping[str, Tensor],
    sigmas: Tensor,
    *,
    n_unique: int,
    weight: Tensor | None = None,
) -> Bits:
    """Sum over images of max(0, L_model - L_ref) / ln 2, Morris et al. 2025 (arXiv 2505.24832), less its bias.

    Squared errors from `level_errors`: model and each reference [N L R] of training images, held_* [M L R] of held-out
    ones, sigmas [L]; weight [N] from `measured_images`. L_ref takes, at each level, the reference of the smallest mean
    error over HELD-OUT images, so the choice never looks at a training image; each half of them chooses for the other
    half and for half of the training images. Clipping at 0 adds .4 sd of the noise an image: the same clipped mean over
    held-out images is what memory must exceed, and is taken off n_unique times (more draws make it smaller: images far
    above 0 have no such bias, and lose by it). Raises ValueError on fewer than 2
    held-out images and on references of other images or levels than the model, or named on one side only.
    """
    names = list(references)
    if not names or set(names) != set(held_references):
        raise ValueError(
            f"references {names} of training and {list(held_references)} of held-out images: bits_memorized needs one "
            f"or more, each measured on both"
        )
    for name in names:
        for one, same in ((references[name], model), (held_references[name], held_model)):
            if one.shape[:2] != same.shape[:2]:
                raise ValueError(
                    f"reference {name}: errors of {tuple(one.shape[:2])} images x levels, the model has "
                    f"{tuple(same.shape[:2])}: measure both on the same images and levels"
                )
    if len(held_model) < 2:
        raise ValueError(f"{len(held_model)} held-out image(s): one half chooses for the other, so 2 are needed")
    gains = _gain_over_best(model, references, held_references, sigmas)
    null = _gain_over_best(held_model, held_references, held_references, sigmas)
    names, best = list(held_references), _best(held_references, slice(None))
    excess = _excess_bits(gains.clamp(min=0), null.clamp(min=0), n_unique, weight)
    return Bits(*excess, [names[k] for k in best.tolist()])


def bits_optimism(seen: Tensor, held: Tensor, n_unique: int, weight: Tensor | None = None) -> Estimate:
    """n_unique (mean L of training images - mean L of held-out images) / ln 2, without a reference; may be negative.

    seen [N] (of this weight) and held [M]: values of `log_density`. It counts the model's collapse on held-out images
    as memory, and a regular fit without any copying costs 1 nat a parameter: read it beside effective_parameters/ln 2.
    """
    return _excess_bits(seen, held, n_unique, weight)


def _gain_over_best(
    model: Tensor, references: Mapping[str, Tensor], held: Mapping[str, Tensor], sigmas: Tensor
) -> Tensor:
    """L_model - L_ref [N] in nats; only the integrals differ.

    An even row takes the reference that is best on the odd held-out rows, an odd row the one best on the even ones:
    chosen and scored on the same held-out images it would look better there than on training images.
    """
    choice = torch.stack([_best(held, slice(half, None, 2)) for half in (1, 0)])  # [2 L], by the parity of i
    rows = torch.arange(len(model), device=model.device) % 2
    errors = torch.stack([references[name].double().mean(dim=2) for name in held])
    reference = errors.gather(0, choice[rows].unsqueeze(0)).squeeze(0)
    return error_integral((reference - model.double().mean(dim=2)).unsqueeze(2), sigmas)


def _best(held: Mapping[str, Tensor], rows: slice) -> Tensor:
    """Which reference has the smallest mean error over these held-out images: [L]."""
    errors = torch.stack([errors[rows].double().mean(dim=(0, 2)) for errors in held.values()])
    return errors.nan_to_num(nan=torch.inf).argmin(dim=0)  # one that diverged at a level is never the best there


def _excess_bits(seen: Tensor, held: Tensor, n: int, weight: Tensor | None) -> Estimate:
    """n (mean seen - mean held) / ln 2 and its standard error over images, less what pairs share by their noise."""
    gap = gap_and_se(seen, held, weight)
    return Estimate(-n * gap.value / log(2), n * gap.se / log(2))
