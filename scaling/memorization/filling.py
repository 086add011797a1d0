"""Filling in the unknown pixels of an image with a denoiser that was never trained to: replacement and resampling."""

from itertools import pairwise

import torch
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.sampler import Denoises, heun_step

SLOTS = 1024  # steps, rounds of a step and attempts at an image that have noise of their own
KEYS = 2**63 // SLOTS**2  # noise of (key, step, round) is that of index (SLOTS key + step) SLOTS + round


def noise_keys(positions: Tensor, attempt: int = 0) -> Tensor:
    """The keys [N] by which `fill` draws its noise at attempt < SLOTS for images at positions int64 [N]."""
    if not 0 <= attempt < SLOTS:
        raise ValueError(f"attempt={attempt}: a prompt has noise for attempts 0 to {SLOTS - 1}")
    return positions * SLOTS + attempt


@torch.no_grad()
def fill(
    denoiser: Denoises,
    prompt: Tensor,
    known: Tensor,
    sigmas: Tensor,
    *,
    rounds: int,
    keys: Tensor,
    labels: Tensor | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Completions [N C H W] in [-1, 1] of prompt [N C H W]; its pixels where known bool [N 1 H W] stay as they are.

    RePaint, Lugmayr et al. 2022, Algorithm 1, along the levels sigmas [T + 1]: before every sampler step the known
    pixels become prompt + sigma eps, and each step is made `rounds` times, with noise back up in between; one round is
    plain replacement. This is no exact conditional sampling, even with the ideal denoiser: read rates with its ceiling.
    Noise is a function of (constant, keys int64 [N], step, round). What prompt holds at unknown pixels is never read.
    """
    _check(known, prompt, sigmas, rounds, keys)
    done = []
    for rows in torch.arange(len(prompt), device=prompt.device).split(batch_size):
        given = None if labels is None else labels[rows]
        x = _resample(denoiser, prompt[rows], known[rows], sigmas.tolist(), rounds, keys[rows], given)
        done.append(torch.where(known[rows], prompt[rows], x.clamp(-1, 1)))
    return torch.cat(done)


def _check(known: Tensor, prompt: Tensor, sigmas: Tensor, rounds: int, keys: Tensor) -> None:
    if known.shape != (len(prompt), 1, *prompt.shape[2:]) or known.dtype != torch.bool:
        raise ValueError(
            f"known {known.dtype} {list(known.shape)} for images {list(prompt.shape)}: one mask an image is needed, "
            f"bool {[len(prompt), 1, *prompt.shape[2:]]}"
        )
    if not 1 <= rounds <= SLOTS:
        raise ValueError(f"evaluate.rounds={rounds}: a step has noise for 1 to {SLOTS} rounds")
    if len(sigmas) > SLOTS + 1:
        raise ValueError(
            f"evaluate.sampler_steps={len(sigmas) - 1}: a prompt has noise for {SLOTS} steps; use at most that"
        )
    if bad := int(((keys < 0) | (keys >= KEYS)).sum()):
        raise ValueError(f"{bad} of {len(keys)} keys lie outside [0, {KEYS}): beyond it two prompts would share noise")


def _resample(
    denoiser: Denoises,
    prompt: Tensor,
    known: Tensor,
    levels: list[float],
    rounds: int,
    keys: Tensor,
    labels: Tensor | None,
) -> Tensor:
    """From noise at levels[0] to images [B C H W] at level 0."""

    def noise(step: int, turn: int) -> Tensor:
        index = (keys * SLOTS + step) * SLOTS + turn
        return normals(CONSTANT, "prompt", index, prompt[0].numel()).reshape(prompt.shape).to(prompt)

    x = levels[0] * noise(0, 0)  # of which only the unknown pixels stay
    for step, (now, after) in enumerate(pairwise(levels)):
        for turn in range(rounds):
            eps = noise(step, turn)  # each pixel uses it once: a known one below the prompt, an unknown one to go up
            if turn > 0:
                x = x + (now**2 - after**2) ** 0.5 * eps
            x = torch.where(known, prompt + now * eps, x)
            x = heun_step(denoiser, x, now, after, labels)
    return x
