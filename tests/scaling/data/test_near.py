"""Near copies against shifts written out by hand and against the law of the noise."""

import numpy as np
import pytest
from scipy import stats

from scaling.config import ConfigError
from scaling.data.near import n_shared, near_copies, shift_offsets

IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) * 3


def test_the_first_shifts_are_in_the_order_of_their_definition():
    assert shift_offsets(8, 9) == [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1), (-2, -2)]


def test_a_shift_moves_the_content_and_repeats_the_edges():
    for (dy, dx), member in zip(shift_offsets(8, 48), near_copies(IMAGE, 49, "shift")[1:], strict=True):
        padded = np.pad(IMAGE[0], 8, mode="edge")  # the moved image is a window of the image with long edges
        np.testing.assert_array_equal(member[0], padded[8 - dy : 16 - dy, 8 - dx : 16 - dx])


@pytest.mark.parametrize("near", ["exact", "shift", "noise"])
def test_copy_0_is_the_image_and_fewer_copies_are_the_first_of_more(near):
    image = np.stack([IMAGE[0], 255 - IMAGE[0], IMAGE[0].T])
    many = near_copies(image, 20, near)
    assert many.shape == (20, 3, 8, 8) and many.dtype == np.uint8
    np.testing.assert_array_equal(many[0], image)
    for copies in (1, 2, 7):
        np.testing.assert_array_equal(near_copies(image, copies, near), many[:copies])


def test_noise_of_size_zero_is_an_exact_copy_to_the_bit():
    np.testing.assert_array_equal(near_copies(IMAGE, 5, "noise", noise=0), near_copies(IMAGE, 5, "exact"))


def test_noise_has_the_declared_size_and_is_rounded():
    """Grey 128 is far from both ends: sd .03 x 127.5 grey levels, plus the 1/12 of rounding; 4 SE."""
    image = np.full((1, 32, 32), 128, np.uint8)
    moved = near_copies(image, 101, "noise")[1:].astype(float) - 128
    n, variance = moved.size, (0.03 * 127.5) ** 2 + 1 / 12
    assert abs(moved.mean()) < 4 * np.sqrt(variance / n)
    assert abs(moved.var() / variance - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(moved.ravel())) < 0.03 and abs(stats.kurtosis(moved.ravel())) < 0.06


def test_noise_at_the_ends_of_the_scale_is_clipped_not_wrapped():
    for grey in (0, 255):
        assert np.abs(near_copies(np.full((1, 8, 8), grey, np.uint8), 50, "noise").astype(int) - grey).max() < 30


def test_noise_belongs_to_the_image():
    """Ids are 64 bits: read as floating point, images that agree in 53 of them would share their noise."""
    other = IMAGE.copy()
    other[0, 0, 0] ^= 1
    one, two = (near_copies(image, 3, "noise")[1:].astype(int) - image for image in (IMAGE, other))
    assert (one != two).mean() > 0.5
    np.testing.assert_array_equal(near_copies(IMAGE, 3, "noise")[1:] - IMAGE.astype(int), one)


def test_a_shift_beyond_the_image_is_refused():
    assert len({member.tobytes() for member in near_copies(IMAGE[:, :3, :3], 25, "shift")}) == 25
    with pytest.raises(ConfigError, match=r"26 copies need shifts of 3 pixels in images of 3; use at most 25 copies"):
        near_copies(IMAGE[:, :3, :3], 26, "shift")


def test_shared_members_are_counted_between_families_not_within():
    a, b, c = (np.full((1, 2, 2), grey, np.uint8) for grey in (1, 2, 3))
    family = np.array([0, 0, 1, 2])
    assert n_shared(np.stack([a, a, b, c]), family, np.empty((0, 1, 2, 2), np.uint8)) == 0
    assert n_shared(np.stack([a, b, b, c]), family, np.empty((0, 1, 2, 2), np.uint8)) == 1
    assert n_shared(np.stack([a, a, b, c]), family, np.stack([c])) == 1
