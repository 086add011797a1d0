import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser
from scaling.memorization.ideal_distance import ideal_distance
from scaling.memorization.losses import evaluation_noise

SIGMAS = (-1.2 + 1.2 * torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)).exp()


def measured(denoiser, images, copies, sigmas=SIGMAS, *, sigma_data=0.752, first_position=0, batch_size=1024):
    return ideal_distance(
        denoiser,
        IdealDenoiser(images, copies),
        LinearDenoiser(images, copies),
        images,
        copies,
        torch.arange(len(images)) + first_position,
        sigmas,
        sigma_data=sigma_data,
        batch_size=batch_size,
    )


def test_copier_0_linear_1_copier_of_other_images_far(digits):
    """K11b: 32 digits; D* 0, the linear denoiser 1, D* of the next 32 digits 6.5."""
    unique, others, copies = digits[:32], digits[32:64], torch.ones(32, dtype=torch.int64)
    assert measured(IdealDenoiser(unique, copies), unique, copies)[:2] == (0, 0)
    linear = measured(LinearDenoiser(unique, copies), unique, copies)
    assert linear.value == 1 and linear.levels.tolist() == [1] * 7
    other = measured(IdealDenoiser(others, copies), unique, copies)
    assert other.value == pytest.approx(6.5, rel=0.03)
    assert measured(IdealDenoiser(others, copies), unique, copies, batch_size=5).value == pytest.approx(other.value)


def test_value_is_the_root_of_the_ratio_of_sums_by_copies(digits):
    """Term by term: A and W over images, levels and copies, with lambda = (sigma^2 + .752^2)/(.752 sigma)^2."""
    unique, others, copies = digits[:6], digits[6:12], torch.tensor([1, 2, 4, 8, 1, 3])
    ideal, linear = IdealDenoiser(unique, copies), LinearDenoiser(unique, copies)
    model = IdealDenoiser(others, copies)
    sigmas = torch.tensor([0.3, 1.5], dtype=torch.float64)
    a, w = torch.zeros(2, 6, 2)
    for j, sigma in enumerate(sigmas.tolist()):
        for i in range(6):
            noisy = unique[i : i + 1] + sigma * evaluation_noise(torch.tensor([i + 30]), j, unique[0].shape)
            at = torch.tensor([sigma])
            weight = copies[i] * (sigma**2 + 0.752**2) / (0.752 * sigma) ** 2
            a[i, j] = weight * (model(noisy, at) - ideal(noisy, at)).square().sum()
            w[i, j] = weight * (linear(noisy, at) - ideal(noisy, at)).square().sum()
    found = measured(model, unique, copies, sigmas, first_position=30, batch_size=4)
    assert found.value == pytest.approx(float((a.sum() / w.sum()).sqrt()), rel=1e-4)
    torch.testing.assert_close(found.levels.float(), (a.sum(dim=0) / w.sum(dim=0)).sqrt(), rtol=1e-4, atol=0)


def test_standard_error_is_the_spread_over_images():
    """400 sets of 40 images: the model's distance to D* and W vary by image; the SE given is the spread found."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for study in range(400):
        size = 0.5 + torch.rand(40, 1, 1, 1, generator=rng)
        images = torch.arange(40.0).reshape(-1, 1, 1, 1) * 100 + torch.zeros(40, 1, 2, 2)

        def at(x, images=images, size=size):
            return size[(x.mean(dim=(1, 2, 3)) / 100).round().long()]

        found.append(
            ideal_distance(
                lambda x, s, labels, at=at: at(x) + 0 * x,
                lambda x, s, labels: 0 * x,
                lambda x, s, labels: 1 + 0 * x,
                images,
                torch.ones(40),
                torch.arange(40) + 40 * study,
                torch.tensor([0.5], dtype=torch.float64),
                sigma_data=1.0,
            )
        )
    spread = torch.tensor([f.value for f in found]).std()
    assert sum(f.se for f in found) / 400 == pytest.approx(float(spread), rel=0.12)


def test_generalizer_is_as_far_from_both_sets_and_copier_is_not(generalizer):
    """Section 5: exact posterior mean of the population, U and H draws of it: equal in 3 SE; copier of U: 0, far."""
    rng = torch.Generator().manual_seed(0)
    mu = torch.full((16,), 0.5)
    sign = torch.randint(2, (512, 1), generator=rng) * 2 - 1
    seen, held = (sign * mu + torch.randn(512, 16, generator=rng)).reshape(-1, 1, 4, 4).split(256)
    copies = torch.ones(256, dtype=torch.int64)
    value, null = (measured(generalizer(mu), images, copies, sigma_data=1.0) for images in (seen, held))
    assert abs(value.value - null.value) < 3 * (value.se**2 + null.se**2) ** 0.5
    assert value.value > 0.3
    copier = IdealDenoiser(seen, copies)
    assert measured(copier, seen, copies, sigma_data=1.0).value == 0
    assert measured(copier, held, copies, sigma_data=1.0).value > 2


def test_one_image_is_refused(digits):
    with pytest.raises(ValueError, match="at least 2"):
        measured(IdealDenoiser(digits[:1], torch.ones(1)), digits[:1], torch.ones(1))
