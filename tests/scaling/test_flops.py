import pytest

from scaling.fields import ModelConfig
from scaling.flops import forward_flops
from scaling.models import ladder

MODELS = [
    *({"width": width} for width in (1, 2, 3, 16, 24)),
    {"width": 8, "blocks": 2},
    {"width": 4, "channel_mult": [1, 2, 4]},
    {"width": 8, "channel_mult": [1, 2, 4], "attention": True, "blocks": 2},
    {"family": "mlp", "width": 7, "blocks": 3},
    {"family": "dit", "width": 12, "blocks": 2},
]


@pytest.mark.parametrize("fields", MODELS, ids=str)
@pytest.mark.parametrize(("image_size", "channels"), [(8, 1), (16, 3)])
def test_closed_form_equals_the_count_on_the_network(fields, image_size, channels):
    """Oracle: every layer of the real network, its shapes seen while one image runs through it."""
    model = ModelConfig(**fields)
    network = ladder.build(model, image_size=image_size, channels=channels, n_labels=0, seed=0)
    counted = ladder.forward_flops(network, image_size=image_size, channels=channels)
    assert forward_flops(model, image_size=image_size, channels=channels) == counted


def test_one_convolution_by_hand():
    """K58: a 3x3 convolution 1 -> 16 on 8x8 costs 18,432; it is what one more colour channel adds at either end."""
    model = ModelConfig(width=16)
    both_ends = forward_flops(model, image_size=8, channels=2) - forward_flops(model, image_size=8, channels=1)
    assert both_ends == 2 * 18_432
