from math import log, pi

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser
from scaling.fields import SigmaConfig
from scaling.memorization.density import (
    density_sigmas,
    discrete_nats,
    error_integral,
    grey_step,
    level_errors,
    log_density,
    sigma_floor,
)

MEAN, VARIANCE = -0.389, 0.752**2  # of the digits


def entropy(d: int, sigma_min: float) -> float:
    return d / 2 * (1 + log(2 * pi * sigma_min**2))


def expected_errors(denoiser, points: Tensor, sigmas: Tensor, nodes: int = 40) -> Tensor:
    """E ||D(x + sigma eps; sigma) - x||^2 of points [N] on a line by Gauss-Hermite quadrature: [N L 1], float64."""
    eps, weights = (torch.tensor(part) for part in np.polynomial.hermite_e.hermegauss(nodes))
    noisy = rearrange(points, "n -> n 1 1") + rearrange(sigmas, "l -> l 1") * eps
    at = rearrange(sigmas, "l -> l 1").expand_as(noisy)
    denoised = denoiser(noisy.reshape(-1, 1, 1, 1), at.reshape(-1)).reshape(noisy.shape)
    error = (denoised - rearrange(points, "n -> n 1 1")) ** 2
    return (error * weights).sum(dim=2, keepdim=True) / (2 * pi) ** 0.5


def on_a_line(*points: float) -> Tensor:
    return torch.tensor(points, dtype=torch.float64).reshape(-1, 1, 1, 1)


def gaussian(variance: float):
    """The posterior mean of N(0, variance)."""
    return lambda x, sigma, labels=None: x * (variance / (variance + sigma.square())).reshape(-1, 1, 1, 1)


# ---------------------------------------------------------------- levels


def test_levels_start_where_the_grid_and_the_training_law_say():
    """Digits: 17 grey levels of 8 bits, step .125, /sqrt(12) .036; the law's 1 % quantile (.0185) where steps are
    finer."""
    digits = np.rint(np.arange(17) * 255 / 16).astype(np.uint8).reshape(17, 1, 1, 1)
    step = grey_step(digits)
    assert step == pytest.approx(0.125, abs=0.001)
    assert sigma_floor(SigmaConfig(), step) == pytest.approx(0.036, abs=0.0005)
    fine = grey_step(np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8))
    assert fine == pytest.approx(2 / 255, rel=1e-12)
    assert sigma_floor(SigmaConfig(), fine) == pytest.approx(np.exp(-1.2 - 1.2 * 2.3263479), rel=1e-6)
    assert sigma_floor(SigmaConfig(law="fixed", value=0.4), step) == 0.4


def test_one_grey_level_has_no_step():
    with pytest.raises(ValueError, match=r"3 images with 1 grey level.*evaluate\.sigma_min"):
        grey_step(np.full((3, 1, 2, 2), 7, dtype=np.uint8))


def test_sigmas_are_log_spaced_and_ascending():
    sigmas = density_sigmas(0.02, 5)
    assert sigmas.dtype == torch.float64 and float(sigmas[0]) == pytest.approx(0.02)
    torch.testing.assert_close(sigmas[1:] / sigmas[:-1], torch.full((4,), 4000**0.25, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"evaluate\.density_levels=1:"):
        density_sigmas(0.02, 1)
    with pytest.raises(ValueError, match=r"evaluate\.sigma_min=90:"):
        density_sigmas(90, 64)


# ---------------------------------------------------------------- errors


def noise_itself(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    return x


def test_errors_are_those_of_the_keyed_noise_whatever_the_batch():
    """D = x: e = sigma^2 ||eps||^2, eps keyed by (position, level, draw) alone; the keys of section 0 written out."""
    images, sigmas = torch.zeros(5, 1, 4, 4), torch.tensor([0.5, 2.0], dtype=torch.float64)
    positions = torch.tensor([7, 0, 3, 7, 40_000])
    whole = level_errors(noise_itself, images, None, positions, sigmas, draws=3)
    assert whole.shape == (5, 2, 3) and whole.dtype == torch.float64
    for batch_size in (1, 2):
        assert torch.equal(
            whole, level_errors(noise_itself, images, None, positions, sigmas, draws=3, batch_size=batch_size)
        )
    assert torch.equal(whole[0], whole[3]) and len(whole.unique()) == 4 * 6
    key = torch.tensor([(40_000 * 1024 + 1) * 1024 + 2])
    assert float(whole[4, 1, 2]) == pytest.approx(4 * float(normals(CONSTANT, "density", key, 16).square().sum()))


def test_more_draws_leave_the_first_as_they_were():
    images, sigmas, positions = torch.zeros(3, 1, 4, 4), density_sigmas(0.1, 4), torch.arange(3)
    one, four = (level_errors(noise_itself, images, None, positions, sigmas, draws=r) for r in (1, 4))
    assert torch.equal(one[:, :, 0], four[:, :, 0])
    with pytest.raises(ValueError, match=r"evaluate\.density_draws=1025"):
        level_errors(noise_itself, images, None, positions, sigmas, draws=1025)


def test_labels_reach_the_denoiser_with_their_image():
    """A denoiser that answers its label: e = 4 pixels x (label - image)^2."""
    images = torch.tensor([0.0, 0.5, -1.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    found = level_errors(
        lambda x, sigma, labels: labels.reshape(-1, 1, 1, 1).expand_as(x).float(),
        images, torch.tensor([2, 0, 1]), torch.arange(3), torch.ones(2), batch_size=2,
    )  # fmt: skip
    assert found[:, :, 0].tolist() == [[16, 16], [1, 1], [16, 16]]


# ---------------------------------------------------------------- the density


@pytest.mark.parametrize(
    ("s", "at_0", "at_1"), [(0.5, -0.225807, -2.225775), (1.0, -0.918939, -1.418939), (2.0, -1.612086, -1.737086)]
)
def test_gaussian_data(s, at_0, at_1):
    """K24: N(0, s^2) and its posterior mean, sigma .002 to 80; e is quadratic in eps, so 2 nodes give E exactly."""
    sigmas, points = density_sigmas(0.002, 6000), torch.tensor([0.0, 1.0], dtype=torch.float64)
    errors = expected_errors(gaussian(s**2), points, sigmas, nodes=2)
    found = log_density(errors, on_a_line(0, 1), sigmas, mean=0, variance=s**2).value
    assert found.tolist() == pytest.approx([at_0, at_1], abs=5e-6)


def test_64_levels_are_enough_for_gaussian_data():
    """The trapezoid over 64 levels from .036, against E ln N(x + sigma_min eps; 0, s^2 + sigma_min^2)."""
    sigmas, s2 = density_sigmas(0.036, 64), 0.752**2
    found = log_density(
        expected_errors(gaussian(s2), torch.tensor([0.0, 1.0]).double(), sigmas),
        on_a_line(0, 1), sigmas, mean=0, variance=s2,
    ).value  # fmt: skip
    smoothed = s2 + 0.036**2
    exact = [-(log(2 * pi * smoothed) + (x2 + 0.036**2) / smoothed) / 2 for x2 in (0, 1)]
    assert found.tolist() == pytest.approx(exact, abs=2e-3)


def test_far_images_of_the_copier():
    """K25: ln(r_i/N) - (1/2)(1 + ln(2 pi sigma_min^2)); -1 .5 1 with copies 1 2 1, sigma_min .1, at x = -1."""
    points = torch.tensor([-1.0, 0.5, 1.0], dtype=torch.float64)
    copier, sigmas = IdealDenoiser(on_a_line(*points), torch.tensor([1, 2, 1])), density_sigmas(0.1, 1000)
    mean = 0.25  # by copies
    variance = float((torch.tensor([1, 2, 1]) * (points - mean) ** 2).sum() / 4)
    found = log_density(
        expected_errors(copier, points, sigmas, nodes=100), on_a_line(*points), sigmas, mean=mean, variance=variance
    ).value
    assert float(found[0]) == pytest.approx(-0.502648, abs=1e-4)


def kernel_density(centres: Tensor, copies: Tensor, width: float):
    """Posterior mean of sum r_j/N N(centre_j, width^2) on a line: (D, ln q_s for s^2 = width^2 + sigma^2)."""

    def logits(y: Tensor, v: Tensor | float) -> Tensor:
        return copies.log() - (rearrange(y, "b -> b 1") - centres).square() / (2 * v)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        y, s2 = x.flatten(), sigma.square()
        nearest = logits(y, rearrange(width**2 + s2, "b -> b 1")).softmax(dim=1) @ centres
        return ((width**2 * y + s2 * nearest) / (width**2 + s2)).reshape(x.shape)

    def log_q(y: Tensor, sigma: float) -> Tensor:
        v = width**2 + sigma**2
        return logits(y, v).logsumexp(dim=1) - copies.sum().log() - log(2 * pi * v) / 2

    return denoiser, log_q


def test_kernel_density_has_the_log_density_it_is():
    """2.7: D the posterior mean of q, so L(x) = E ln q_s(x + sigma_min eps); at training points and elsewhere."""
    centres, copies = torch.tensor([-1.0, -0.2, 0.4, 1.0]).double(), torch.tensor([1.0, 2, 1, 4]).double()
    denoiser, log_q = kernel_density(centres, copies, 0.3)
    points, sigmas = torch.tensor([-1.0, 0.1, 0.4, 1.3]).double(), density_sigmas(0.05, 2000)
    mean = float((copies * centres).sum() / 8)
    variance = float((copies * (centres - mean) ** 2).sum() / 8) + 0.09
    found = log_density(
        expected_errors(denoiser, points, sigmas, nodes=100), on_a_line(*points), sigmas, mean=mean, variance=variance
    ).value
    eps, weights = (torch.tensor(part) for part in np.polynomial.hermite_e.hermegauss(60))
    exact = [float((log_q(x + 0.05 * eps, 0.05) * weights).sum()) / (2 * pi) ** 0.5 for x in points]
    assert found.tolist() == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("width", [0.5, 0.05])
def test_leaving_an_image_out_of_a_kernel_density(width):
    """L_in - L_out of u_0 with r of N rows: ln(q_in/q_out) in closed form.

    K28 is its limit for kernels that do not reach other images (width .05 here; .6 nats away at width .5)."""
    centres, copies = torch.tensor([0.1, -1.0, 0.4, 1.0]).double(), torch.tensor([2.0, 2, 1, 3]).double()
    sigmas = density_sigmas(0.002, 6000)
    kernel = (width**2 - 0.002**2) ** 0.5  # smoothed by sigma_min it has the width asked for
    score = {}
    for name, part in (("in", slice(0, 4)), ("out", slice(1, 4))):
        denoiser, _ = kernel_density(centres[part], copies[part], kernel)
        errors = expected_errors(denoiser, centres[:1], sigmas, nodes=60)
        score[name] = float(log_density(errors, on_a_line(0.1), sigmas, mean=0, variance=1).value[0])
    kernels = copies.log() - (centres[0] - centres) ** 2 / (2 * width**2)
    exact = log(6 / 8) + float(kernels.logsumexp(dim=0) - kernels[1:].logsumexp(dim=0))
    assert score["in"] - score["out"] == pytest.approx(exact, abs=3e-4)
    k28 = log(2 / 8) + log(6) - float(kernels[1:].logsumexp(dim=0))
    assert k28 == pytest.approx(exact, abs=1e-6) if width == 0.05 else exact - k28 > 0.5


def measured(denoiser, images, sigma_min, positions=None, levels=64):
    sigmas = density_sigmas(sigma_min, levels)
    positions = torch.arange(len(images)) if positions is None else positions
    errors = level_errors(denoiser, images, None, positions, sigmas)
    return log_density(errors, images, sigmas, mean=MEAN, variance=VARIANCE)


def test_copier_of_digits_grows_without_end_as_sigma_min_falls(digits):
    """Section 5: ln(1/n) - (d/2)(1 + ln(2 pi sigma_min^2)) at every image; within 3 SE of the noise, from both ends."""
    unique = digits[:64]
    copier = IdealDenoiser(unique, torch.ones(64))
    for sigma_min in (0.1, 0.036):
        found = measured(copier, unique, sigma_min)
        off = found.value - (log(1 / 64) - entropy(64, sigma_min))
        assert abs(float(off.mean())) < 3 * float(found.se.square().sum().sqrt()) / 64
        assert float(off.abs().max()) < 10
    growth = measured(copier, unique, 0.018).value - found.value
    assert float(growth.mean()) == pytest.approx(64 * log(2), abs=1)


def test_half_copier_loses_only_ln_2(digits, half_copier):
    """Section 5: half the weight on U costs each image ln 2 nats, not half its density."""
    unique = digits[:64]
    sigmas = density_sigmas(0.036, 64)
    errors = [
        level_errors(denoiser, unique, None, torch.arange(64), sigmas, draws=2)
        for denoiser in (IdealDenoiser(unique, torch.ones(64)), half_copier(unique))
    ]
    lost = error_integral(errors[1], sigmas) - error_integral(errors[0], sigmas)
    assert float(lost.mean()) == pytest.approx(log(2), abs=3 * float(lost.std()) / 8)
    assert float(lost.std()) / 8 < 0.1


def test_generalizer_gives_training_and_held_out_images_the_same(generalizer):
    """Null: N(mu, I)/2 + N(-mu, I)/2, 500 images a side: mean over U = mean over H; both = its entropy's estimate."""
    rng = torch.Generator().manual_seed(0)
    mu = torch.full((16,), 0.5)
    sign = (torch.rand(1000, 1, generator=rng) < 0.5).float() * 2 - 1
    images = (sign * mu + torch.randn(1000, 16, generator=rng)).reshape(-1, 1, 4, 4)
    sigmas = density_sigmas(0.036, 64)
    errors = level_errors(generalizer(mu), images, None, torch.arange(500).repeat(2), sigmas)
    value = log_density(errors, images, sigmas, mean=0, variance=1.25).value
    seen, held = value.split(500)
    assert abs(float(seen.mean() - held.mean())) < 3 * float((seen.var() + held.var()) / 500) ** 0.5
    x, v = images.flatten(1).double(), 1 + 0.036**2
    parts = torch.stack([-(x - m).square().sum(dim=1) / (2 * v) for m in (mu, -mu)]).logsumexp(dim=0) - log(2)
    exact = parts - 8 * log(2 * pi * v) - 8 * (v - 1) / v
    off = value - exact
    assert abs(float(off.mean())) < 3 * float(off.std()) / 1000**0.5 + 0.02  # .02: the trapezoid over 64 levels


# ---------------------------------------------------------------- its standard error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "draws"),
    [("copier", 1), ("copier, held-out", 1), ("linear", 1), ("half copier", 1), ("copier, held-out", 3)],
)
def test_standard_error_is_the_spread_over_keys(digits, half_copier, which, draws):
    """8 digits under 400 keys each: the mean of an image's squared SE is the variance of its value over keys.

    Held-out images of a copier are the hard case: there e/sigma^2 runs from 7,000 to 0 with a noise of 10."""
    unique = digits[:64]
    ones = torch.ones(64)
    denoiser = {
        "linear": LinearDenoiser(digits[:898], torch.ones(898)),
        "half copier": half_copier(unique),
    }.get(which, IdealDenoiser(unique, ones))
    chosen = digits[64:72] if which == "copier, held-out" else unique[:8]
    images = chosen.repeat_interleave(400, dim=0)
    sigmas = density_sigmas(0.036, 64)
    errors = level_errors(denoiser, images, None, torch.arange(3200), sigmas, draws=draws)
    found = log_density(errors, images, sigmas, mean=MEAN, variance=VARIANCE)
    claimed, true = found.se.square().reshape(8, 400).mean(dim=1), found.value.reshape(8, 400).var(dim=1)
    assert float((claimed / true).mean()) == pytest.approx(1, abs=0.1)


def test_standard_error_of_a_smooth_integrand_is_small():
    """Without noise the SE must vanish against the value, however steep e/sigma^2 is: here it falls as sigma^-2."""
    sigmas = density_sigmas(0.036, 64)
    errors = torch.full((1, 64, 1), 9.0, dtype=torch.float64)
    found = log_density(errors, torch.zeros(1, 1, 8, 8), sigmas, mean=0, variance=1)
    assert float(found.se) < 1e-3 * float(error_integral(errors, sigmas))


def test_unequal_levels_have_the_same_error():
    """Uneven levels of a steep line with noise of variance 1: exact integral of the line, SE = spread."""
    rng = torch.Generator().manual_seed(0)
    t = torch.linspace(-3, 4, 40, dtype=torch.float64) + 0.05 * torch.rand(40, generator=rng)
    sigmas = t.exp()
    errors = (40 * t + torch.randn(4000, 40, generator=rng, dtype=torch.float64)) * sigmas.square()
    found = log_density(errors.unsqueeze(2), torch.zeros(4000, 1, 2, 2), sigmas, mean=0, variance=1)
    assert float(found.se.square().mean().sqrt()) == pytest.approx(float(found.value.std()), rel=0.04)
    line = 40 * t * sigmas.square()
    exact = 20 * float(t[-1] ** 2 - t[0] ** 2)
    assert float(error_integral(line.reshape(1, 40, 1), sigmas)) == pytest.approx(exact, rel=1e-12)


def test_few_levels_of_one_draw_leave_the_error_unknown():
    sigmas = density_sigmas(0.1, 4)
    images = torch.zeros(2, 1, 2, 2)
    one = log_density(torch.ones(2, 4, 1), images, sigmas, mean=0, variance=1)
    assert one.se.isnan().all() and one.value.isfinite().all()
    assert log_density(torch.rand(2, 4, 2), images, sigmas, mean=0, variance=1).se.isfinite().all()


# ---------------------------------------------------------------- discrete


def test_discrete_bound_of_grey_levels_is_their_log_probability():
    """The posterior mean of grey levels with probabilities p, in one pixel: -ln p_k, from above, as noise falls."""
    greys, p = torch.tensor([-1.0, -0.5, 0.25, 1.0]).double(), torch.tensor([0.4, 0.1, 0.3, 0.2]).double()
    denoiser, images = IdealDenoiser(on_a_line(*greys), p), on_a_line(*greys)
    mean = float((p * greys).sum())
    variance = float((p * (greys - mean) ** 2).sum())

    def bound(sigma_min):
        sigmas = density_sigmas(sigma_min, 1500)
        errors = expected_errors(denoiser, greys, sigmas, nodes=150)
        return discrete_nats(errors, images, sigmas, greys, mean=mean, variance=variance)

    assert bound(0.05).tolist() == pytest.approx((-p.log()).tolist(), abs=1e-3)
    assert float((p * bound(0.3)).sum()) > float(-(p * p.log()).sum()) + 0.01  # a bound: never below the entropy


def test_copier_has_a_finite_discrete_bound():
    """2.7: ln(N/r) + the reading term, whatever sigma_min; the term by simulation of z = x + sigma_min eps."""
    greys = torch.linspace(-1, 1, 17, dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    images = greys[torch.randint(17, (8, 1, 4, 4), generator=rng)]
    copies = torch.tensor([1, 1, 2, 4, 1, 1, 3, 3])
    for sigma_min in (0.04, 0.08):
        sigmas = density_sigmas(sigma_min, 128)
        keys = 40 * torch.arange(8).repeat_interleave(40)
        keys += torch.arange(40).repeat(8)  # 40 keys an image instead of draws: fewer passes
        errors = level_errors(IdealDenoiser(images, copies), images[keys // 40], None, keys, sigmas)
        errors = rearrange(errors, "(n k) l 1 -> n l k", k=40)
        found = discrete_nats(errors, images, sigmas, greys, mean=0, variance=0.37)
        z = images + sigma_min * torch.randn(400, 8, 1, 4, 4, generator=rng, dtype=torch.float64)
        logits = -((z.unsqueeze(-1) - greys) ** 2) / (2 * sigma_min**2)
        own = (images.unsqueeze(-1) == greys).expand_as(logits)
        reading = -logits.log_softmax(dim=-1)[own].reshape(400, 8, 16).sum(dim=2).mean(dim=0)
        excess = found - reading - (copies.sum() / copies).log()
        assert abs(float(excess.mean())) < 0.15 and float(excess.abs().max()) < 0.6


def test_pixels_between_the_levels_are_refused():
    sigmas = density_sigmas(0.04, 8)
    with pytest.raises(ValueError, match=r"greys: a pixel lies 0\.1 from the nearest of 2 levels"):
        discrete_nats(
            torch.ones(1, 8, 1), torch.full((1, 1, 1, 1), 0.9), sigmas, torch.tensor([-1.0, 1.0]), mean=0, variance=1
        )
