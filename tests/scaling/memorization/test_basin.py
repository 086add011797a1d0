import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser, collapse_sigma, covariance_eigenvalues
from scaling.memorization.basin import basin_recovery


def test_the_copier_recovers_its_images_below_the_collapse_level_and_not_far_above(digits):
    """Section 5: 1 well below sigma_c, falling through it (there an image weighs about .6 in its own posterior);
    held-out images judged among themselves: 0, since the copier leaves them."""
    unique, held, ones = digits[:64], digits[64:128], torch.ones(64, dtype=torch.int64)
    copier, index = IdealDenoiser(unique, ones), torch.arange(64)
    sigma_c = collapse_sigma(covariance_eigenvalues(digits), 64)

    def recovered(images, sigma_b):
        back = basin_recovery(copier, images, index, images, index, sigma_b=sigma_b, steps=18)
        assert back.shape == (64, 4) and back.dtype == torch.bool
        return float(back.double().mean())

    assert recovered(unique, sigma_c / 4) == 1
    assert 0.3 < recovered(unique, sigma_c) < 0.9
    assert recovered(unique, 20.0) < 0.1
    assert recovered(held, sigma_c) <= 0.02


def test_the_half_copier_recovers_nearly_all_and_the_generalizer_as_its_null(half_copier, generalizer):
    """Section 5; sigma_b below the collapse level of N(0, I), d 16, n 32 (1.36). Images inside [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    images = (0.4 * torch.randn(64, 1, 4, 4, generator=rng)).clamp(-1, 1)
    seen, held = images.split(32)
    index = torch.arange(32)

    def recovered(denoiser, part):
        return float(basin_recovery(denoiser, part, index, part, index, sigma_b=0.1, steps=18).double().mean())

    assert recovered(half_copier(seen), seen) > 0.9
    population = generalizer(torch.zeros(16))
    # Started at .1 the generalizer hardly moves: it stays near any image, seen or not, equally often.
    assert abs(recovered(population, seen) - recovered(population, held)) < 0.1


def test_a_chain_that_ends_at_another_image_is_not_recovered(digits):
    """The copier of one image draws every chain to it: only that image's own chains come back."""
    unique = digits[:4]
    copier = IdealDenoiser(unique[2:3], torch.ones(1))
    back = basin_recovery(copier, unique, torch.arange(4), unique, torch.arange(4), sigma_b=1.0, steps=6, draws=3)
    assert back.tolist() == [[False] * 3, [False] * 3, [True] * 3, [False] * 3]


def test_families_labels_and_batches_stay_with_their_chain(digits):
    """A conditional copier (unique labels) returns each chain to its image, whatever the batch and near copies."""
    unique = digits[:5]
    members, family = torch.cat([unique + 0.01, unique]), torch.arange(5).repeat(2)
    copier = IdealDenoiser(unique, torch.ones(5), labels=torch.arange(5))
    chosen = torch.tensor([4, 1, 2])

    def back(labels):
        how = {"sigma_b": 20.0, "steps": 8, "family": family, "labels": labels, "batch_size": 5}
        return basin_recovery(copier, unique[chosen], chosen, members, chosen, **how)

    assert back(chosen).all()
    assert not back((chosen + 1) % 5).any()


def test_noise_is_keyed_by_position_and_draw(digits):
    """The same chain alone or beside others ends the same; the network sees other noise at every draw."""
    seen = []

    def spy(x, sigma, labels):
        seen.append(x[:, 0, 0, 0])
        return x

    both = digits[:1].expand(2, 1, 8, 8)
    basin_recovery(spy, both, torch.tensor([5, 9]), digits[:3], torch.zeros(2).long(), sigma_b=1.0, steps=2)
    basin_recovery(spy, both[:1], torch.tensor([9]), digits[:3], torch.zeros(1).long(), sigma_b=1.0, steps=2)
    first_call = seen[0]
    assert len(first_call.unique()) == 8
    assert torch.equal(first_call[4:], seen[len(seen) // 2])


def test_a_diverging_model_recovers_nothing(digits):
    images, index = digits[:2], torch.arange(2)

    def diverged(x, sigma, labels):
        return x * torch.nan

    assert not basin_recovery(diverged, images, index, images, index, sigma_b=1.0, steps=3).any()


@pytest.mark.parametrize("sigma_b", [0.001, float("inf")])
def test_a_start_outside_the_path_is_refused(digits, sigma_b):
    images, index = digits[:2], torch.arange(2)
    with pytest.raises(ValueError, match=r"evaluate\.basin_sigma"):
        basin_recovery(lambda x, s, labels: x, images, index, images, index, sigma_b=sigma_b, steps=3)
