from itertools import pairwise

import pytest
import torch

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import LinearDenoiser
from scaling.diffusion.sampler import karras_sigmas
from scaling.memorization.filling import KEYS, SLOTS, fill, noise_keys

SIGMAS = karras_sigmas(8)


def top(images, rows=3):
    """bool [N 1 H W]: the first rows are known."""
    known = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    known[:, :, :rows] = True
    return known


def linear(digits):
    """A denoiser in which every pixel depends on every other."""
    return LinearDenoiser(digits[:200], torch.ones(200))


def test_one_round_is_plain_replacement(digits):
    """A second implementation in a few lines, float64: known pixels replaced before each Heun step, nothing else."""
    prompt, known, keys, denoiser = digits[300:304], top(digits[300:304]), torch.tensor([3, 7, 2048, 9]), linear(digits)

    def noise(step):
        index = (keys * 1024 + step) * 1024
        return normals(CONSTANT, "prompt", index, 64).double().reshape(4, 1, 8, 8)

    x = SIGMAS[0] * noise(0)
    for step, (s, t) in enumerate(pairwise(SIGMAS)):
        x[known] = (prompt + s * noise(step))[known]
        d = (x - denoiser(x, s.expand(4))) / s
        y = x + (t - s) * d
        x = y if t == 0 else x + (t - s) * (d + (y - denoiser(y, t.expand(4))) / t) / 2
    x[known] = prompt.double()[known]
    found = fill(denoiser, prompt, known, SIGMAS, rounds=1, keys=keys)
    torch.testing.assert_close(found.double(), x.clamp(-1, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_completions_of_gaussian_data_have_the_law_of_the_recursion(rounds):
    """Two correlated pixels, the first known. D = C (C + sigma^2)^-1 x is linear, so each step is a 2x2 matrix A.
    The second pixel's mean and variance follow m <- A10 p + A11 m, v <- A10^2 sigma^2 + A11^2 (v + lift^2), where
    lift^2 = sigma_i^2 - sigma_(i+1)^2 before every round but the first."""
    p, n = 0.2, 40_000
    c = 0.2**2 * torch.tensor([[1, 0.8], [0.8, 1]], dtype=torch.float64)
    one = torch.eye(2, dtype=torch.float64)

    def of(sigma):
        return c @ torch.linalg.inv(c + sigma**2 * one)

    m, v = torch.zeros(()), SIGMAS[0] ** 2
    for s, t in pairwise(SIGMAS):
        slope = (one - of(s)) / s
        euler = one + (t - s) * slope
        a = euler if t == 0 else one + (t - s) * (slope + (one - of(t)) / t @ euler) / 2
        for turn in range(rounds):
            lift2 = s**2 - t**2 if turn else 0.0
            m, v = a[1, 0] * p + a[1, 1] * m, a[1, 0] ** 2 * s**2 + a[1, 1] ** 2 * (v + lift2)

    def denoiser(x, sigma, labels):
        return (x.flatten(1).double() @ of(float(sigma[0])).T).to(x).reshape(x.shape)

    prompt = torch.full((n, 1, 1, 2), p)
    known = torch.tensor([True, False]).expand(n, 1, 1, 2)
    made = fill(denoiser, prompt, known, SIGMAS, rounds=rounds, keys=torch.arange(n), batch_size=n)[:, 0, 0, 1].double()
    assert abs(made.mean() - m) < 3 * (v / n) ** 0.5
    assert abs(made.var() / v - 1) < 3 * (2 / n) ** 0.5


def test_known_pixels_are_the_prompt_and_the_others_never_read_it(digits):
    prompt, known = digits[300:305], top(digits[300:305])
    made = fill(linear(digits), prompt, known, SIGMAS, rounds=2, keys=torch.arange(5))
    assert torch.equal(made[known], prompt[known])
    assert made.abs().max() <= 1 and not torch.equal(made, prompt)
    hidden = torch.where(known, prompt, torch.nan)
    assert torch.equal(fill(linear(digits), hidden, known, SIGMAS, rounds=2, keys=torch.arange(5)), made)
    wide = fill(lambda x, s, labels: x * 0 + 3, prompt, known, SIGMAS, rounds=2, keys=torch.arange(5))
    assert (wide[~known] == 1).all()


def test_bits_do_not_depend_on_the_batch():
    """3 channels, masks and labels of each image's own; noise is keyed by what the image is, not by where it stands."""
    rng = torch.Generator().manual_seed(0)
    prompt, labels, keys = torch.rand(11, 3, 5, 4, generator=rng), torch.arange(11), torch.arange(11) * 977
    known = torch.rand(11, 1, 5, 4, generator=rng) < 0.5

    def denoiser(x, sigma, given):  # of single pixels and of their mean over the channels
        scale = (1 / (1 + sigma**2) * (1 + given / 20)).reshape(-1, 1, 1, 1)
        return scale * (x + x.mean(dim=1, keepdim=True)) / 2

    def made(rows, batch_size):
        return fill(
            denoiser, prompt[rows], known[rows], SIGMAS, rounds=3, keys=keys[rows], labels=labels[rows],
            batch_size=batch_size,
        )  # fmt: skip

    whole = made(torch.arange(11), 256)
    for batch_size in (1, 4, 11):
        assert torch.equal(made(torch.arange(11), batch_size), whole)
    some = torch.tensor([7, 2, 10])
    assert torch.equal(made(some, 2), whole[some])


def test_every_step_round_attempt_and_image_has_noise_of_its_own():
    """Seen by the denoiser at a known pixel: 3 steps x 2 rounds of 2 attempts at 2 images, none equal to another."""
    seen = []

    def spy(x, sigma, labels):
        seen.append((x[:, 0, 0, 0] / sigma).clone())
        return x  # slope 0: a step changes nothing, and the known pixel of a prompt of 0 is sigma eps

    prompt, known = torch.zeros(2, 1, 2, 2), top(torch.zeros(2, 1, 2, 2), 1)
    for attempt in (0, 1):
        fill(spy, prompt, known, karras_sigmas(3), rounds=2, keys=noise_keys(torch.tensor([0, 1]), attempt))
    first_calls = [
        0,
        2,
        4,
        6,
        8,
        9,
    ]  # of each step; the calls between are Heun's second ones, which the last step lacks
    assert len(seen) == 20
    assert len(torch.cat([seen[10 * attempt + call] for attempt in (0, 1) for call in first_calls]).unique()) == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, "evaluate.rounds=0"),
        ({"rounds": SLOTS + 1}, "evaluate.rounds=1025"),
        ({"sigmas": karras_sigmas(SLOTS + 1)}, "evaluate.sampler_steps=1025"),
        ({"keys": torch.tensor([0, KEYS])}, "1 of 2 keys"),
        ({"keys": torch.tensor([-1, 0])}, "1 of 2 keys"),
        ({"known": torch.ones(2, 1, 8, 8)}, "bool"),
        ({"known": torch.ones(1, 1, 8, 8, dtype=torch.bool)}, "one mask an image"),
    ],
)
def test_what_has_no_noise_or_no_mask_is_refused(digits, change, message):
    given = {"known": top(digits[:2]), "sigmas": SIGMAS, "rounds": 1, "keys": torch.arange(2)} | change
    known, sigmas = given.pop("known"), given.pop("sigmas")
    with pytest.raises(ValueError, match=message):
        fill(lambda x, s, labels: x, digits[:2], known, sigmas, **given)


@pytest.mark.parametrize("attempt", [-1, SLOTS])
def test_an_attempt_beyond_the_slots_is_refused(attempt):
    with pytest.raises(ValueError, match="attempt="):
        noise_keys(torch.arange(2), attempt)


def test_the_last_key_still_fits_into_64_bits():
    """The largest index is 2^63 - 1: it wraps nowhere."""
    assert ((KEYS - 1) * SLOTS + SLOTS - 1) * SLOTS + SLOTS - 1 == 2**63 - 1
