"""From a configuration to a network, with its parameter and FLOP counts: the one place that knows the families."""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from scaling.fields import ModelConfig
from scaling.models.dit import Block as TransformerBlock
from scaling.models.dit import DiT
from scaling.models.mlp import MLP
from scaling.models.unet import UNet

Network = UNet | MLP | DiT
COUNTED = (nn.Conv2d, nn.Linear, Attention, TransformerBlock)


def build(config: ModelConfig, *, image_size: int, channels: int, n_labels: int, seed: int) -> Network:
    """The network (x [B C H W], noise [B], labels [B] or None) -> [B C H W], initialised from the seed, on the CPU."""
    width = config.width
    assert width is not None  # a resolved configuration has one
    # Layers draw from torch's global generator: it is forked, so that nobody else's numbers change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.family == "unet":
            shape = (config.channel_mult, config.blocks, config.attention, config.skips)
            return UNet(width, *shape, image_size, channels, n_labels)
        if config.family == "mlp":
            return MLP(width, config.blocks, image_size, channels, n_labels)
        return DiT(width, config.blocks, image_size, channels, n_labels)


def count_params(network: nn.Module) -> int:
    """Trainable weights."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def count_params_no_time(network: Network) -> int:
    """Trainable weights without those of the time embedding (which carries no information at a fixed sigma)."""
    return count_params(network) - sum(weight.numel() for weight in network.time_weights())


@torch.no_grad()
def forward_flops(network: nn.Module, *, image_size: int, channels: int) -> int:
    """FLOPs of one image's forward pass, 2 per multiply-add: convolutions, linear layers and attention products.

    Counted by running one image and looking at every layer's shapes. Normalisation and activation are left out, as is
    usual (measures.md 4).
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * layer.weight[0].numel() * output.numel()
        elif isinstance(layer, nn.Linear):
            total += 2 * layer.in_features * output.numel()
        elif isinstance(layer, Attention):  # T x T scores, and as many products with the values
            total += 4 * output[0, 0].numel() ** 2 * layer.inner_dim
        else:
            total += 4 * output.shape[1] ** 2 * output.shape[2]

    counted = [layer for layer in network.modules() if isinstance(layer, COUNTED)]
    hooks = [layer.register_forward_hook(add) for layer in counted]
    weight = next(network.parameters())
    x = torch.zeros(1, channels, image_size, image_size, device=weight.device)
    labels = torch.zeros(1, dtype=torch.long, device=weight.device)
    try:
        network(x, torch.zeros(1, device=weight.device), labels)
    finally:
        for hook in hooks:
            hook.remove()
    return total
