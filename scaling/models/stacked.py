"""K networks of one shape as one function of their stacked weights, of any family."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import functional_call, vmap

from scaling.models.mlp import MLP
from scaling.models.stacked_unet import StackedUNet
from scaling.models.unet import UNet

Stacked = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor | None], Tensor]


def stacked(network: nn.Module) -> Stacked:
    """(weights by the network's names, each [K ...]; x [B K C H W]; noise [B K]; labels [B K] or None) -> [B K C H W].

    The network gives the shape; its own weights are not looked at. With attention K is 1: torch.func has no batched
    attention on the CPU, and goes through the networks one after the other.
    """
    if isinstance(network, UNet) and not network.attends:
        return StackedUNet(network.model, network.alive)
    return _Modules(network)


class _Modules:
    """The network's own modules; several perceptrons mapped over their weights."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, weights: Mapping[str, Tensor], x: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        if x.shape[1] == 1:
            own = {name: weight[0] for name, weight in weights.items()}
            return self._one(own, x[:, 0], noise[:, 0], None if labels is None else labels[:, 0])[:, None]
        if not isinstance(self.network, MLP):
            raise ValueError("networks with attention cannot be trained together; give each a process of its own")
        over = (0, 1, 1, None if labels is None else 1)
        return vmap(self._one, in_dims=over, out_dims=1)(dict(weights), x, noise, labels)

    def _one(self, weights: Mapping[str, Tensor], x: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        return functional_call(self.network, dict(weights), (x, noise, labels))
