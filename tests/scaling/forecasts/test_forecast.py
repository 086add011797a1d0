from itertools import product

import numpy as np
import pytest

from scaling.config import build, put
from scaling.flops import forward_flops
from scaling.forecasts.forecast import forecast, makespan
from scaling.forecasts.network_shape import layers, network_shape
from scaling.forecasts.run_work import TERMS, run_work
from scaling.sizes import count_params


def configured(**keys):
    tree = {}
    for key, value in keys.items():
        tree = put(tree, key.replace("__", "."), value)
    return build(tree)


def test_numbers_of_a_cell():
    """Ladder of design.md: width 16 has 159,697 weights; a spectrum of 4 levels on 128 images has 32 x 15 copies."""
    keys = {"data__n_unique": 128, "data__duplication__design": "spectrum", "data__duplication__levels": 4}
    made = forecast(configured(**keys, train__images=1000, model__width=16)).work
    assert (made.params, made.n_unique, made.n_train, made.copies) == (159_697, 128, 480, (1, 2, 4, 8))
    assert made.images == 1024  # whole batches of 64
    assert made.train_flops == 3 * forward_flops(configured().model, image_size=8, channels=1) * 1024
    half = forecast(configured(**keys, data__fold__index=0, train__epochs=1)).work
    assert (half.n_unique, half.n_train, half.images) == (64, 240, 256)


NETWORKS = [
    ({"width": 8}, 8, 1),
    ({"width": 6, "blocks": 2, "channel_mult": [1, 2, 4]}, 16, 3),
    ({"width": 8, "attention": True}, 8, 1),
    ({"family": "mlp", "width": 32, "blocks": 3}, 8, 1),
    ({"family": "dit", "width": 16, "blocks": 2}, 8, 3),
]


@pytest.mark.parametrize(("model", "size", "channels"), NETWORKS)
def test_layers_add_up_to_the_closed_forms(model, size, channels):
    """Oracles: the counts of sizes.py and flops.py, which their own tests hold equal to the real networks'.

    Norms have two weights a channel, the dit a table of places; attention multiplies beside its layers.
    """
    model = configured(**{f"model__{key}": value for key, value in model.items()}, data__image_size=size).model
    found = list(layers(model, size, channels))
    weights = sum(layer.inputs * layer.outputs + layer.outputs for layer in found)
    rest = count_params(model, model.width, size, channels) - weights
    assert rest == {"unet": rest, "mlp": 2 * 32 * 3, "dit": 16 * 16}[model.family] and rest % 2 == 0
    products = sum(2 * layer.inputs * layer.outputs * layer.tokens for layer in found)
    beside = forward_flops(model, image_size=size, channels=channels) - products
    # T^2 scores and as many products with the values: 4 blocks of 16 channels and 16 tokens, 2 of 16 and 16
    assert beside == {"unet": 4 * 16**2 * 16 * 4 * model.attention, "mlp": 0, "dit": 4 * 16**2 * 16 * 2}[model.family]


def test_tensors_are_those_of_the_network():
    """Oracle: the real network's parameters."""
    from scaling.models.ladder import build as network

    for model, size, channels in NETWORKS:
        model = configured(**{f"model__{key}": value for key, value in model.items()}, data__image_size=size).model
        for labels in (0, 10):
            real = network(model, image_size=size, channels=channels, n_labels=labels, seed=0)
            assert network_shape(model, size, channels, labels).tensors == len(list(real.parameters()))


def test_work_lies_between_the_evaluations():
    """64 steps, measured at 0, 16 and 64: the first measures the untrained network, the last alone has leverage."""
    config = configured(
        train__images=4096, evaluate__at=[1024], evaluate__measures=["loss", "basin", "leverage"], model__width=4
    )
    work, at = run_work(config), list(TERMS).index
    found = work.stretches()
    assert work.steps == (0, 16, 64)
    assert found[:, at("step_weight")].tolist() == [0, 16 * work.params, 48 * work.params]
    assert found[:, at("evaluation")].tolist() == [1, 1, 1]
    pairs, passes = found[:, at("pair")], found[:, at("pass_convolution")]
    assert pairs[0] > pairs[1] == pairs[2] and passes[0] == passes[1] < passes[2]
    assert (found.sum(axis=0) == work.total()).all()
    measured = work.total(trains=False)
    assert measured[at("step_convolution")] == 0 and measured[at("pass_convolution")] == passes.sum()


def test_few_channels_cost_what_a_core_takes_at_once():
    """By hand, 8x8 at width 2: the first convolution costs 2 x 9 x 8 x 16 x 64 FLOPs as at width 16; at width 16
    all but the first and the last are exact, and linear layers stay what they are."""
    narrow, wide = (next(iter(layers(configured(model__width=width).model, 8, 1))) for width in (2, 16))
    assert narrow.convolution == wide.convolution == 2 * 9 * 8 * 16 * 64 and narrow.flops == 2 * 9 * 2 * 64
    inner = [layer for layer in layers(configured(model__width=16).model, 8, 1) if layer.window][1:-1]
    assert all(layer.convolution == layer.flops for layer in inner)
    assert network_shape(configured(model__family="mlp", model__width=32).model, 8, 1).convolution == 0


def test_what_a_fold_left_out_is_measured_too():
    whole, half = run_work(configured()), run_work(configured(data__fold__index=0, train__images=204_800))
    at = list(TERMS).index("pass_convolution")
    assert half.n_unique == half.n_left_out == whole.n_unique // 2

    only = {"evaluate__measures": ["loss"]}
    whole, half = run_work(configured(**only)), run_work(configured(**only, data__fold__index=0))
    assert half.evaluations[0, at] == whole.evaluations[0, at]


def test_makespan_of_equal_cells_is_rounds():
    assert makespan([], [2.0] * 7, 3) == 6.0
    assert makespan([], [], 3) == 0.0
    assert makespan([5.0], [1.0, 1.0], 2) == 5.0
    assert makespan([5.0, 4.0], [1.0], 1) == 5.0


def test_longest_first_is_within_four_thirds_of_the_best():
    """Graham 1969: longest processing time first is at most 4/3 - 1/(3m) of the optimum, here by brute force."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        seconds = rng.uniform(1, 10, 6)
        best = min(max(seconds[np.array(split) == k].sum() for k in range(2)) for split in product(range(2), repeat=6))
        assert best - 1e-9 <= makespan([], list(seconds), 2) <= best * (4 / 3 - 1 / 6) + 1e-9
