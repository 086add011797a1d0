import pytest
import torch
from scipy.stats import norm

from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser
from scaling.fields import SigmaConfig
from scaling.memorization.losses import (
    evaluation_noise,
    evaluation_sigmas,
    gap_and_se,
    image_losses,
    mean_and_se,
    measured_images,
)


def unweighted(losses: torch.Tensor, sigmas: torch.Tensor, sigma_data: float) -> torch.Tensor:
    return losses * (sigmas * sigma_data) ** 2 / (sigmas**2 + sigma_data**2)


def test_levels_are_mid_quantiles_of_the_training_law():
    sigmas = evaluation_sigmas(SigmaConfig(p_mean=-1.0, p_std=0.5), 4)
    expected = norm(-1.0, 0.5).ppf([1 / 8, 3 / 8, 5 / 8, 7 / 8])
    assert sigmas.log().tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    fixed = evaluation_sigmas(SigmaConfig(law="fixed", value=0.3), 3)
    assert fixed.tolist() == [0.3, 0.3, 0.3]
    with pytest.raises(ValueError, match=r"evaluate\.draws=2000"):
        evaluation_sigmas(SigmaConfig(), 2000)


def test_gaussian_loss_in_closed_form():
    """K3: data N(0, s^2 I), D = s^2 x/(s^2 + sigma^2): unweighted s^2 sigma^2/(s^2 + sigma^2), weighted 1."""
    s, sigmas = 0.7, torch.tensor([0.05, 0.5, 3.0], dtype=torch.float64)
    clean = s * torch.randn(3000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = image_losses(
        lambda x, sigma, labels: x * (s**2 / (s**2 + sigma**2)).reshape(-1, 1, 1, 1),
        clean,
        None,
        torch.arange(3000),
        sigmas,
        sigma_data=s,
        batch_size=700,
    )
    assert found.shape == (3000, 3)
    assert found.mean(dim=0).tolist() == pytest.approx([1, 1, 1], rel=0.01)
    expected = s**2 * sigmas**2 / (s**2 + sigmas**2)
    torch.testing.assert_close(unweighted(found.mean(dim=0), sigmas, s), expected, rtol=0.01, atol=0)


def test_noise_belongs_to_position_and_level_alone():
    """The same image measured in another batch, beside others, has the same loss; position and level change it."""
    images, sigmas = torch.zeros(5, 1, 4, 4), torch.tensor([0.5, 0.5], dtype=torch.float64)
    positions = torch.tensor([7, 0, 3, 7, 2000])

    def denoiser(x, sigma, labels):
        return x  # the loss is that of the noise itself

    whole = image_losses(denoiser, images, None, positions, sigmas, sigma_data=1.0)
    parts = image_losses(denoiser, images, None, positions, sigmas, sigma_data=1.0, batch_size=2)
    assert torch.equal(whole, parts)
    assert torch.equal(whole[0], whole[3]) and len(whole.unique()) == 8
    assert torch.equal(evaluation_noise(positions[3:4], 1, images[0].shape)[0], noise_of(7, 1))


def noise_of(position: int, level: int) -> torch.Tensor:
    return evaluation_noise(torch.arange(10), level, torch.Size((1, 4, 4)))[position]


def test_labels_reach_the_denoiser_with_their_image():
    """A denoiser that answers its label: the loss is lambda (label - image)^2."""
    images = torch.tensor([0.0, 0.5, -1.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    labels, sigmas = torch.tensor([2, 0, 1]), torch.ones(2, dtype=torch.float64)
    found = image_losses(
        lambda x, sigma, labels: labels.reshape(-1, 1, 1, 1).expand_as(x).float(),
        images,
        labels,
        torch.arange(3),
        sigmas,
        sigma_data=1.0,
        batch_size=2,
    )
    assert found.tolist() == [[8, 8], [0.5, 0.5], [8, 8]]


def test_loss_of_the_copier_is_0_on_its_images_and_the_nearest_distance_elsewhere(digits):
    """K11: D* of 64 digits at sigma .1, unweighted: seen 0, hold-out .131 = mean squared nearest distance (.1308)."""
    unique, others = digits[:64], digits[64:128]
    ideal, sigmas = IdealDenoiser(unique, torch.tensor([1, 2, 4, 8]).repeat(16)), torch.tensor([0.1]).double()
    seen, held = (
        unweighted(
            image_losses(ideal, images, None, torch.arange(len(images)), sigmas, sigma_data=0.752), sigmas, 0.752
        )
        for images in (unique, others)
    )
    assert float(seen.mean()) < 1e-6
    nearest = torch.cdist(others.flatten(1), unique.flatten(1)).amin(dim=1).square() / 64
    assert float(nearest.mean()) == pytest.approx(0.1308, abs=0.0001)
    assert float(held.mean()) == pytest.approx(0.131, rel=0.02)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.0])
def test_excess_loss_is_the_distance_to_the_ideal_denoiser(digits, sigma):
    """K10: E|D - u|^2 = E|D* - u|^2 + E|D - D*|^2 by copies, D the linear denoiser; within 3 SE of the simulation."""
    unique, copies = digits[:64], torch.tensor([1, 2, 4, 8]).repeat(16)
    ideal, linear = IdealDenoiser(unique, copies), LinearDenoiser(unique, copies)
    weights, gaps = copies / copies.sum(), []
    for draw in range(150):
        noise = evaluation_noise(torch.arange(64) + 64 * draw, 0, unique.shape[1:])
        noisy, level = (unique + sigma * noise).double(), torch.full((64,), sigma, dtype=torch.float64)
        best, other = ideal(noisy, level), linear(noisy, level)
        parts = (other - unique) ** 2 - (best - unique) ** 2 - (other - best) ** 2
        gaps.append((weights * parts.flatten(1).sum(dim=1)).sum())
    gaps = torch.stack(gaps)
    assert abs(float(gaps.mean())) <= 3 * float(gaps.std()) / 150**0.5


def test_standard_error_is_over_images_not_draws():
    """K2: 100 images of sd 1 with 8 draws of sd 2: true .1225, over images .1220, over all draws .0789."""
    rng = torch.Generator().manual_seed(0)
    losses = torch.randn(1000, 100, 1, generator=rng) + 2 * torch.randn(1000, 100, 8, generator=rng)
    found = [mean_and_se(study.mean(dim=1)) for study in losses]
    true = torch.tensor([f.value for f in found]).std()
    assert float(true) == pytest.approx(0.1225, rel=0.07)  # 3 SE of 1,000 studies
    assert sum(f.se for f in found) / 1000 == pytest.approx(0.1220, rel=0.02)


def test_gap_error_takes_off_the_shared_noise():
    """Pairs with shared noise of sd 3 and own noise of sd 1: SE sqrt(2/n) paired, sqrt(20/n) where sizes differ."""
    rng = torch.Generator().manual_seed(0)
    shared = 3 * torch.randn(2000, generator=rng)
    seen, held = (shared + torch.randn(2000, generator=rng) for _ in range(2))
    assert gap_and_se(seen, held + 1).se == pytest.approx((2 / 2000) ** 0.5, rel=0.05)
    unpaired = gap_and_se(seen, held[:-1] + 1)
    assert unpaired.se == pytest.approx((20 / 2000) ** 0.5, rel=0.05)
    assert unpaired.value == pytest.approx(float((held[:-1] + 1).mean() - seen.mean()), abs=1e-6)


def test_mean_and_error_by_hand():
    """0, 1, 5: mean 2, variance (4 + 1 + 9)/2 = 7, SE sqrt(7/3)."""
    assert mean_and_se(torch.tensor([0.0, 1.0, 5.0])) == pytest.approx((2, (7 / 3) ** 0.5))


def test_one_image_has_no_standard_error_and_none_no_mean():
    value, se = mean_and_se(torch.tensor([0.5]))
    assert value == 0.5 and se != se
    with pytest.raises(ValueError, match="0 images"):
        mean_and_se(torch.empty(0))


def test_subset_keeps_every_stratum_and_its_weighted_mean_stands_for_all():
    copies = torch.ones(10_000, dtype=torch.int64)
    copies[::10], copies[5::500] = 4, 64  # strata of 8,980, 1,000 and 20
    subset = measured_images(copies)
    kept = copies[subset.index]
    assert 2048 - 3 <= len(kept) <= 2048 + 64
    assert [int((kept == r).sum()) for r in (4, 64)] == [204, 20]
    assert torch.equal(subset.index, measured_images(copies).index) and (subset.index.diff() > 0).all()
    found = mean_and_se(kept.double(), subset.weight)
    assert found.value == pytest.approx(float(copies.double().mean()), rel=1e-12)
    assert measured_images(copies[:2048]).index.tolist() == list(range(2048))


def test_weighted_standard_error_covers_the_truth():
    """Two strata of different mean measured with different weights: the mean's spread over studies is the SE given."""
    rng = torch.Generator().manual_seed(0)
    copies = torch.cat([torch.ones(900), torch.full((100,), 2)]).long()
    subset = measured_images(copies, limit=200, least=64)
    centre = torch.where(copies[subset.index] == 2, 0.3, 0.0)
    found = [mean_and_se(centre + torch.randn(len(centre), generator=rng), subset.weight) for _ in range(1000)]
    spread = torch.tensor([f.value for f in found]).std()
    assert sum(f.se for f in found) / 1000 == pytest.approx(float(spread), rel=0.08)
