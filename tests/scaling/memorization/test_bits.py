from math import log, pi

import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser
from scaling.memorization.bits import bits_memorized, bits_optimism
from scaling.memorization.density import density_sigmas, level_errors, log_density

MEAN, VARIANCE = -0.389, 0.752**2  # of the digits
Z90 = 1.6449  # 90 % of a normal estimate lies within Z90 standard errors


def gaussian(mean, variance):
    """The posterior mean of N(mean, variance I)."""
    return lambda x, sigma, labels=None: mean + (x - mean) * (variance / (variance + sigma**2)).reshape(-1, 1, 1, 1)


def of_digits(denoiser, digits, sigma_min=0.036):
    """Errors of the first 64 digits (training) and the next 64 (held out) at 64 levels."""
    sigmas, index = density_sigmas(sigma_min, 64), torch.arange(64).repeat(2)
    return level_errors(denoiser, digits[:128], None, index, sigmas).split(64), sigmas


def bits_over(reference, denoiser, digits, sigma_min=0.036):
    (seen, held), sigmas = of_digits(denoiser, digits, sigma_min)
    (seen_g, held_g), _ = of_digits(reference, digits, sigma_min)
    return bits_memorized(seen, {"g": seen_g}, held, {"g": held_g}, sigmas, n_unique=64)


def test_copier_holds_each_image_to_sigma_min(digits):
    """K25 less K24: -ln n - (d/2)(1 + ln(2 pi sigma_min^2)) against E ln N(x + sigma_min eps; mean, v + sigma_min^2).

    So n d bits more at each halving of sigma_min. The SE of the sum counts how much images differ, which is known here:
    only noise and the trapezoid are left to differ, .3 bits an image."""
    copier, x = IdealDenoiser(digits[:64], torch.ones(64)), digits[:64].flatten(1).double()
    found = {}
    for sigma_min in (0.072, 0.036):
        s2, v = sigma_min**2, VARIANCE + sigma_min**2
        reference = -32 * log(2 * pi * v) - ((x - MEAN).square().sum(dim=1) + 64 * s2) / (2 * v)
        exact = float((-log(64) - 32 * (1 + log(2 * pi * s2)) - reference).sum()) / log(2)
        found[sigma_min] = bits_over(gaussian(MEAN, VARIANCE), copier, digits, sigma_min)
        assert found[sigma_min].value / 64 == pytest.approx(exact / 64, abs=2)
        assert 0.1 < found[sigma_min].se / 64 < 2
    assert (found[0.036].value - found[0.072].value) / 64 == pytest.approx(64, abs=2)


def test_half_copier_loses_one_bit_an_image(digits, half_copier):
    """Section 5: the copier's, minus ln 2 nats an image; over N(0, I), the half of it that did not copy.

    Held-out images are from there too. With digits both are right, but single draws of the half copier differ by 20
    nats on them, and the clipped noise of held-out images is taken off training images that are nowhere near 0."""
    rng = torch.Generator().manual_seed(0)
    images = torch.cat([digits[:64], torch.randn(64, 1, 8, 8, generator=rng)])
    full = bits_over(gaussian(0, 1), IdealDenoiser(digits[:64], torch.ones(64)), images)
    half = bits_over(gaussian(0, 1), half_copier(digits[:64]), images)
    assert (full.value - half.value) / 64 == pytest.approx(1, abs=0.4)


def test_copier_of_other_images_memorized_none_of_these(digits):
    """Trained elsewhere: nothing above the linear denoiser on either side, so no bits at all."""
    (seen, held), sigmas = of_digits(IdealDenoiser(digits[500:564], torch.ones(64)), digits)
    (seen_l, held_l), _ = of_digits(LinearDenoiser(digits[900:], torch.ones(897)), digits)
    assert bits_memorized(seen, {"linear": seen_l}, held, {"linear": held_l}, sigmas, n_unique=64).value == 0


def mixture(mu, n, rng):
    sign = (torch.rand(n, 1, generator=rng) < 0.5).float() * 2 - 1
    return (sign * mu + torch.randn(n, len(mu), generator=rng)).reshape(n, 1, 4, 4)


def test_generalizer_memorized_nothing_and_the_interval_covers_that(generalizer):
    """Section 5 and the null of 2.11: 200 populations of 100 images a side, against a wider Gaussian as reference.

    The true denoiser beats it by chance at half the images; without the null it would show bits. U and H are
    exchangeable, so the mean is 0 and |value| < 1.645 SE in 90 % of the studies (SE of that share: 2.1 %)."""
    rng, mu = torch.Generator().manual_seed(0), torch.full((16,), 0.5)
    images, index = mixture(mu, 200 * 200, rng), torch.arange(40_000)
    sigmas = density_sigmas(0.05, 24)
    model = level_errors(generalizer(mu), images, None, index, sigmas, batch_size=40_000)
    other = level_errors(gaussian(0, 1.3), images, None, index, sigmas, batch_size=40_000)
    density = log_density(model, images, sigmas, mean=0, variance=1.25).value
    found = {"memorized": [], "optimism": []}
    for study in torch.arange(40_000).split(200):
        seen, held = study.split(100)
        found["memorized"].append(
            bits_memorized(model[seen], {"g": other[seen]}, model[held], {"g": other[held]}, sigmas, n_unique=100)[:2]
        )
        found["optimism"].append(bits_optimism(density[seen], density[held], 100))
    for name, pairs in found.items():
        value, se = torch.tensor(pairs).T
        assert abs(float(value.mean())) < 3 * float(value.std()) / 200**0.5, name
        assert float((value.abs() < Z90 * se).double().mean()) == pytest.approx(0.9, abs=3 * 0.021), name


def test_training_and_held_out_images_exchanged_at_random(digits):
    """Null of 2.11: what a copier of 128 digits holds is gone when these and 128 others are mixed anew, 300 times."""
    rng = torch.Generator().manual_seed(0)
    sigmas, index = density_sigmas(0.036, 64), torch.arange(256)
    model, linear = (
        level_errors(denoiser, digits[:256], None, index, sigmas)
        for denoiser in (IdealDenoiser(digits[:128], torch.ones(128)), LinearDenoiser(digits[600:], torch.ones(1197)))
    )

    def bits(seen, held):
        return bits_memorized(
            model[seen], {"linear": linear[seen]}, model[held], {"linear": linear[held]}, sigmas, n_unique=128
        )

    found = [bits(*torch.randperm(256, generator=rng).split(128))[:2] for _ in range(300)]
    value, se = torch.tensor(found).T
    assert abs(float(value.mean())) < 3 * float(value.std()) / 300**0.5
    assert float((value.abs() < Z90 * se).double().mean()) == pytest.approx(0.9, abs=3 * 0.017)
    assert bits(index[:128], index[128:]).value > 5 * float(value.abs().max())


def test_choosing_among_equal_references_adds_no_bits(digits):
    """Five linear denoisers of interleaved digits, as good as the model: which is the best held out is luck.

    Were it scored on the images it was chosen on, 400 exchanges of 128 + 128 images gave 36 bits, 15 SE from 0."""
    rng = torch.Generator().manual_seed(0)
    sigmas, index = density_sigmas(0.036, 64), torch.arange(256)
    model, *others = (
        level_errors(LinearDenoiser(part, torch.ones(len(part))), digits[:256], None, index, sigmas)
        for part in (digits[512:900], *(digits[512 + k :: 5] for k in range(5)))
    )
    value = []
    for _ in range(400):
        seen, held = torch.randperm(256, generator=rng).split(128)
        sides = [{str(k): other[rows] for k, other in enumerate(others)} for rows in (seen, held)]
        value.append(bits_memorized(model[seen], sides[0], model[held], sides[1], sigmas, n_unique=128).value)
    assert abs(float(torch.tensor(value).mean())) < 3 * float(torch.tensor(value).std()) / 20


def test_reference_is_chosen_level_by_level_on_held_out_images():
    """Two levels a factor e apart: weights 1/2 and 1/2, so L = -(e_0/sigma_0^2 + e_1/sigma_1^2)/2.

    Held out, a is best at level 0 and b at level 1; on training images it is the other way round. Gains over (a, b) =
    (3, 5): ((3 - 1) + (5 - 1))/2 = 3 nats, and held out ((1 - 0) + (2 - 1))/2 = 1: n (3 - 1) nats."""
    sigmas = torch.tensor([1.0, 1.0]).double().exp() ** torch.tensor([0.0, 1.0]).double()

    def errors(*integrand):
        return (torch.tensor(integrand).double() * sigmas.square()).reshape(1, 2, 1).expand(4, 2, 1)

    found = bits_memorized(
        errors(1, 1), {"a": errors(3, 2), "b": errors(2, 5)},
        errors(0, 1), {"b": errors(4, 2), "a": errors(1, 9)}, sigmas, n_unique=10,
    )  # fmt: skip
    assert found.reference == ["a", "b"]
    assert found.value == pytest.approx(10 * 2 / log(2), rel=1e-12)


def test_images_below_the_reference_count_as_0():
    """Gains of +2 and -6 nats: 2 + 0, not -4; held-out gains of -1: nothing to take off."""
    sigmas = torch.tensor([1.0, 2.0]).double() ** (1 / log(2))
    model, reference = torch.tensor([-2.0, 6.0]), torch.zeros(2)
    flat = [v.double().reshape(-1, 1, 1) * sigmas.square().reshape(2, 1) for v in (model, reference, torch.ones(2))]
    found = bits_memorized(flat[0], {"r": flat[1]}, flat[2], {"r": flat[1]}, sigmas, n_unique=2)
    assert found.value == pytest.approx(2 / log(2), rel=1e-12)


def test_weights_stand_for_the_images_not_measured():
    """3 images of weight 1 with 5 nats, 2 of weight 10 with 1 nat, held out 0: 3 x 5 + 20 x 1 nats."""
    weight = torch.tensor([1.0, 1, 1, 10, 10])
    seen, held = torch.tensor([5.0, 5, 5, 1, 1]), torch.zeros(7)
    assert bits_optimism(seen, held, 23, weight).value == pytest.approx(35 / log(2), rel=1e-6)


def test_run_at_its_own_best_gains_nothing(digits):
    """The model is the reference at every level: 0, known without error."""
    (seen, held), sigmas = of_digits(LinearDenoiser(digits[:64], torch.ones(64)), digits)
    found = bits_memorized(
        seen, {"minimum": seen, "zero": seen + 1}, held, {"minimum": held, "zero": held + 1}, sigmas, n_unique=64
    )
    assert found[:2] == (0, 0) and set(found.reference) == {"minimum"}


@pytest.mark.parametrize("n", [50, 200])
def test_optimism_of_a_regular_fit_is_a_nat_a_parameter(n):
    """K30: Gaussian mean by maximum likelihood, d 8: d/ln 2 = 11.54 bits without a single image copied.

    bits_optimism measures one fit on one hold-out of 500; 2,000 fits, within 3 SE of them; its SE covers 90 %."""
    rng = torch.Generator().manual_seed(n)
    pairs = []
    for _ in range(2000):
        seen, held = torch.randn(n, 8, generator=rng).double(), torch.randn(500, 8, generator=rng).double()
        mean = seen.mean(dim=0)
        pairs.append(bits_optimism(*(-(x - mean).square().sum(dim=1) / 2 for x in (seen, held)), n))
    value, se = torch.tensor(pairs).T
    assert float(value.mean()) == pytest.approx(8 / log(2), abs=3 * float(value.std()) / 2000**0.5)
    covered = ((value - 8 / log(2)).abs() < Z90 * se).double().mean()
    assert float(covered) == pytest.approx(0.9, abs=0.03)


def test_a_reference_that_diverged_is_never_the_best():
    sigmas = density_sigmas(0.1, 4)
    ones = torch.ones(3, 4, 1)
    found = bits_memorized(
        ones, {"lost": ones * torch.nan, "kept": 2 * ones}, ones, {"lost": ones * torch.nan, "kept": 2 * ones}, sigmas,
        n_unique=3,
    )  # fmt: skip
    assert found.reference == ["kept"] * 4 and found.value == 0  # the held-out images gained as much


def test_a_model_that_diverged_has_no_number():
    sigmas, ones = density_sigmas(0.1, 4), torch.ones(3, 4, 1)
    found = bits_memorized(ones * torch.nan, {"r": ones}, ones, {"r": ones}, sigmas, n_unique=3)
    assert found.value != found.value


def test_references_measured_elsewhere_are_refused():
    sigmas, ones = density_sigmas(0.1, 4), torch.ones(3, 4, 1)
    with pytest.raises(ValueError, match=r"references \[\] of training"):
        bits_memorized(ones, {}, ones, {}, sigmas, n_unique=3)
    with pytest.raises(ValueError, match=r"references \['a'\] of training and \['b'\]"):
        bits_memorized(ones, {"a": ones}, ones, {"b": ones}, sigmas, n_unique=3)
    with pytest.raises(ValueError, match=r"reference a: errors of \(2, 4\) images x levels, the model has \(3, 4\)"):
        bits_memorized(ones, {"a": ones}, ones, {"a": ones[:2]}, sigmas, n_unique=3)
