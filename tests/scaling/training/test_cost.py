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
from scaling.training.cost import DEFAULT, instrument_costs, words
from scaling.training.measure import measure


class Counting(Denoiser):
    """A real denoiser that counts the images it is asked for."""

    images = 0

    def forward(self, x, sigma, labels=None):
        Counting.images += len(x)
        return super().forward(x, sigma, labels)


def counted(measures: list[str]) -> tuple[int, dict]:
    config = build(
        {
            "data": {"n_unique": 24, "holdout": 120, "keys": True},
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
    Counting.images = 0
    measure(denoiser, bench, config.evaluate)
    return Counting.images, instrument_costs(config.evaluate, 24, 120, keys=True)


@pytest.mark.parametrize("measures", [["loss", "ideal"], ["neighbors"], ["prompts"], ["keys"], ["density", "loss"]])
def test_counts_are_exact_where_the_path_is_known(measures):
    asked, costs = counted(measures)
    assert asked == sum(one.images for one in costs.values())


@pytest.mark.parametrize("measures", [["basin"], ["cyclic"]])
def test_counts_of_chains_are_near(measures):
    """They start where basin_sigma lies on the sampler's path: about half way down."""
    asked, costs = counted(measures)
    assert asked == pytest.approx(sum(one.images for one in costs.values()), rel=0.35)


def test_an_instrument_that_is_not_asked_for_costs_nothing():
    assert counted(["leverage"])[1].keys() == {"leverage"}
    assert counted(DEFAULT)[1].keys() == {"loss, membership, ideal", "samples", "basin"}


def test_words_count_leverage_once_and_every_other_evaluation():
    line = words({"samples": 2.0, "leverage": 6.0}, 7)
    assert line == "measuring will take about 20 s in 7 evaluations: samples 70%, leverage 30%"
    assert np.isclose(2 * 7 + 6, 20)


def test_limits_known_without_torch_are_those_of_the_instruments():
    assert (cost.LIMIT, cost.BASIN_DRAWS) == (losses.LIMIT, basin.DRAWS)
