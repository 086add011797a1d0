from math import sqrt

import numpy as np
import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.memorization.criteria import gap_ratio
from scaling.memorization.ideal_distance import ideal_distance
from scaling.memorization.independent import denoiser_distance, n_same_image, sample_cosines
from scaling.memorization.losses import evaluation_noise

SIGMAS = (-1.2 + 1.2 * torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)).exp()
ONES = torch.ones(32, dtype=torch.int64)


def measured(a, b, linear, images, sigmas=SIGMAS, **options):
    positions = torch.arange(len(images))
    return denoiser_distance(a, b, linear, images, positions, sigmas, sigma_data=0.752, **options)


@pytest.fixture(scope="module")
def copiers(digits):
    """The copiers of digits 0 to 31 and 32 to 63, their images and the linear denoiser of all 64."""
    sets = digits[:32], digits[32:64]
    return *(IdealDenoiser(images, ONES) for images in sets), LinearDenoiser(digits[:64], torch.ones(64)), *sets


def test_one_denoiser_twice_is_0_without_error(copiers):
    a, _, linear, images, _ = copiers
    for one in (a, linear):  # the linear one as well, where the distance to linear is 0 too
        found = measured(one, one, linear, images)
        assert found.over() == (0, 0) and found.over(SIGMAS < 0.2) == (0, 0)


@pytest.mark.parametrize(
    ("of_a", "of_b", "expected"),
    [
        ((3, 0), (3, 0), 0), ((3, 0), (1.5, 1.5 * sqrt(3)), 1), ((3, 0), (0, 3), sqrt(2)), ((3, 0), (0, 0), sqrt(2)),
        ((3, 0), (-3, 0), 2), ((3, 0), (1, 0), sqrt(4 / 5)),
    ],
)  # fmt: skip
def test_what_two_denoisers_have_beyond_linear_gives_the_distance(of_a, of_b, expected):
    """D = linear + v: |v_a - v_b|^2 over (|v_a|^2 + |v_b|^2)/2, at every level and over all; 60 degrees apart is 1."""
    images, linear = torch.randn(5, 1, 1, 2, generator=torch.Generator().manual_seed(0)), lambda x, s, labels: x / 2

    def beyond(v):
        return lambda x, s, labels: x / 2 + torch.tensor(v, dtype=torch.float32)

    found = measured(beyond(of_a), beyond(of_b), linear, images)
    assert found.over().value == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found.over(SIGMAS[2] == SIGMAS).value == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found.over().se < 1e-5 * max(expected, 1)  # the same at every image


def test_the_square_is_the_harmonic_mean_of_both_ideal_distances(copiers):
    """Of ideal_distance^2 = A/W and = A/V follows 2/(W/A + V/A) = A/((W + V)/2): an independent instrument."""
    a, b, linear, images, _ = copiers
    positions = torch.arange(32)
    of_a, of_b = (
        ideal_distance(*pair, linear, images, ONES, positions, SIGMAS, sigma_data=0.752) for pair in ((b, a), (a, b))
    )
    found = measured(a, b, linear, images, batch_size=7)
    assert found.over().value == pytest.approx(sqrt(2 / (of_a.value**-2 + of_b.value**-2)), rel=1e-5)
    for level in range(7):
        harmonic = sqrt(2 / (of_a.levels[level] ** -2 + of_b.levels[level] ** -2))
        assert found.over(SIGMAS[level] == SIGMAS).value == pytest.approx(harmonic, rel=1e-5)
    assert measured(b, a, linear, images).over().value == pytest.approx(found.over().value, rel=1e-6)


def test_term_by_term(digits):
    """numpy, image by image, with softmax copiers and lambda = (sigma^2 + .752^2)/(.752 sigma)^2 of its own."""
    images, linear = digits[:5], LinearDenoiser(digits[:10], torch.ones(10))
    sets, sigmas = (digits[:5], digits[5:10]), torch.tensor([0.3, 1.5], dtype=torch.float64)

    def copy(unique, y, sigma):
        u = unique.flatten(1).double().numpy()
        logits = -((y - u) ** 2).sum(axis=1) / (2 * sigma**2)
        weight = np.exp(logits - logits.max())
        return weight @ u / weight.sum()

    a, w = np.zeros((2, 5, 2))
    for j, sigma in enumerate(sigmas.tolist()):
        for i in range(5):
            noisy = images[i : i + 1] + sigma * evaluation_noise(torch.tensor([i]), j, images[0].shape)
            y, straight = noisy.flatten().double().numpy(), linear(noisy, torch.tensor([sigma])).flatten().numpy()
            of_a, of_b = (copy(unique, y, sigma) for unique in sets)
            weight = (sigma**2 + 0.752**2) / (0.752 * sigma) ** 2
            a[i, j] = weight * ((of_a - of_b) ** 2).sum()
            w[i, j] = weight * (((of_a - straight) ** 2).sum() + ((of_b - straight) ** 2).sum()) / 2
    found = measured(*(IdealDenoiser(unique, torch.ones(5)) for unique in sets), linear, images, sigmas)
    assert found.over().value == pytest.approx(sqrt(a.sum() / w.sum()), rel=1e-4)
    assert found.over(sigmas > 1).value == pytest.approx(sqrt(a[:, 1].sum() / w[:, 1].sum()), rel=1e-4)


def test_copiers_of_disjoint_sets_are_far_apart_at_small_sigma(copiers):
    """sigma -> 0 at images of A: D_A = u = the linear one, D_B another image: sqrt 2."""
    a, b, linear, of_a, of_b = copiers
    small = torch.tensor([0.02], dtype=torch.float64)
    for images in (of_a, of_b):
        assert measured(a, b, linear, images, small).over().value == pytest.approx(sqrt(2), abs=0.01)


def test_generalizers_converge_as_their_images_grow_and_copiers_do_not(generalizer):
    """The mean mu of N(+-mu, I)/2 estimated on disjoint sets of n images: squared errors e/n, independent.

    A = 2 e/n and W = w + e/n, w that of the truth: e/n = w r^2/(2 - r^2) for a distance r; 16 times the images, a 16th
    (SE 12 %: 256 squares a side). The linear denoiser is that of the population: one of 128 images would be noisy.
    """
    rng, mu = torch.Generator().manual_seed(0), torch.full((16,), 0.5)
    held, linear = draw(mu, 256, rng)[0], LinearDenoiser(draw(mu, 50_000, rng)[0], torch.ones(50_000))
    error, copied = {64: [], 1024: []}, []
    for n, found in error.items():
        for _ in range(8):
            (set_a, mean_a), (set_b, mean_b) = draw(mu, n, rng), draw(mu, n, rng)
            squared = measured(generalizer(mean_a), generalizer(mean_b), linear, held).over().value ** 2
            found.append(squared / (2 - squared))
            pair = (IdealDenoiser(images, torch.ones(n)) for images in (set_a, set_b))
            copied.append(measured(*pair, linear, held).over().value)
    assert 16 * 0.7 < np.mean(error[64]) / np.mean(error[1024]) < 16 * 1.35
    assert min(copied) > 1


def draw(mu, n, rng):
    sign = torch.randint(2, (n, 1), generator=rng) * 2 - 1
    images = sign * mu + torch.randn(n, 16, generator=rng)
    return images.reshape(-1, 1, 4, 4), (sign * images).mean(dim=0)


def test_standard_error_is_the_spread_over_images():
    """400 sets of 40 images whose distances vary by image, alike at both levels: draws of an image are no images."""
    rng, found = torch.Generator().manual_seed(0), []
    for _ in range(400):
        size = 0.5 + torch.rand(40, 1, 1, 1, generator=rng)
        images = torch.arange(40.0).reshape(-1, 1, 1, 1) * 100 + torch.zeros(40, 1, 2, 2)

        def of(sign, size=size):
            one = torch.tensor([[1.0, sign], [1.0, sign]])
            return lambda x, s, labels: one * size[(x.mean(dim=(1, 2, 3)) / 100).round().long()]

        linear = lambda x, s, labels: 0.3 + 0 * x  # noqa: E731
        found.append(measured(of(1.0), of(0.0), linear, images, torch.tensor([0.4, 0.5])).over())
    spread = torch.tensor([one.value for one in found]).std()
    assert np.mean([one.se for one in found]) == pytest.approx(float(spread), rel=0.12)


def test_each_image_is_asked_for_under_its_label(digits):
    labels = torch.arange(6)
    asked = []

    def labelled(x, sigma, given):
        asked.append(given.tolist())
        return x + rows_of(given, x)

    def rows_of(given, x):
        return given.to(x).reshape(-1, 1, 1, 1)

    found = measured(
        labelled, lambda x, s, given: x, lambda x, s, given: 0 * x, digits[:6], labels=labels, batch_size=4
    )
    assert asked[:2] == [[0, 1, 2, 3], [4, 5]] and not found.apart[0].any() and found.apart[5].all()


def test_too_few_images_and_no_level_are_refused(copiers):
    a, b, linear, images, _ = copiers
    with pytest.raises(ValueError, match="at least 2"):
        measured(a, b, linear, images[:1])
    with pytest.raises(ValueError, match="0 noise levels"):
        measured(a, b, linear, images[:2]).over(SIGMAS > 100)


def test_cosine_of_one_run_twice_is_1_and_its_null_0(digits):
    found = sample_cosines(digits[:400], digits[:400])
    assert found.value.value == pytest.approx(1, abs=1e-12) and found.value.se < 1e-12
    assert abs(found.null.value) < 3 * found.null.se


def test_cosine_is_the_share_of_what_is_common_whatever_the_means():
    """x = s + e, |e|^2 = 4 |s|^2, in 2,000 dimensions: cosine 1/5; another mean of one run changes nothing."""
    rng = torch.Generator().manual_seed(0)
    s, e_a, e_b = (torch.randn(200, 1, 40, 50, generator=rng) for _ in range(3))
    x_a, x_b = s + 2 * e_a, s + 2 * e_b
    found = sample_cosines(x_a, x_b)
    assert found.value.value == pytest.approx(0.2, abs=3 * found.value.se) and found.value.se < 0.003
    assert abs(found.null.value) < 3 * found.null.se
    moved = sample_cosines(x_a + 5, x_b - torch.linspace(0, 9, 50))
    assert moved.value.value == pytest.approx(found.value.value, abs=1e-4)
    opposite = sample_cosines(x_a, -x_a)
    assert opposite.value.value == pytest.approx(-1, abs=1e-12)


def test_the_interval_of_the_cosine_covers_its_truth():
    """400 studies of 50 correlated pairs of N(0, I_2): truth from 200,000 pairs; the SE of .95 is .011."""
    rng = torch.Generator().manual_seed(0)

    def pairs(n):
        s, e = torch.randn(2, n, 1, 1, 2, generator=rng)
        return s, 0.8 * s + 0.6 * e

    truth, hits, nulls = sample_cosines(*pairs(200_000)).value.value, 0, 0
    for _ in range(400):
        found = sample_cosines(*pairs(50))
        hits += abs(found.value.value - truth) < 1.96 * found.value.se
        nulls += abs(found.null.value) < 1.96 * found.null.se
    assert 0.9 <= hits / 400 <= 0.98 and 0.9 <= nulls / 400 <= 0.98


def test_samples_without_direction_pairs_or_numbers_are_refused(digits):
    with pytest.raises(ValueError, match="3 of 3 samples of B equal its mean sample"):
        sample_cosines(digits[:3], digits[:1].expand(3, 1, 8, 8))
    with pytest.raises(ValueError, match="samples of A are not finite"):
        sample_cosines(digits[:3].log(), digits[:3])
    for b in (digits[:2], digits[:4]):
        with pytest.raises(ValueError, match="pairs are needed"):
            sample_cosines(digits[: len(b) % 4 + 1], b)


def test_copiers_of_disjoint_sets_never_share_an_image_and_one_copier_always_does(copiers):
    """measures.md 2.13, as it says; a copier draws nothing but its own images. An image in both sets can be shared."""
    a, b, _, of_a, of_b = copiers
    noise = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x_a, x_b = (sample(one, noise, karras_sigmas(18)) for one in (a, b))
    match_a, match_b = gap_ratio(x_a.flatten(1), of_a.flatten(1)), gap_ratio(x_b.flatten(1), of_b.flatten(1))
    assert (match_a.ratio < 1 / 3).all() and (match_b.ratio < 1 / 3).all()
    first, second = torch.arange(32), torch.arange(32, 64)
    assert n_same_image(match_a, match_b, first, second) == 0
    assert n_same_image(match_a, match_a, first, first) == 64
    assert sample_cosines(x_a, x_a).value.value == pytest.approx(1)
    other = sample_cosines(x_a, x_b)
    assert other.value.value < 0.6  # from one z both go to the image of theirs that is near
    half = first.clone()
    half[16:] += 100
    shared = int((match_a.image < 16).sum())
    assert 0 < shared < 64 and n_same_image(match_a, match_a, first, half) == shared
    new = match_a._replace(ratio=torch.ones(64))
    assert n_same_image(match_a, new, first, first) == 0 == n_same_image(new, match_a, first, first)
