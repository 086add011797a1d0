import numpy as np
import pytest
import torch

from scaling.data.training_set import plant
from scaling.diffusion.ideal import IdealDenoiser
from scaling.memorization.keys import RECOVERED, key_errors


@pytest.fixture(scope="module")
def planted(digits):
    """64 digits with keys, as `training_set` plants them: images [64 1 8 8] and keys float64 [64]."""
    levels = np.random.default_rng(0).integers(256, size=64).astype(np.uint8)
    pixels = ((digits[:64].numpy() + 1) * 127.5).round().astype(np.uint8)
    images = torch.tensor(plant(pixels, levels) / 127.5 - 1, dtype=torch.float32)
    return images, torch.tensor(levels / 255)


def errors_of_guess(guess, keys):
    """The error of a model that fills in the grey guess [N] in [0, 1], whatever it is shown: D is that grey."""
    n = len(keys)

    def denoiser(x, sigma, labels):
        return (2 * guess[labels] - 1).to(x).reshape(-1, 1, 1, 1).expand_as(x)

    return key_errors(
        denoiser, torch.zeros(n, 1, 4, 4), keys, torch.arange(n), rounds=1, steps=2, labels=torch.arange(n),
        batch_size=n,
    )  # fmt: skip


def test_errors_of_guesses_without_memory():
    """E|U - V| = 1/3, sd sqrt(1/18); P(|U - V| < .1) = .2 - .01; the constant 1/2: E = 1/4, sd 1/sqrt(48), P = .2."""
    n, rng = 20_000, torch.Generator().manual_seed(0)
    keys, guess = torch.rand(2, n, generator=rng, dtype=torch.float64)
    error = errors_of_guess(guess, keys)
    assert error.dtype == torch.float64
    torch.testing.assert_close(error, (guess - keys).abs(), rtol=0, atol=1e-6)
    assert abs(error.mean() - 1 / 3) < 3 * (1 / 18 / n) ** 0.5
    assert abs((error < RECOVERED).double().mean() - 0.19) < 3 * (0.19 * 0.81 / n) ** 0.5
    constant = errors_of_guess(torch.full_like(keys, 0.5), keys)
    assert abs(constant.mean() - 1 / 4) < 3 * (1 / 48 / n) ** 0.5
    assert abs((constant < RECOVERED).double().mean() - 0.2) < 3 * (0.2 * 0.8 / n) ** 0.5


def test_the_copier_knows_every_key(planted):
    """Conditional on the image (unique labels) exactly, from any start; another image's label gives its key."""
    images, keys = planted
    copier = IdealDenoiser(images, torch.ones(64), labels=torch.arange(64))
    how = {"rounds": 1, "steps": 6}
    error = key_errors(copier, images, keys, torch.arange(64), labels=torch.arange(64), **how)
    assert error.max() < 1e-6
    error = key_errors(copier, images, keys, torch.arange(64), labels=torch.arange(64).roll(1), **how)
    torch.testing.assert_close(error, (keys.roll(1) - keys).abs(), rtol=0, atol=1e-6)


def test_the_ideal_denoiser_finds_keys_of_its_images_and_none_of_others(planted):
    """10 rounds: most, and exactly; the rest, as in K22, are another image's. Held-out images: chance (3 SE)."""
    images, keys = planted
    copier, index = IdealDenoiser(images[:32], torch.ones(32)), torch.arange(32)
    how = {"rounds": 10, "steps": 40}

    def errors(part):
        return torch.cat([key_errors(copier, images[part], keys[part], index + 32 * turn, **how) for turn in range(2)])

    seen, held = errors(slice(32)), errors(slice(32, 64))
    assert (seen < RECOVERED).double().mean() > 0.75 and seen.median() < 1e-6
    assert abs(held.mean() - (keys[:32, None] - keys[None, 32:]).abs().mean()) < 3 * held.std() / 32**0.5
    assert (held < RECOVERED).double().mean() < 0.4


def test_the_border_is_asked_for_and_never_shown(planted):
    """The answer is the same with the keys struck out of the images; the inside alone is the prompt."""
    images, keys = planted
    struck = torch.full_like(images, torch.nan)
    struck[..., 1:-1, 1:-1] = images[..., 1:-1, 1:-1]
    copier, index = IdealDenoiser(images, torch.ones(64)), torch.arange(64)
    how = {"rounds": 1, "steps": 8}
    found = key_errors(copier, images, keys, index, **how)
    assert torch.equal(key_errors(copier, struck, keys, index, **how), found)


def test_a_diverging_model_has_no_key(planted):
    images, keys = planted
    error = key_errors(lambda x, s, labels: x * torch.nan, images[:3], keys[:3], torch.arange(3), rounds=1, steps=3)
    assert error.isnan().all()


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_key_that_is_no_grey_is_refused(planted, value):
    images, _ = planted
    with pytest.raises(ValueError, match="1 of 2 keys lie outside"):
        key_errors(lambda x, s, labels: x, images[:2], torch.tensor([0.5, value]), torch.arange(2), rounds=1, steps=3)
