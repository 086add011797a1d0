"""Prompted extraction: shown a part of a training image, does the model fill in the rest of that very image?"""

from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from scaling.data.noise import uniforms
from scaling.data.streams import CONSTANT
from scaling.diffusion.sampler import Denoises, karras_sigmas
from scaling.memorization.criteria import MEMORIZED, gap_ratio
from scaling.memorization.filling import fill, noise_keys


class PromptedRecovery(NamedTuple):
    """What a model made of N prompts."""

    recovered: Tensor  # [N] bool
    completions: Tensor  # [N C H W] in [-1, 1]; the known pixels are those of the image


@torch.no_grad()
def prompted_recovery(
    denoiser: Denoises,
    images: Tensor,
    positions: Tensor,
    searched: Tensor,
    target: Tensor,
    *,
    context: str,
    rounds: int,
    steps: int,
    family: Tensor | None = None,
    labels: Tensor | None = None,
    attempt: int = 0,
    batch_size: int = 256,
) -> PromptedRecovery:
    """Which images [N C S S] come back from their known pixels (Carlini et al. 2022, arXiv 2202.07646, for text).

    Recovered: over the unknown pixels alone the completion's distance to the image's own family is below 1/3 of that
    to any other, among `searched` [M ...] of families `family` int [M] (as in `criteria.match`); image i is family
    target[i], int64 [N]. Noise is keyed by (constant, positions int64 [N], attempt): the same in every run. The null
    takes held-out images for both; the ceiling is the same call with the ideal denoiser. A completion with NaN is not
    recovered. Raises ValueError on fewer than 2 families and as `known_pixels` and `fill` do.
    """
    positions = positions.to(images.device)
    known = known_pixels(context, positions, images.shape[-1])
    completions = fill(
        denoiser, images, known, karras_sigmas(steps), rounds=rounds, keys=noise_keys(positions, attempt),
        labels=labels, batch_size=batch_size,
    )  # fmt: skip
    return PromptedRecovery(_recovered(completions, ~known, searched, target, family), completions)


def known_pixels(context: str, positions: Tensor, image_size: int) -> Tensor:
    """The pixels shown, bool [N 1 S S], of images at positions int64 [N].

    A share such as "1/2": the first rows. "border": the outermost ring. "patch": a square of half the image's side, at
    a place that is a function of (constant, position). Raises ValueError where that is no row, or every pixel or none.
    """
    if context == "border":
        known = torch.ones(image_size, image_size, dtype=torch.bool, device=positions.device)
        known[1:-1, 1:-1] = False
    elif context == "patch":
        known = _patches(positions, image_size)
    else:
        known = torch.zeros(image_size, image_size, dtype=torch.bool, device=positions.device)
        known[: _rows(context, image_size)] = True
    if known.all() or not known.any():
        shown = "all" if known.all() else "none"
        raise ValueError(
            f"evaluate.contexts={context}: it shows {shown} of {image_size}x{image_size} pixels; use a larger "
            f"data.image_size or another context"
        )
    return known.expand(len(positions), 1, image_size, image_size)


def _rows(context: str, image_size: int) -> int:
    """The whole number of rows that a share of them is, or an error."""
    try:
        rows = Fraction(context) * image_size
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"evaluate.contexts={context}: unknown; use a share of the rows such as 1/2, border or patch"
        ) from None
    if not 0 < rows < image_size:
        raise ValueError(
            f"evaluate.contexts={context}: a share of the rows lies between 0 and 1; use 1/2, for instance"
        )
    if rows.denominator != 1:
        raise ValueError(
            f"evaluate.contexts={context} of data.image_size={image_size} is {float(rows):g} rows; only whole rows can "
            f"be shown: use {floor(rows)}/{image_size} or {ceil(rows)}/{image_size}"
        )
    return int(rows)


def _patches(positions: Tensor, image_size: int) -> Tensor:
    """Squares of half the side, every place equally likely: bool [N 1 S S]."""
    side = image_size // 2
    corner = (uniforms(CONSTANT, "patch", positions, 2) * (image_size - side + 1)).long()  # [N 2]
    distance = torch.arange(image_size, device=positions.device) - rearrange(corner, "n yx -> n yx 1")
    inside = (distance >= 0) & (distance < side)
    return rearrange(inside[:, 0], "n h -> n 1 h 1") & rearrange(inside[:, 1], "n w -> n 1 1 w")


def _recovered(completions: Tensor, unknown: Tensor, searched: Tensor, target: Tensor, family: Tensor | None) -> Tensor:
    """bool [N]: the gap ratio over the unknown pixels bool [N 1 S S] is below 1/3, with the own family the nearest."""
    searched, target = searched.flatten(1), target.to(completions.device)
    finite = completions.isfinite().flatten(1).all(dim=1)
    back = torch.zeros_like(finite)
    # One search a mask, over a copy of its pixels: of every context but "patch" the masks are all equal.
    masks, which = unknown.flatten(1).unique(dim=0, return_inverse=True)
    for number, mask in enumerate(masks):
        rows = (finite & (which == number)).nonzero().squeeze(1)
        pixels = repeat(mask, "s -> (c s)", c=completions.shape[1])
        found = gap_ratio(completions[rows].flatten(1)[:, pixels], searched[:, pixels], family)
        back[rows] = (found.ratio < MEMORIZED) & (found.image == target[rows])
    return back
