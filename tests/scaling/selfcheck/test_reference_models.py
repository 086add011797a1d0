"""The reference models against their own densities: Tweedie's formula by automatic differentiation, and their draws."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import IdealDenoiser
from scaling.diffusion.sampler import heun, karras_sigmas
from scaling.memorization.criteria import MEMORIZED, gap_ratio
from scaling.selfcheck.reference_models import Copier, Generalizer, HalfCopier

MU = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)
UNIQUE = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mixture(weights: Tensor, means: Tensor, variances: Tensor) -> Callable[[Tensor], Tensor]:
    """log density of sum_k weights[k] N(means[k], variances[k] I)."""
    parts = Independent(Normal(means, variances.sqrt()[:, None].expand_as(means)), 1)
    return MixtureSameFamily(Categorical(weights), parts).log_prob


def noisy_density(model: Generalizer | HalfCopier, sigma: float) -> Callable[[Tensor], Tensor]:
    """log density of the model's images after noise sigma, written from the definition."""
    v, s2 = model.spread**2 + sigma**2, sigma**2
    if isinstance(model, Generalizer):
        mu = model.mu.flatten()
        return mixture(torch.tensor([0.5, 0.5]).double(), torch.stack([mu, -mu]), torch.tensor([v, v]).double())
    u = model.unique.flatten(1)
    weights = torch.cat([torch.full((len(u),), 0.5 / len(u)), torch.tensor([0.5])]).double()
    return mixture(weights, torch.cat([u, 0 * u[:1]]), torch.tensor([s2] * len(u) + [v]).double())


MODELS = [Generalizer(MU), Generalizer(MU, spread=0.4), HalfCopier(UNIQUE), HalfCopier(UNIQUE, spread=0.4)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{type(model).__name__} {model.spread}")
def test_tweedie(model):
    """D(x; sigma) = x + sigma^2 grad ln p(x; sigma) (Robbins 1956), the gradient by autograd."""
    for sigma in (0.1, 0.5, 2.0, 20.0):
        x = (UNIQUE + sigma * torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))).requires_grad_()
        (gradient,) = torch.autograd.grad(noisy_density(model, sigma)(x.flatten(1)).sum(), x)
        found = model(x.detach(), torch.full((5,), sigma).double())
        torch.testing.assert_close(found, (x + sigma**2 * gradient).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{type(model).__name__} {model.spread}")
def test_draws_are_those_of_the_density(model):
    """The error of a posterior mean is uncorrelated with every function of what it saw: of y and of tanh(3 y)."""
    images = model.draw(torch.arange(40_000))
    for sigma in (0.3, 1.5):
        y = images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
        error = images - model(y, torch.full((len(y),), sigma).double())
        for function in (y, torch.tanh(3 * y)):
            products = (error * function).flatten(1).sum(dim=1)
            assert abs(float(products.mean())) < 4 * float(products.std()) / len(y) ** 0.5


def test_draws_by_moments():
    """Generalizer: mean 0, E|x|^2 = |mu|^2 + d s^2; half copier: half of the draws are training images, all of them."""
    images = Generalizer(MU, spread=0.5).draw(torch.arange(20_000)).flatten(1)
    assert float(images.mean(dim=0).abs().max()) < 4 * (1 + 0.25) ** 0.5 / 20_000**0.5
    assert float(images.square().sum(dim=1).mean()) == pytest.approx(float(MU.square().sum()) + 16 * 0.25, rel=0.01)
    drawn = HalfCopier(UNIQUE).draw(torch.arange(20_000)).flatten(1)
    equal = (drawn[:, None] == UNIQUE.flatten(1)).all(dim=2).sum(dim=0)
    assert all(abs(int(count) - 2000) < 4 * 1800**0.5 for count in equal)
    torch.testing.assert_close(HalfCopier(UNIQUE).draw(torch.tensor([7])).flatten(1), drawn[7:8])


@pytest.mark.parametrize("model", [Generalizer(0 * MU), HalfCopier(UNIQUE[:1])])
def test_draws_are_not_what_samples_start_from(model):
    """Image b of a population would resemble sample b, and a generalizer would seem to have memorized it."""
    start = normals(CONSTANT, "sample", torch.arange(2000), 16)
    drawn = model.draw(torch.arange(2000)).flatten(1)
    assert abs(float(torch.corrcoef(torch.stack([start.flatten().double(), drawn.flatten()]))[0, 1])) < 0.03


def test_the_half_copier_is_half_memorized_and_the_generalizer_is_not():
    """measures.md, section 5: .466 of 4,000 samples with 18 Heun steps, d 16, n 32; the generalizer as its null."""
    images = Generalizer(0 * MU).draw(torch.arange(64))
    noise = 80 * normals(1, "sample", torch.arange(4000), 16).reshape(-1, 1, 4, 4).double()

    def memorized(model, searched: Tensor) -> float:
        samples = heun(model, noise, karras_sigmas(18)).flatten(1)
        return float((gap_ratio(samples, searched.flatten(1)).ratio < MEMORIZED).double().mean())

    half = HalfCopier(images[:32])
    assert abs(memorized(half, images[:32]) - 0.466) < 3 * (0.25 / 4000) ** 0.5
    assert memorized(half, images[32:]) < 0.001 and memorized(Generalizer(0 * MU), images[:32]) < 0.001


def test_the_copier_is_the_ideal_denoiser_and_all_keep_dtype_and_shape():
    assert Copier is IdealDenoiser
    for model in (Copier(UNIQUE, torch.ones(5)), *MODELS):
        made = model(UNIQUE[:3].float(), torch.ones(3), torch.zeros(3, dtype=torch.int64))
        assert made.dtype == torch.float32 and made.shape == (3, 1, 4, 4)
