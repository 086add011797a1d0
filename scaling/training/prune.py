"""Magnitude pruning: the smallest weights of a network set to 0."""

from fractions import Fraction
from math import floor

import torch
from torch import nn


@torch.no_grad()
def prune(network: nn.Module, share: Fraction) -> None:
    """Zero the floor(share x number) smallest |w| over all convolution and linear weights together, in place.

    Biases, norms and embeddings stay. Equal magnitudes: the earlier weight goes first, so the number is exact.
    """
    layers = [layer.weight for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    flat = torch.cat([weight.flatten() for weight in layers])
    smallest = flat.abs().argsort(stable=True)[: floor(share * len(flat))]
    flat[smallest] = 0
    for weight, part in zip(layers, flat.split([weight.numel() for weight in layers]), strict=True):
        weight.copy_(part.view_as(weight))
