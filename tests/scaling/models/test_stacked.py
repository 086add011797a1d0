"""K networks as one function: equal to the K networks of modules, forward and backward, and apart from each other."""

from fractions import Fraction

import pytest
import torch
from diffusers import UNet2DModel
from torch.func import functional_call

from scaling.fields import ModelConfig
from scaling.models.ladder import build
from scaling.models.stacked import stacked
from scaling.models.stacked_unet import StackedUNet

SHAPES = [
    (dict(width=2), 1, 0),
    (dict(width=6, blocks=2), 3, 10),
    (dict(width=4, channel_mult=[1, 2, 4]), 1, 0),
    (dict(width=4, channel_mult=[1, 1, 3], blocks=3, skips=Fraction(1, 2)), 1, 3),
    (dict(width=4, skips=Fraction(0)), 1, 0),
    (dict(family="mlp", width=7, blocks=3), 3, 10),
]


def case(shape: dict, k: int, n_labels: int = 0, channels: int = 1):
    """K networks with weights of their own, and x, noise, labels for each."""
    networks = [
        build(ModelConfig(**shape), image_size=8, channels=channels, n_labels=n_labels, seed=seed) for seed in range(k)
    ]
    draw = torch.Generator().manual_seed(0)
    for network in networks:
        for weight in network.parameters():  # norms begin as ones and biases as zeros: anything would fit them
            weight.data += 0.1 * torch.randn(weight.shape, generator=draw)
    x = torch.randn(5, k, channels, 8, 8, generator=draw)
    noise = torch.randn(5, k, generator=draw)
    labels = torch.randint(n_labels, (5, k), generator=draw) if n_labels else None
    return networks, x, noise, labels


def together(networks: list) -> dict[str, torch.Tensor]:
    names = [name for name, _ in networks[0].named_parameters()]
    return {n: torch.stack([network.get_parameter(n).detach() for network in networks]) for n in names}


def one_by_one(networks: list, x: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    given = [None if labels is None else labels[:, i] for i in range(len(networks))]
    return torch.stack([net(x[:, i], noise[:, i], given[i]) for i, net in enumerate(networks)], dim=1)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("shape", "channels", "n_labels"), SHAPES, ids=str)
def test_output_and_gradients_are_those_of_the_networks_of_modules(shape, channels, n_labels, k):
    """In float64, where only an error is larger than 1e-10; every weight has a gradient of its own."""
    networks, x, noise, labels = case(shape, k, n_labels, channels)
    networks, x, noise = [network.double() for network in networks], x.double(), noise.double()
    weights = {name: weight.requires_grad_() for name, weight in together(networks).items()}
    found, expected = stacked(networks[0])(weights, x, noise, labels), one_by_one(networks, x, noise, labels)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)

    found.square().sum().backward()
    expected.square().sum().backward()
    for name, weight in weights.items():
        own = torch.stack([network.get_parameter(name).grad for network in networks])
        torch.testing.assert_close(weight.grad, own, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("shape", [dict(width=2), dict(family="mlp", width=7)], ids=str)
def test_no_network_sees_another(shape):
    """NaN in one network's weights and input: the others' outputs keep every bit."""
    networks, x, noise, _ = case(shape, 3)
    weights = together(networks)
    before = stacked(networks[0])(weights, x, noise, None)
    for weight in weights.values():
        weight[1] = torch.nan
    x[:, 1] = torch.nan
    after = stacked(networks[0])(weights, x, noise, None)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]]) and after[:, 1].isnan().all()


def test_the_lean_pass_is_diffusers_own_to_float32():
    """Conversion both ways is the identity: the weights are UNet2DModel's, by its names."""
    networks, x, noise, _ = case(dict(width=16), 1)
    assert isinstance(stacked(networks[0]), StackedUNet) and isinstance(networks[0].model, UNet2DModel)
    found = stacked(networks[0])(together(networks), x, noise, None)
    torch.testing.assert_close(found[:, 0], networks[0].model(x[:, 0], noise[:, 0]).sample, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [dict(width=8, attention=True), dict(family="dit", width=16)], ids=str)
def test_attention_goes_through_the_modules_one_network_at_a_time(shape):
    networks, x, noise, _ = case(shape, 2)
    weights = {name: weight[0] for name, weight in together(networks).items()}
    alone = {name: weight[None] for name, weight in weights.items()}
    found = stacked(networks[0])(alone, x[:, :1], noise[:, :1], None)
    assert torch.equal(found[:, 0], functional_call(networks[0], weights, (x[:, 0], noise[:, 0], None)))
    with pytest.raises(ValueError, match="cannot be trained together"):
        stacked(networks[0])(together(networks), x, noise, None)
