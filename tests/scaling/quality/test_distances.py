import pytest
import torch
from sklearn.datasets import load_digits

from scaling.diffusion.ideal import IdealDenoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.quality.distances import frechet, frechet_of_moments, kid


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1)


def test_kid_by_hand():
    """K32: q 1, {0, 1} against {2, 3}: 297.5; against itself -3.5 (the biased form gives 409 and 0)."""
    assert kid(column(0, 1), column(2, 3)).value == 297.5
    found = kid(column(0, 1), column(0, 1))
    assert found.value == -3.5 and found.se != found.se  # two images a side: no group can be left out


@pytest.mark.parametrize(
    ("v", "shift", "expected", "widths"),
    [(1, 0.0, 0.0, (1.2, 1.7)), (2, 0.0, 0.1875, (1.1, 1.6)), (1, 1.0, None, (0.85, 1.2))],
)
def test_kid_of_gaussians_and_its_error(v: float, shift: float, expected: float | None, widths: tuple[float, float]):
    """K33: q 16, 50 a side, N(0, I) against N(0, v I): 3 (v - 1)^2/q.

    The SE is about sqrt 2 too wide at the null and near it, and right far away, where single images decide.
    """
    rng = torch.Generator().manual_seed(0)
    sides = torch.randn(400, 2, 50, 16, generator=rng)
    found = [kid(x, v**0.5 * y + shift) for x, y in sides]
    values = torch.tensor([f.value for f in found])
    spread = float(values.std())
    if expected is not None:
        assert abs(float(values.mean()) - expected) < 3 * spread / 400**0.5
    width = float(torch.tensor([f.se for f in found]).square().mean().sqrt()) / spread
    assert widths[0] < width < widths[1]


def test_kid_jackknife_is_the_recomputation_without_each_group():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(47, 5, generator=rng), torch.randn(83, 5, generator=rng) + 0.3
    left = []
    for group in range(20):
        keep_x, keep_y = torch.arange(47) % 20 != group, torch.arange(83) % 20 != group
        left.append(kid(x[keep_x], y[keep_y]).value)
    left = torch.tensor(left, dtype=torch.float64)
    expected = (19 / 20 * (left - left.mean()).square().sum()).sqrt()
    assert kid(x, y).se == pytest.approx(float(expected), rel=1e-6)


def test_frechet_by_hand():
    """K34: N(0,1), N(1,4): 2; diag(1,4), diag(9,1), shift (3,4): 30; [[2,1],[1,2]], diag(1,4): .771220."""
    zero, one = torch.zeros(1), torch.ones(1, 1)
    assert frechet_of_moments(zero, one, zero + 1, 4 * one) == pytest.approx(2, abs=1e-6)
    shifted = torch.tensor([3.0, 4.0])
    diagonal = [torch.diag(torch.tensor(v)) for v in ((1.0, 4.0), (9.0, 1.0))]
    assert frechet_of_moments(torch.zeros(2), diagonal[0], shifted, diagonal[1]) == pytest.approx(30, abs=1e-6)
    full = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert frechet_of_moments(torch.zeros(2), full, torch.zeros(2), diagonal[0]) == pytest.approx(0.771220, abs=1e-6)


def test_frechet_of_features_has_ddof_1_and_is_0_against_itself():
    """{0, 2} and {1, 5}: means 1, 3, variances 2, 8: (3 - 1)^2 + (sqrt 8 - sqrt 2)^2 = 6. Rank-deficient sets too."""
    assert frechet(column(0, 2), column(1, 5)) == pytest.approx(6, abs=1e-9)
    x = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    assert frechet(x, x) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("q", "n", "expected", "studies"),
    [(1, 100, 0.0300, 4000), (16, 200, 0.840, 200), (64, 1000, 2.208, 6), (64, 2000, 1.104, 6)],
)
def test_frechet_null_is_its_bias(q: int, n: int, expected: float, studies: int):
    """K34a: two samples of one isotropic law, n a side: 2q/N + q(q + 1)/(2N)."""
    rng = torch.Generator().manual_seed(0)
    found = torch.tensor(
        [frechet(torch.randn(n, q, generator=rng), torch.randn(n, q, generator=rng)) for _ in range(studies)]
    )
    error = float(found.std()) / studies**0.5
    assert float(found.mean()) == pytest.approx(expected, abs=max(0.02 * expected, 3 * error))


def test_a_copier_scores_as_its_training_images_do():
    """Section 5: kid and frechet reward copying, so the baseline U against H is what a perfect copier reaches."""
    images = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8)
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    unique, held = images[:256], images[256:768]
    noise = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    made = sample(IdealDenoiser(unique, torch.ones(256)), noise, karras_sigmas(18)).flatten(1)
    copied, baseline = kid(made, held.flatten(1)), kid(unique.flatten(1), held.flatten(1))
    assert abs(copied.value - baseline.value) < 3 * (copied.se**2 + baseline.se**2) ** 0.5
    assert abs(baseline.value) < 3 * baseline.se
    blurred = kid(torch.nn.functional.avg_pool2d(unique, 3, 1, 1).flatten(1), held.flatten(1))
    assert blurred.value > 5 * blurred.se


def test_what_cannot_be_measured_is_refused():
    x = torch.randn(5, 3)
    with pytest.raises(ValueError, match="at least 2 images"):
        kid(x[:1], x)
    with pytest.raises(ValueError, match="equally many features"):
        frechet(x, x[:, :2])
    with pytest.raises(ValueError, match="n_nonfinite"):
        kid(x / 0, x)
