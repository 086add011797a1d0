"""Gradients of single images, projected at random to few features: the rows that leverage is computed from."""

from math import ceil
from typing import Literal, NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.func import functional_call

from scaling.data.noise import integers
from scaling.data.streams import CONSTANT
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.memorization.losses import evaluation_noise

FEATURES = 512
BLOCK = 2**12  # keys under one index


class Sketch(NamedTuple):
    """A random projection of p weights to q features, K weights or fewer in each."""

    order: Tensor  # int64 [K q]: the weights, and zeros up to K q, shuffled; column j is summed to feature j
    sign: Tensor  # int8 [p], 1 or -1


def projected_gradients(
    denoiser: Denoiser,
    images: Tensor,
    labels: Tensor | None,
    positions: Tensor,
    sigmas: Tensor,
    *,
    features: int = FEATURES,
    layer: Literal["all", "last"] = "all",
    images_a_batch: int = 64,
) -> Tensor:
    """Gradient of each image's weighted loss, mean over the evaluation draws: images [N C H W], positions int64 [N],
    sigmas [J] -> [N q] float64, q = min(features, weights).

    The loss and its noise are those of `losses.image_losses`. `layer` "last" is the layer with weights that runs last.
    More weights than `features` are projected by `sketch`; fewer are returned as they are, in the order of the
    parameters. The denoiser is left as it is, requires_grad and gradients included, and inference mode is left inside.
    """
    # A backward pass an image. On one core (U-Net of width 16, J 16) that is 10 ms an image of 8x8 and 52 ms of 32x32;
    # vmap of grad takes 5 and 166 ms, and the gradients of a whole chunk of images in memory.
    with torch.inference_mode(False), torch.enable_grad():
        at = sigmas.to(images)
        # Copies, here and of the images below: a tensor made in inference mode cannot be saved for a backward pass.
        weights = {name: weight.detach().clone() for name, weight in denoiser.named_parameters()}
        chosen = _last_layer(denoiser, images, labels, at) if layer == "last" else list(weights)
        wanted = [weights[name].requires_grad_() for name in chosen]
        n_weights = sum(weight.numel() for weight in wanted)
        projection = sketch(n_weights, features, device=images.device) if n_weights > features else None
        gradients = images.new_empty(len(images), min(features, n_weights), dtype=torch.float64)

        for rows in torch.arange(len(images), device=images.device).split(images_a_batch):
            batch, where = images[rows], positions.to(images.device)[rows]  # indexed, not sliced
            draws = (evaluation_noise(where, level, batch.shape[1:]).to(batch) for level in range(len(at)))
            noise = torch.stack(list(draws), dim=1)
            for row, clean, eps in zip(rows, batch, noise, strict=True):
                noisy = clean + rearrange(at, "j -> j 1 1 1") * eps
                given = None if labels is None else labels[row.expand(len(at))]
                denoised = functional_call(denoiser, weights, (noisy, at, given))
                loss = weighted_loss(denoised, clean.expand_as(noisy), at, denoiser.sigma_data).mean()
                gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, wanted)])
                gradients[row] = gradient if projection is None else project(gradient, projection)
    return gradients


def sketch(n_weights: int, features: int, *, device: torch.device, seed: int = CONSTANT) -> Sketch:
    """A count sketch (Charikar, Chen & Farach-Colton 2002; Weinberger et al. 2009) of p weights to q features.

    Each weight is hashed to one feature with a random sign, so that inner products are unbiased. The hash is balanced,
    a random order dealt out in turn: two weights meet a little more rarely, and the sums come out the same on any run
    of a GPU, where adding into hashed places would not. A dense projection of a million weights would take 2 GB.
    """
    padded = ceil(n_weights / features) * features
    blocks = torch.arange(ceil(padded / BLOCK), device=device).split(256)
    keys = torch.cat([integers(seed, "projection", block, BLOCK).flatten() for block in blocks])[:padded]
    sign = (1 - 2 * (keys[:n_weights] & 1)).to(torch.int8)  # the last of 62 bits: it has no say in the order
    return Sketch(rearrange(keys.argsort(stable=True), "(k q) -> k q", q=features), sign)


def project(vector: Tensor, by: Sketch) -> Tensor:
    """vector [p] -> [q] float64: (S u).(S v) is u.v in the mean over sketches S."""
    padded = nn.functional.pad(vector * by.sign, (0, by.order.numel() - len(vector)))
    return reduce(padded[by.order].double(), "k q -> q", "sum")


def _last_layer(denoiser: Denoiser, images: Tensor, labels: Tensor | None, sigmas: Tensor) -> list[str]:
    """Names of the weights of the layer that runs last, found by running it: a label embedding is registered later."""
    layers = {
        name: layer for name, layer in denoiser.named_modules() if not [*layer.children()] and [*layer.parameters()]
    }
    ran: list[str] = []
    hooks = [layer.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            denoiser(images[:1], sigmas[:1], None if labels is None else labels[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return [f"{ran[-1]}.{name}" for name, _ in layers[ran[-1]].named_parameters()]
