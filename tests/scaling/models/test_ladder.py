"""Counts against the published ladder, the real networks, hand counts and torch's own flop counter."""

from fractions import Fraction

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scaling import sizes
from scaling.config import build as build_config
from scaling.fields import ModelConfig
from scaling.models.ladder import build, count_params, count_params_no_time, forward_flops

LADDER = {
    1: 757,
    2: 2743,
    3: 5959,
    4: 10405,
    6: 22987,
    8: 40489,
    12: 90253,
    16: 159697,
    24: 357625,
    32: 634273,
    48: 1423729,
    64: 2528065,
    96: 5681377,
    128: 10094209,
}
SHAPES = [
    dict(width=2),
    dict(width=6, blocks=2),
    dict(width=8, channel_mult=[1, 2, 4]),
    dict(width=6, attention=True),
    dict(width=2, attention=True, channel_mult=[1, 1, 3]),
    dict(width=12, skips=Fraction(1, 2)),
    dict(family="mlp", width=7, blocks=3),
    dict(family="dit", width=16, blocks=2),
    dict(family="dit", width=6),
]


@pytest.mark.parametrize("width", LADDER)
def test_ladder_has_the_counts_of_the_design(width):
    model = ModelConfig(width=width)
    assert sizes.count_params(model, width, 8) == LADDER[width]
    assert count_params(build(model, image_size=8, channels=1, n_labels=0, seed=0)) == LADDER[width]


def test_three_levels_have_the_counts_of_the_design():
    assert sizes.unet_params(2, [1, 2, 4], 1, False, 1, 0) == 10_179
    assert sizes.unet_params(128, [1, 2, 4], 1, False, 1, 0) == 39_406_977


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("channels", "n_labels"), [(1, 0), (3, 10)])
def test_closed_form_equals_the_network(shape, channels, n_labels):
    model = ModelConfig(**shape)
    network = build(model, image_size=8, channels=channels, n_labels=n_labels, seed=0)
    assert count_params(network) == sizes.count_params(model, model.width, 8, channels, n_labels)
    x, noise, labels = torch.randn(2, channels, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.long)
    assert network(x, noise, labels if n_labels else None).shape == x.shape


def test_mlp_has_the_published_count():
    """K58: W (2d + 13) + d + 6 W^2 = 102,024 at d 8, W 128 (three blocks)."""
    assert sizes.mlp_params(128, 3, 8, 0) == 102_024


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_equal_torchs_counter(shape):
    network = build(ModelConfig(**shape), image_size=8, channels=1, n_labels=0, seed=0).eval()
    # as plain products: the fused attention of the CPU is unknown to torch's counter
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1), None)
    assert forward_flops(network, image_size=8, channels=1) == counter.get_total_flops()


def test_flops_of_one_convolution_by_hand():
    """K58: a 3x3 convolution 1 -> 16 on 8x8 costs 2 * 9 * 1 * 16 * 64 = 18,432 FLOP."""
    from torch import nn

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 16, 3, padding=1)

        def forward(self, x, noise, labels):
            return self.layer(x)

    assert forward_flops(One(), image_size=8, channels=1) == 18_432


def test_params_picks_the_nearest_rung():
    assert build_config({"model": {"params": 50_000}}).model.width == 8
    assert build_config({"model": {"params": 10_094_209}}).model.width == 128
    assert build_config({"model": {"params": 120_000}}).model.width == 12  # 90,253 is nearer in ratio than 159,697


def test_time_weights_are_counted_apart():
    """By hand at width 2: linear 2->8, 8->8, and a projection 8->out into each of 8 residual layers (2,4,4,4 ...)."""
    network = build(ModelConfig(width=2), image_size=8, channels=1, n_labels=0, seed=0)
    projections = sum(9 * out for out in (2, 4, 4, 4, 4, 4, 2, 2))
    assert count_params(network) - count_params_no_time(network) == (2 * 8 + 8) + (8 * 8 + 8) + projections


def test_skips_zero_the_outermost_first():
    """All skips zeroed: the output no longer depends on them; share 1 equals the plain network to the bit."""
    x, noise = torch.randn(2, 1, 8, 8), torch.zeros(2)
    made = {
        share: build(ModelConfig(width=8, skips=share), image_size=8, channels=1, n_labels=0, seed=0)
        for share in (Fraction(0), Fraction(1, 2), Fraction(1))
    }
    assert torch.equal(made[Fraction(1)](x, noise), made[Fraction(1)].model(x, noise).sample)
    assert not torch.allclose(made[Fraction(0)](x, noise), made[Fraction(1)](x, noise))

    seen = []
    for block in made[Fraction(1, 2)].model.up_blocks:
        for resnet in block.resnets:
            resnet.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    made[Fraction(1, 2)](x, noise)
    skip_channels = [16, 8, 8, 8]  # of the skip tensors in the order of use: (16, 8 down), (8, 8)
    zeroed = [bool((s[:, -c:] == 0).all()) for s, c in zip(seen, skip_channels, strict=True)]
    assert zeroed == [False, False, True, True]


def test_same_seed_same_weights_and_nobody_elses_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = build(ModelConfig(width=4), image_size=8, channels=1, n_labels=0, seed=1)
    assert torch.equal(torch.rand(3), expected)
    two = build(ModelConfig(width=4), image_size=8, channels=1, n_labels=0, seed=1)
    other = build(ModelConfig(width=4), image_size=8, channels=1, n_labels=0, seed=2)
    weights = [torch.cat([p.flatten() for p in network.parameters()]) for network in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
