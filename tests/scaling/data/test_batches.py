"""Batches against their definition: every row once an epoch, noise by place, frozen draws shared and taken in turn."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from scaling.config import build
from scaling.data.batches import Batches
from scaling.data.sources import ImageSet
from scaling.data.training_set import assemble
from scaling.fields import SigmaConfig


def training_set(copies: int = 3, fraction: str = "1/4", n_unique: int = 8, **data):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 1, 4, 4), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(20) % 5, 5, "0" * 64, 0)
    duplication = {"design": "uniform", "fraction": fraction, "copies": copies}
    tree = {"data": {"image_size": 4, "n_unique": n_unique, "holdout": 4, "duplication": duplication, **data}}
    return assemble(build(tree), images)


def batches(data, *, batch_size=5, seed=3, noise_draws=None, sigma=None, **more):
    return Batches(
        data, seed=seed, batch_size=batch_size, sigma=sigma or SigmaConfig(), noise_draws=noise_draws, **more
    )


def image_keys(clean: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in clean]


def test_every_row_comes_once_an_epoch_in_a_new_order():
    data = training_set()
    n = data.n_train
    source = batches(data, batch_size=n)
    wanted = Counter(image_keys(torch.from_numpy(data.members[data.rows]).float() / 127.5 - 1))
    epochs = [image_keys(source.at(step).clean) for step in range(6)]
    assert all(Counter(epoch) == wanted for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


@pytest.mark.parametrize("noise_draws", [None, 2])
def test_a_batch_is_a_function_of_seed_and_step(noise_draws):
    """In any order, from a fresh object, and whatever the size of the block made at once."""
    data = training_set()
    forward = [batches(data, noise_draws=noise_draws).at(step) for step in (0, 1, 70, 999)]
    source = batches(data, noise_draws=noise_draws)
    source.steps_a_block = 3
    for step, one in zip((999, 70, 1, 0), reversed(forward), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(source.at(step), one, strict=True))
    assert not torch.equal(batches(data, seed=4).at(0).noise, forward[0].noise)


def test_images_follow_each_other_whatever_the_batch_size():
    data = training_set()
    whole = batches(data, batch_size=60).at(0)
    parts = [batches(data, batch_size=20).at(step) for step in range(3)]
    for name in ("clean", "sigma", "noise", "labels"):
        torch.testing.assert_close(
            torch.cat([getattr(part, name) for part in parts]), getattr(whole, name), rtol=0, atol=0
        )


def test_noise_levels_follow_their_law():
    source = batches(training_set(), batch_size=4000)
    z = (source.at(0).sigma.log().double() + 1.2) / 1.2
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    assert (batches(training_set(), sigma=SigmaConfig(law="fixed", value=0.3)).at(0).sigma == 0.3).all()
    assert stats.kstest(source.at(1).noise.flatten()[:20000].double().numpy(), "norm").pvalue > 1e-3


def test_frozen_draws_belong_to_the_image_and_come_equally_often():
    """m = 4 pairs (sigma, epsilon) an image, shared by its copies, each met once in 4 visits."""
    data = training_set(copies=3)
    source = batches(data, batch_size=data.n_train, noise_draws=4)
    seen: dict[bytes, Counter] = {}
    for step in range(8):
        batch = source.at(step)
        for key, sigma, noise in zip(image_keys(batch.clean), batch.sigma, batch.noise, strict=True):
            seen.setdefault(key, Counter())[(float(sigma), noise.numpy().tobytes())] += 1
    assert all(len(pairs) == 4 for pairs in seen.values())
    assert all(len(set(pairs.values())) == 1 for pairs in seen.values())
    everything = [pair for pairs in seen.values() for pair in pairs]
    assert len(set(everything)) == 4 * data.n_unique


def test_frozen_draws_do_not_depend_on_how_many_images_there_are():
    small, large = training_set(n_unique=4), training_set(n_unique=12)
    pairs = []
    for data in (small, large):
        batch = batches(data, batch_size=data.n_train, noise_draws=1).at(0)
        pairs.append(dict(zip(image_keys(batch.clean), batch.noise, strict=True)))
    assert pairs[0].keys() < pairs[1].keys()
    assert all(torch.equal(pairs[1][key], noise) for key, noise in pairs[0].items())


def test_an_image_left_out_by_the_fold_never_comes():
    data = training_set(n_unique=12, fold={"index": 0, "of": 3})
    out = image_keys(torch.from_numpy(data.pool[~data.in_training]).float() / 127.5 - 1)
    source = batches(data, batch_size=data.n_train)
    assert len(out) == 4 and not set(out) & set(image_keys(torch.cat([source.at(k).clean for k in range(3)])))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_gpu_batches_equal_those_of_the_cpu():
    data = training_set()
    for one, two in zip(batches(data).at(7), batches(data, device="cuda").at(7), strict=True):
        torch.testing.assert_close(one, two.cpu(), rtol=1e-6, atol=1e-6)
