import pytest
import torch

from scaling.quality.features import features


def test_pixels_are_the_image_itself():
    images = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(features("pixels", images), torch.arange(24.0).reshape(2, 12))


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(ValueError, match=r"evaluate\.features=inception: .*pixels"):
        features("inception", torch.zeros(1, 1, 2, 2))
