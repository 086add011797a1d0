"""The sampler against closed-form paths, its theoretical order, and its published noise levels."""

from itertools import pairwise
from math import sqrt

import pytest
import torch

from scaling.data.noise import normals
from scaling.diffusion.sampler import heun, karras_sigmas, sample


def gaussian_denoiser(s: float):
    """D of N(0, s^2 I); the flow from sigma a to b multiplies x by sqrt((s^2 + b^2)/(s^2 + a^2))."""
    return lambda x, sigma, labels=None: x * s**2 / (s**2 + sigma[:, None, None, None] ** 2)


def unit_noise(n: int) -> torch.Tensor:
    return normals(0, "sample", torch.arange(n), 16).double().view(n, 1, 4, 4)


def test_levels_are_those_of_karras():
    """Eq. 5 by hand at 18 steps: 80, ..., .002, 0."""
    sigmas = karras_sigmas(18)
    assert len(sigmas) == 19 and sigmas[-1] == 0
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    torch.testing.assert_close(sigmas[:-1], torch.tensor(expected, dtype=torch.float64))
    assert karras_sigmas(18, sigma_max=0.9)[0] == pytest.approx(0.9)
    with pytest.raises(ValueError, match="sampler_steps=1"):
        karras_sigmas(1)


def test_heun_is_second_order():
    """On Gaussian data; with one training image the path is straight and even Euler is exact. From .5 to .05: no last
    Euler step, whose error is of first order but tiny."""
    x, s, (start, end) = unit_noise(64), 0.3, (0.5, 0.05)
    truth = x * sqrt((s**2 + end**2) / (s**2 + start**2))
    errors = []
    for steps in (8, 16, 32, 64):
        levels = torch.linspace(start, end, steps + 1, dtype=torch.float64)
        trailing = torch.cat([levels, levels[-1:]])  # the last step, Euler's, has length 0
        errors.append(float((heun(gaussian_denoiser(s), x, trailing) - truth).abs().max()))
    orders = [float(torch.tensor(a / b).log2()) for a, b in pairwise(errors)]
    assert all(1.85 < order < 2.15 for order in orders), orders


def test_samples_of_a_gaussian_have_its_spread():
    drawn = heun(gaussian_denoiser(0.5), unit_noise(4000) * 80, karras_sigmas(40))
    assert drawn.std() == pytest.approx(0.5, rel=0.02)


def test_batches_do_not_change_samples_and_labels_follow():
    def labelled(x, sigma, labels):
        return labels[:, None, None, None].to(x).expand_as(x) / 10

    labels = torch.arange(7) % 3
    whole = sample(labelled, unit_noise(7), karras_sigmas(5), labels)
    parts = sample(labelled, unit_noise(7), karras_sigmas(5), labels, batch_size=2)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole[:, 0, 0, 0], labels.double() / 10)
    assert sample(gaussian_denoiser(3.0), unit_noise(50), karras_sigmas(5)).abs().max() <= 1


def test_a_visitor_sees_the_closed_form_path_and_changes_no_bit():
    """Exact steps of D = 0 (data at the origin): the state at level sigma is the initial noise times sigma."""
    seen, sigmas = {}, karras_sigmas(6)

    def visit(step, rows, x):
        seen[step, rows.start, rows.stop] = x.clone()

    def origin(x, sigma, labels=None):
        return torch.zeros_like(x)

    sample(origin, unit_noise(5), sigmas, batch_size=2, visit=visit)
    assert sorted(seen) == [(step, a, min(a + 2, 5)) for step in range(6) for a in (0, 2, 4)]
    for (step, start, stop), x in seen.items():
        torch.testing.assert_close(x, unit_noise(5)[start:stop] * sigmas[step])
    labels = torch.arange(5)
    alone = sample(gaussian_denoiser(0.5), unit_noise(5), sigmas, labels, batch_size=2)
    assert torch.equal(sample(gaussian_denoiser(0.5), unit_noise(5), sigmas, labels, batch_size=2, visit=visit), alone)
