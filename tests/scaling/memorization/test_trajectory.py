"""The distance of the sampler's path to the training images, against closed forms and the reference models."""

import pytest
import torch

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import IdealDenoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.memorization.trajectory import LIMIT, Trajectory


def unit_noise(n: int, d: int = 64) -> torch.Tensor:
    side = int(d**0.5)
    return normals(CONSTANT, "sample", torch.arange(n), d).reshape(n, 1, side, side)


def followed(denoiser, images, n: int, steps: int = 18, family=None, members=None) -> Trajectory:
    sigmas = karras_sigmas(steps)
    members = images.flatten(1) if members is None else members
    path = Trajectory(members, family, images, torch.arange(len(images)), sigmas, n)
    sample(denoiser, unit_noise(n, images[0].numel()), sigmas, visit=path.visit, batch_size=100)
    return path


def test_one_image_at_the_origin_is_a_ratio_of_two_medians():
    """Closed form: the state is z sigma and the training noise eps sigma, so every level is median |z| over |eps|, here
    of the very numbers that are keyed (rtol: steps from 80 in float32); sigma 0 is left out."""
    path = followed(lambda x, sigma, labels: torch.zeros_like(x), torch.zeros(1, 1, 8, 8), 7, steps=5)
    eps = torch.stack([normals(CONSTANT, "trajectory", torch.tensor([j]), 64).norm() for j in range(5)])
    expected = unit_noise(7).flatten(1).norm(dim=1).median() / eps
    assert len(path.sigmas) == 5 and (path.sigmas > 0).all()
    torch.testing.assert_close(path.distance().float(), expected, rtol=1e-3, atol=0)


def test_both_medians_against_brute_force(digits):
    """Independently: all pairs from differences, in numpy's median; an arbitrary denoiser."""
    unique, seen, sigmas = digits[:20], {}, karras_sigmas(4)

    def shrink(x, sigma, labels=None):
        return x / (1 + sigma[:, None, None, None])

    path = Trajectory(unique.flatten(1), None, unique, torch.arange(20) + 3, sigmas, 9)

    def visit(step, rows, x):
        seen[step] = x.double()
        path.visit(step, rows, x)

    sample(shrink, unit_noise(9), sigmas, visit=visit)
    for j, sigma in enumerate(sigmas[:-1].tolist()):
        eps = normals(CONSTANT, "trajectory", (torch.arange(20) + 3) * 1024 + j, 64).reshape(20, 1, 8, 8)
        nearest = [
            (x[:, None] - unique[None].double()).flatten(2).norm(dim=2).amin(dim=1).numpy()
            for x in (seen[j], unique.double() + sigma * eps.double())
        ]
        middle = [(sorted(d)[(len(d) - 1) // 2] + sorted(d)[len(d) // 2]) / 2 for d in nearest]
        assert float(path.distance()[j]) == pytest.approx(middle[0] / middle[1], rel=1e-5)


def test_the_ideal_denoiser_ends_where_the_training_noise_was(digits):
    """measures.md 2.15: D* on its own path: 1 +- 3 SE for sigma -> 0. There both distances are sigma times a chi of d
    degrees, whose median has SE sqrt(pi/2) .707/sqrt(N): here N = 500 samples and 512 images."""
    path = followed(IdealDenoiser(digits[:600], torch.ones(600)), digits[:600], 500)
    se = (torch.pi / 2) ** 0.5 * 0.707 / 8 * (1 / 500 + 1 / LIMIT) ** 0.5
    found = path.distance()[path.sigmas < 0.1]
    assert len(found) >= 4 and (found - 1).abs().max() < 3 * se
    assert ((path.distance() - 1).abs() < 0.1).all()


def test_the_generalizer_leaves_the_noisy_training_points_at_small_sigma(generalizer, digits):
    """Its samples end at new images, a fixed distance from U: the ratio grows as 1/sigma; at sigma 80 it is 1."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 4, 4, generator=rng)
    path = followed(generalizer(torch.zeros(16)), images, 200)
    found = path.distance()
    assert 0.8 < found[0] < 1.25 and found[-1] > 100 and (found[-5:].diff() > 0).all()
    # Held-out real images end as far from U as its samples do.
    fresh = torch.cdist(torch.randn(500, 16, generator=rng), images.flatten(1)).amin(dim=1).median()
    assert float(found[-1] * path.of_training_noise[-1]) == pytest.approx(float(fresh), rel=0.1)


def test_copies_and_near_copies_are_one_image(digits):
    """Ten rows of each image change no bit; the family of a member is what is near."""
    images = digits[:8]
    copier = IdealDenoiser(images, torch.ones(8))
    one = followed(copier, images, 30, steps=6).distance()
    rows = images.flatten(1).repeat(10, 1)
    ten = followed(copier, images, 30, steps=6, members=rows, family=torch.arange(8).repeat(10)).distance()
    assert torch.equal(one, ten)


def test_the_cost_is_bounded_and_only_the_first_samples_count(digits):
    """600 samples of which the first 512 are followed, in batches that straddle the limit: as 512 alone."""
    denoiser, images = (lambda x, sigma, labels: torch.zeros_like(x)), digits[:4]
    many, few = followed(denoiser, images, 600, steps=3), followed(denoiser, images, LIMIT, steps=3)
    assert many.nearest.shape == (3, LIMIT) and torch.equal(many.nearest, few.nearest)


def test_a_sample_that_diverges_is_left_out_of_every_level(digits):
    """The path of the others, to the bit; and a second sampling replaces the first."""

    def diverging(x, sigma, labels):
        out = torch.zeros_like(x)
        out[0] = torch.nan if float(sigma[0]) < 1 else 0
        return out

    images, sigmas = digits[:4], karras_sigmas(4)
    path = Trajectory(images.flatten(1), None, images, torch.arange(4), sigmas, 6)
    sample(diverging, unit_noise(6), sigmas, visit=path.visit)
    rest = Trajectory(images.flatten(1), None, images, torch.arange(4), sigmas, 5)
    sample(lambda x, sigma, labels: torch.zeros_like(x), unit_noise(6)[1:], sigmas, visit=rest.visit)
    assert torch.equal(path.distance(), rest.distance())
    sample(lambda x, sigma, labels: x * torch.nan, unit_noise(6), sigmas, visit=path.visit)
    assert path.distance().isnan().all()


def test_what_cannot_be_told_is_refused(digits):
    images, sigmas = digits[:4], karras_sigmas(4)
    path = Trajectory(images.flatten(1), None, images, torch.arange(4), sigmas, 6)
    sample(lambda x, sigma, labels: x, unit_noise(4), sigmas, visit=path.visit)
    with pytest.raises(ValueError, match="2 of 6 samples were not followed"):
        path.distance()
    with pytest.raises(ValueError, match="needs one of each"):
        Trajectory(images.flatten(1), None, images[:0], torch.arange(0), sigmas, 6)
    with pytest.raises(ValueError, match="levels"):
        Trajectory(images.flatten(1), None, images, torch.arange(4), sigmas[-1:], 6)
