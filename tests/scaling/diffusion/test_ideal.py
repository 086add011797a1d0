from math import inf, log, tanh

import pytest
import torch
from sklearn.datasets import load_digits

from scaling.diffusion import ideal as module
from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser, collapse_sigma, covariance_eigenvalues


def flat(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 1, 1, -1)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return torch.tensor(load_digits().data / 8 - 1).reshape(-1, 1, 8, 8)


@pytest.mark.parametrize(
    ("sigma", "copies", "expected"),
    [(1.0, (1, 1), 0.462117), (1.0, (3, 1), 0.781536), (0.5, (1, 1), 0.964028), (0.5, (3, 1), 0.987864)],
)
def test_two_images_give_tanh(sigma: float, copies: tuple[int, int], expected: float):
    """K9: +1 and -1 on a line, x = .5: tanh(x/sigma^2 + ln(r)/2); duplication moves the boundary."""
    found = IdealDenoiser(flat((1.0,), (-1.0,)), torch.tensor(copies))(flat((0.5,)), torch.tensor([sigma]).double())
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert found.item() == pytest.approx(tanh(0.5 / sigma**2 + log(copies[0] / copies[1]) / 2), abs=1e-14)


@pytest.mark.parametrize(
    ("sigma", "expected"), [(1.0, (0.116312, 0.531363)), (2.0, (1.214601, 0.850940)), (inf, (2.0, 0.75))]
)
def test_three_images_in_the_plane(sigma: float, expected: tuple[float, float]):
    """K9b: (0,0) (4,0) (0,3) with copies 1 2 1, x (1,1)."""
    copier = IdealDenoiser(flat((0, 0), (4, 0), (0, 3)), torch.tensor([1, 2, 1]))
    found = copier(flat((1, 1)), torch.tensor([sigma]).double()).flatten()
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_blocks_levels_and_dtypes_give_the_formula(digits: torch.Tensor, monkeypatch: pytest.MonkeyPatch):
    """Against the plain softmax of differences in float64, at levels down to .002 where exp underflows."""
    unique, copies = digits[:50], torch.arange(1, 51)
    sigma = torch.tensor([0.002, 0.1, 1.0, 80.0]).double()
    x = digits[100:104] + sigma.reshape(-1, 1, 1, 1) * torch.randn(
        4, 1, 8, 8, generator=torch.Generator().manual_seed(0)
    )
    squared = (x.flatten(1)[:, None] - unique.flatten(1)).square().sum(dim=2)
    weights = (copies.double().log() - squared / (2 * sigma[:, None] ** 2)).softmax(dim=1)
    expected = (weights @ unique.flatten(1)).reshape(x.shape)
    torch.testing.assert_close(IdealDenoiser(unique, copies)(x, sigma), expected, rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(module, "BLOCK", 300)  # a few images at a time
    torch.testing.assert_close(IdealDenoiser(unique, copies)(x, sigma), expected, rtol=1e-9, atol=1e-9)
    single = IdealDenoiser(unique.float(), copies)(x.float(), sigma.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=2e-4)


def test_copies_as_list_entries_or_weights_are_equal(digits: torch.Tensor):
    copies, sigma = torch.tensor([1, 3, 2, 7]), torch.full((20,), 0.9).double()
    x = digits[10:30] + 0.9 * torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    listed = digits[:4].repeat_interleave(copies, dim=0)
    for kind in (IdealDenoiser, LinearDenoiser):
        found = kind(digits[:4], copies)(x, sigma)
        torch.testing.assert_close(found, kind(listed, torch.ones(13))(x, sigma), rtol=1e-9, atol=1e-9)


def test_labels_restrict_the_posterior(digits: torch.Tensor, monkeypatch: pytest.MonkeyPatch):
    """The copier of class c is the copier of the images of class c; unique labels give the image itself for every x."""
    labels, copies = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([1, 2, 3, 4, 5])
    x, sigma = digits[40:42], torch.full((2,), 2.0).double()
    expected = torch.cat(
        [IdealDenoiser(digits[:5][labels == c], copies[labels == c])(x[c : c + 1], sigma[:1]) for c in (0, 1)]
    )
    for block in (module.BLOCK, 66):  # 66: one image a block, the first of a label may come late
        monkeypatch.setattr(module, "BLOCK", block)
        found = IdealDenoiser(digits[:5], copies, labels)(x, sigma, torch.tensor([0, 1]))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    one_each = IdealDenoiser(digits[:5], copies, torch.arange(5))
    torch.testing.assert_close(one_each(x, sigma, torch.tensor([3, 1])), digits[[3, 1]])
    with pytest.raises(ValueError, match="label 7: no training image"):
        one_each(x, sigma, torch.tensor([3, 7]))
    with pytest.raises(ValueError, match="labels missing"):
        one_each(x, sigma)


def test_images_without_copies_are_refused(digits: torch.Tensor):
    with pytest.raises(ValueError, match="1 below 1"):
        IdealDenoiser(digits[:3], torch.tensor([1, 0, 2]))


@pytest.mark.parametrize("n", [40, 100])  # fewer and more images than pixels: two ways to the eigenvectors
def test_linear_denoiser_solves_the_normal_equations(digits: torch.Tensor, n: int):
    unique, copies, sigma = digits[:n], torch.arange(1, n + 1), torch.tensor([0.05, 0.5, 5.0]).double()
    x, rows, share = digits[1000:1003], unique.flatten(1), (copies.double() / copies.sum())[:, None]
    mean = (share * rows).sum(dim=0)
    covariance = (share * (rows - mean)).T @ (rows - mean)
    expected = torch.stack(
        [
            mean + covariance @ torch.linalg.solve(covariance + s**2 * torch.eye(64).double(), y - mean)
            for y, s in zip(x.flatten(1), sigma, strict=True)
        ]
    ).reshape(x.shape)
    torch.testing.assert_close(LinearDenoiser(unique, copies)(x, sigma), expected, rtol=1e-9, atol=1e-9)


def test_collapse_level_of_a_gaussian():
    """K11c: closed form s0/sqrt(n^(2/d) - 1); there the own image weighs .58 and .55 in its posterior, at 2 sigma_c .05
    and .02."""
    rng = torch.Generator().manual_seed(0)
    for d, n, expected, at_sigma_c, at_double in [(64, 256, 2.299, 0.58, 0.05), (1024, 1024, 8.565, 0.55, 0.02)]:
        sigma_c = collapse_sigma(torch.ones(d), n)
        assert sigma_c == pytest.approx(expected, abs=0.001)
        assert collapse_sigma(4 * torch.ones(d), n) == pytest.approx(2 / (n ** (2 / d) - 1) ** 0.5, rel=1e-9)
        for sigma, weight in ((sigma_c, at_sigma_c), (2 * sigma_c, at_double)):
            own = []
            for _ in range(max(1, 4000 // n)):
                images = torch.randn(n, d, generator=rng)
                noisy = images + sigma * torch.randn(n, d, generator=rng)
                logits = -torch.cdist(noisy, images).square() / (2 * sigma**2)
                own.append(logits.softmax(dim=1).diagonal())
            assert float(torch.cat(own).mean()) == pytest.approx(weight, abs=0.03)


def test_collapse_level_of_digits_solves_its_equation(digits: torch.Tensor):
    """n 64, 256, 1,024: 1.31 1.09 .94, from the eigenvalues of the source's covariance."""
    eigenvalues = covariance_eigenvalues(digits)
    for n, expected in [(64, 1.31), (256, 1.09), (1024, 0.94)]:
        sigma_c = collapse_sigma(eigenvalues, n)
        assert sigma_c == pytest.approx(expected, abs=0.01)
        assert float((1 + eigenvalues / sigma_c**2).log().sum()) / 2 == pytest.approx(log(n), rel=1e-9)
    few = covariance_eigenvalues(digits[:10])
    torch.testing.assert_close(few.sum(), digits[:10].flatten(1).var(dim=0, correction=0).sum())
    one_direction = collapse_sigma(torch.tensor([4.0, 0.0]), 2)
    assert log(1 + 4 / one_direction**2) / 2 == pytest.approx(log(2), rel=1e-9)


def test_a_collapse_level_needs_two_images_that_differ():
    with pytest.raises(ValueError, match="n_unique=1"):
        collapse_sigma(torch.ones(3), 1)
    with pytest.raises(ValueError, match="largest eigenvalue 0"):
        collapse_sigma(torch.zeros(3), 5)
