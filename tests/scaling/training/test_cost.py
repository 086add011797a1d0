"""The forecast of measuring: its counts are what the instruments really ask of the network."""

import numpy as np
import pytest
import torch

from scaling.config import build
from scaling.data.sources import load_images
from scaling.data.training_set import assemble
from scaling.diffusion.denoiser import Denoiser
from scaling.memorization import basin, losses
from scaling.models.ladder import build as network
from scaling.training import cost
from scaling.training.bench import Bench
from scaling.training.cost import DEFAULT, Cost, Images, image_pairs, instrument_costs, words
from scaling.training.measure import measure


class Counting(Denoiser):
    """A real denoiser that counts how often, and for how many images, it is asked."""

    calls = images = 0

    def forward(self, x, sigma, labels=None):
        Counting.calls += 1
        Counting.images += len(x)
        return super().forward(x, sigma, labels)


def counted(measures: list[str], *, n_unique: int = 24, holdout: int = 120, folded: bool = False) -> tuple[Cost, dict]:
    config = build(
        {
            "data": {
                "n_unique": n_unique, "holdout": holdout, "keys": True, "fold": {"index": 1 if folded else None},
            },
            "model": {"width": 2},
            "evaluate": {
                "measures": measures, "samples": 32, "rounds": 2, "cycles": 2, "prompts": 8, "basin_images": 8,
                "density_levels": 8, "contexts": ["1/2", "patch"], "basin_sigma": 0.888,
            },
        }
    )  # fmt: skip
    images = load_images("digits", 8, None)
    data = assemble(config, images)
    bench = Bench.of(config, data, images, torch.device("cpu"))
    made = network(config.model, image_size=8, channels=1, n_labels=0, seed=0)
    denoiser = Counting(made, mean=data.mean, sigma_data=data.std).eval()
    Counting.calls = Counting.images = 0
    measure(denoiser, bench, config.evaluate)
    left_out = n_unique - data.n_unique
    costs = instrument_costs(config.evaluate, data.n_unique, holdout, keys=True, n_left_out=left_out)
    return Cost(Counting.calls, Counting.images), costs


EXACT = [["loss", "ideal"], ["ideal"], ["membership"], ["neighbors"], ["prompts"], ["keys"], ["density", "loss"]]


@pytest.mark.slow
@pytest.mark.parametrize("measures", EXACT)
@pytest.mark.parametrize("folded", [False, True])
def test_counts_are_exact_where_the_path_is_known(measures, folded):
    """What a fold left out has its losses and densities measured too."""
    asked, costs = counted(measures, folded=folded)
    assert asked == tuple(map(sum, zip(*costs.values(), strict=True)))


def test_counts_are_exact_in_several_batches_and_with_few_held_out_images():
    asked, costs = counted(["loss", "ideal"], n_unique=1100, holdout=30)
    assert asked == tuple(map(sum, zip(*costs.values(), strict=True)))


@pytest.mark.parametrize("measures", [["basin"], ["cyclic"]])
def test_counts_of_chains_are_near(measures):
    """They start where basin_sigma lies on the sampler's path: about half way down."""
    asked, costs = counted(measures)
    assert asked.images == pytest.approx(sum(one.images for one in costs.values()), rel=0.35)


def test_an_instrument_that_is_not_asked_for_costs_nothing():
    assert counted(["leverage"])[1].keys() == {"leverage"}
    assert counted(DEFAULT)[1].keys() == {"loss, membership, ideal", "samples", "basin"}


def test_pairs_of_images_are_those_of_the_ideal_denoiser_and_the_searches():
    """By hand: 16 draws of 24 + 24 images against 24; 32 samples against 24 + 24; 17 x 8 x 4 ideal chains once."""
    images = Images(24, 0, 120)
    asked = build({"evaluate": {"measures": ["ideal"]}}).evaluate
    assert image_pairs(asked, images, keys=False) == (16 * 48 * 24, 0)
    asked = build({"evaluate": {"measures": ["neighbors"], "samples": 32}}).evaluate
    assert image_pairs(asked, images, keys=False) == (32 * 48, 0)
    asked = build({"evaluate": {"measures": ["basin"], "basin_images": 8}}).evaluate
    assert image_pairs(asked, images, keys=False) == (2 * 4 * 8 * 24, 17 * 4 * 8 * 24)


def test_words_count_leverage_once_and_every_other_evaluation():
    line = words({"samples": 2.0, "leverage": 6.0}, 7)
    assert line == "measuring will take about 20 s in 7 evaluations: samples 70%, leverage 30%"
    assert np.isclose(2 * 7 + 6, 20)


def test_limits_known_without_torch_are_those_of_the_instruments():
    assert (cost.LIMIT, cost.BASIN_DRAWS) == (losses.LIMIT, basin.DRAWS)
