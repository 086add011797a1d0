import builtins

import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images

from scaling.quality import features as module
from scaling.quality.distances import frechet, kid
from scaling.quality.features import features


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def test_pixels_are_the_image_itself():
    images = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(features("pixels", images), torch.arange(24.0).reshape(2, 12))


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(ValueError, match=r"evaluate\.features=inception: .*pixels, efficientnet_lite0"):
        features("inception", torch.zeros(1, 1, 2, 2))


def test_efficientnet_recognizes_photographs():
    """The features, through the network's own last layer, say what scikit-learn's two photographs show: a stupa (832)
    or a palace (698) in China, and a flower; the loaded weights and the range of the pixels are thereby right."""
    made = []
    for photo in load_sample_images().images:
        image = torch.tensor(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
        side = min(image.shape[2:])
        left = (image.shape[3] - side) // 2
        made.append(features("efficientnet_lite0", image[:, :, :, left : left + side]))
    assert torch.cat(made).shape == (2, 1280)
    classes = module._efficientnet(torch.device("cpu"))._fc(torch.cat(made)).topk(5).indices
    assert {832, 698} & set(classes[0].tolist())
    assert 985 in classes[1].tolist()  # daisy


def test_grey_is_the_same_grey_in_three_channels_and_batches_change_little(digits, monkeypatch):
    """Same bits twice; a batch may change the last places only."""
    some = digits[:7]
    once = features("efficientnet_lite0", some)
    assert once.shape == (7, 1280) and torch.equal(once, features("efficientnet_lite0", some))
    assert torch.equal(once, features("efficientnet_lite0", some.expand(7, 3, 8, 8)))
    monkeypatch.setattr(module, "BATCH", 3)
    torch.testing.assert_close(features("efficientnet_lite0", some), once, rtol=1e-4, atol=1e-5)
    assert not once.requires_grad


@pytest.mark.slow
def test_efficientnet_orders_sets_by_how_real_they_are(digits):
    """128 held-out digits against 128 others, the same with noise, and random pixels: as in the pixels' own space, and
    real against real is 0 within its error."""
    held, real = digits[:128], digits[128:256]
    rng = torch.Generator().manual_seed(0)
    sets = (
        real,
        (real + 0.3 * torch.randn(real.shape, generator=rng)).clamp(-1, 1),
        torch.rand(real.shape, generator=rng) * 2 - 1,
    )
    reference = features("efficientnet_lite0", held)
    of_sets = [features("efficientnet_lite0", images) for images in sets]
    distances = [kid(of_set, reference) for of_set in of_sets]
    assert abs(distances[0].value) < 3 * distances[0].se
    assert 3 * distances[1].se < distances[1].value < distances[2].value / 2
    far = [frechet(of_set, reference) for of_set in (of_sets[0], of_sets[2])]
    assert far[0] < far[1] / 5


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    module._efficientnet.cache_clear()
    features("efficientnet_lite0", torch.zeros(1, 1, 8, 8))
    assert torch.equal(before, torch.get_rng_state())


def test_a_missing_package_names_the_extra(monkeypatch):
    module._efficientnet.cache_clear()
    ordinary = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name.startswith("efficientnet"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return ordinary(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[features\]"'):
        features("efficientnet_lite0", torch.zeros(1, 1, 8, 8))


def test_images_of_two_channels_are_refused():
    with pytest.raises(ValueError, match="2 channels"):
        features("efficientnet_lite0", torch.zeros(1, 2, 8, 8))
