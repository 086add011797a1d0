from collections.abc import Callable
from math import log, pi

import pytest
import torch
from einops import rearrange
from scipy.stats import spearmanr
from torch import Tensor

from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.fields import ModelConfig, SigmaConfig
from scaling.memorization.gradients import projected_gradients
from scaling.memorization.leverage import (
    block_left_out,
    default_ridge,
    effective_dof,
    left_out_residual,
    leverage,
    ridge_hat,
)
from scaling.memorization.losses import evaluation_noise, evaluation_sigmas
from scaling.models.ladder import build

SIGMAS = evaluation_sigmas(SigmaConfig(), 8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ridge(X: Tensor, Y: Tensor, lam: float) -> Tensor:
    """The refit, by normal equations: X [n q], Y [n d] -> [q d]."""
    return torch.linalg.solve(X.T @ X + lam * torch.eye(X.shape[1], dtype=X.dtype), X.T @ Y)


def assert_refits(X: Tensor, Y: Tensor, group: Tensor, lam: float, tolerance: float) -> None:
    """The residuals of each group's rows under a refit without them are those of the hat matrix of the fit to all."""
    H, e = ridge_hat(X, lam), Y - X @ ridge(X, Y, lam)
    torch.testing.assert_close(Y - H @ Y, e, rtol=0, atol=tolerance)
    for own in group[None] == group.unique()[:, None]:
        refitted = Y[own] - X[own] @ ridge(X[~own], Y[~own], lam)
        torch.testing.assert_close(block_left_out(e[own], H[own][:, own]), refitted, rtol=0, atol=tolerance)


def noisy_rows(images: Tensor) -> Tensor:
    """[N C H W] -> [N J D]: the images under evaluation noise."""
    draws = [evaluation_noise(torch.arange(len(images)), j, images.shape[1:]) for j in range(len(SIGMAS))]
    noise = torch.stack(draws, dim=1).to(images)
    return rearrange(images[:, None] + rearrange(SIGMAS, "j -> j 1 1 1") * noise, "n j c h w -> n j (c h w)")


def mlp(width: int, n_labels: int = 0) -> Denoiser:
    network = build(ModelConfig(family="mlp", width=width), image_size=8, channels=1, n_labels=n_labels, seed=0)
    return Denoiser(network, mean=-0.389, sigma_data=0.752)


@pytest.fixture(scope="module")
def trained(digits) -> Denoiser:
    """An mlp of width 16 after 300 steps on the first 128 digits, image i with 2^(i mod 4) copies."""
    model, rng = mlp(16), torch.Generator().manual_seed(0)
    rows = torch.arange(128).repeat_interleave(2 ** (torch.arange(128) % 4))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(300):
        clean = digits[rows[torch.randint(len(rows), (64,), generator=rng)]]
        sigma = (1.2 * torch.randn(64, generator=rng) - 1.2).exp()
        noisy = clean + rearrange(sigma, "b -> b 1 1 1") * torch.randn(clean.shape, generator=rng)
        optimizer.zero_grad()
        weighted_loss(model(noisy, sigma), clean, sigma, 0.752).mean().backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def gradients(trained, digits) -> Callable[[int], Tensor]:
    """features -> [128 q]."""
    return lambda features: projected_gradients(
        trained, digits[:128], None, torch.arange(128), SIGMAS, features=features
    )


def test_four_equal_rows_leave_together():
    """K29: least squares, an image with 4 equal rows: refit without the group = e/(1 - 4h), to 1e-12."""
    other, own, y_other, y_own = normal(20, 5), normal(5, seed=1), normal(20, 3, seed=2), normal(3, seed=3)
    X, Y = torch.cat([other, own.expand(4, 5)]), torch.cat([y_other, y_own.expand(4, 3)])
    refitted = y_own - own @ ridge(other, y_other, 0)
    e, H = y_own - own @ ridge(X, Y, 0), ridge_hat(X, 0)
    torch.testing.assert_close(e / (1 - 4 * H[-1, -1]), refitted, rtol=0, atol=1e-12)
    h = leverage(torch.cat([other, own[None]]), torch.tensor([1] * 20 + [4]), 0)
    torch.testing.assert_close(left_out_residual(e[None], h[-1:])[0], refitted, rtol=0, atol=1e-12)
    assert float((e / (1 - H[-1, -1]) - refitted).abs().max()) > 0.01  # leaving one of its copies is something else


def test_the_ridge_denoiser_refitted_without_an_image(digits):
    """K29: 30 images x 4 draws, lam .3, targets the clean images: (I - H_ii)^-1 e_i, to 1e-12."""
    clean = digits[:30].double()
    noisy = noisy_rows(clean)[:, ::2]
    X, Y = noisy.flatten(0, 1), clean.flatten(1).repeat_interleave(4, dim=0)
    assert_refits(X, Y, torch.arange(30).repeat_interleave(4), 0.3, 1e-12)


def test_the_linear_denoiser_refitted_without_an_image_and_its_copies(digits):
    """100 digits, one noisy row each, 1 to 8 copies: e/(1 - h) of the grouped leverage equals every refit to 1e-6."""
    clean, copies = digits[:100].double(), 2 ** (torch.arange(100) % 4)
    X, Y = torch.cat([noisy_rows(clean)[:, 4], torch.ones(100, 1)], dim=1), clean.flatten(1)
    image = torch.arange(100).repeat_interleave(copies)
    found = left_out_residual(Y - X @ ridge(X[image], Y[image], 0.01), leverage(X, copies, 0.01))
    for i in range(100):
        refitted = Y[i] - X[i] @ ridge(X[image[image != i]], Y[image[image != i]], 0.01)
        torch.testing.assert_close(found[i], refitted, rtol=0, atol=1e-6)


def test_the_mlp_s_last_layer_refitted_without_an_image(trained, digits):
    """Ridge on the hidden vectors [a, 1] of 8 draws an image, targets those of the network's output F: brute force
    refits without the image and its copies to 1e-6. At that optimum the projected gradients sum to the ridge's pull:
    lambda c_out^2 = 1, so that sum_i r_i dL_i/dW = -2 lam W / (J d)."""
    lam, clean, copies = 0.5, digits[:24].double(), 1 + torch.arange(24) % 3
    model = mlp(16)
    model.load_state_dict(trained.state_dict())
    model.double()
    hidden = []
    hook = model.network.last.register_forward_hook(lambda layer, inputs, output: hidden.append(inputs[0].detach()))
    noisy, at = noisy_rows(clean), SIGMAS.repeat(24)
    model(noisy.reshape(-1, 1, 8, 8), at)
    hook.remove()
    X = torch.cat([hidden[0], torch.ones(len(at), 1)], dim=1)
    s, centred = at[:, None], noisy.flatten(0, 1) - model.mean
    norm = (s**2 + 0.752**2).sqrt()
    target = clean.flatten(1).repeat_interleave(8, dim=0) - model.mean - (0.752 / norm) ** 2 * centred
    Y = target * norm / (s * 0.752)
    image = torch.arange(24).repeat_interleave(8)
    row = torch.arange(len(image)).repeat_interleave(copies[image])
    assert_refits(X[row], Y[row], image[row], lam, 1e-6)

    W = ridge(X[row], Y[row], lam)
    model.network.last.weight.data, model.network.last.bias.data = W[:-1].T, W[-1]
    phi = projected_gradients(model, clean, None, torch.arange(24), SIGMAS, features=10**6, layer="last")
    pull = -2 * lam / (8 * 64) * torch.cat([W[:-1].T.flatten(), W[-1]])
    torch.testing.assert_close(copies.double() @ phi, pull, rtol=0, atol=1e-5)
    assert float(pull.abs().max()) > 1e-3


def test_in_the_gaussian_mean_model_the_score_is_leverage():
    """K26: image with r of N rows, M = ||e||^2/(2 s^2) ((N/(N - r))^2 - 1) = ||e||^2/(2 s^2) [(1 - h)^-2 - 1]."""
    u, copies, s, d = normal(12, 3), 1 + torch.arange(12) % 5, 0.7, 3
    N, constant = float(copies.sum()), -(d / 2) * log(2 * pi * s**2)
    h = leverage(torch.ones(12, 1), copies, 0)
    torch.testing.assert_close(h, copies.double() / N, rtol=1e-12, atol=0)
    e = u - copies.double() @ u / N
    by_leverage = e.square().sum(1) / (2 * s**2) * ((1 - h) ** -2 - 1)
    for i, r in enumerate(copies.tolist()):
        kept = copies.double() * (torch.arange(12) != i)
        without = u[i] - kept @ u / kept.sum()
        L_in, L_out = (constant - residual.square().sum() / (2 * s**2) for residual in (e[i], without))
        formula = e[i].square().sum() / (2 * s**2) * ((N / (N - r)) ** 2 - 1)
        assert float(L_in - L_out) == pytest.approx(float(formula), rel=1e-12)
        assert float(by_leverage[i]) == pytest.approx(float(formula), rel=1e-12)
        torch.testing.assert_close(left_out_residual(e, h)[i], without, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_leverage_is_its_formula_in_either_form(shape):
    """By the inverse [q q], by the dual [N N], and after any rotation of the features; sum h is the trace."""
    phi, copies, lam = normal(*shape), 1 + torch.arange(shape[0]) % 4, 0.6
    r, (n, q) = copies.double(), shape
    h = leverage(phi, copies, lam)
    A = phi.T @ (r[:, None] * phi)
    inverse = torch.linalg.inv(A + lam * torch.eye(q, dtype=A.dtype))
    torch.testing.assert_close(h, r * torch.einsum("nq,qp,np->n", phi, inverse, phi), rtol=1e-10, atol=0)
    K = r.sqrt()[:, None] * (phi @ phi.T) * r.sqrt()
    dual = (K @ torch.linalg.inv(K + lam * torch.eye(n, dtype=K.dtype))).diagonal()
    torch.testing.assert_close(h, dual, rtol=1e-10, atol=0)
    rotation = torch.linalg.qr(normal(q, q, seed=1)).Q
    torch.testing.assert_close(h, leverage(phi @ rotation, copies, lam), rtol=1e-10, atol=0)
    assert effective_dof(h) == pytest.approx(float((A @ inverse).trace()), rel=1e-10)
    assert (h > 0).all() and (h < 1).all()


def test_copies_are_equal_rows_and_the_scale_of_the_gradients_does_not_matter():
    phi, copies = normal(15, 6), 1 + torch.arange(15) % 4
    image = torch.arange(15).repeat_interleave(copies)
    single, h = leverage(phi[image], torch.ones(len(image)), 0.3), leverage(phi, copies, 0.3)
    torch.testing.assert_close(single, (h / copies)[image], rtol=1e-10, atol=0)
    torch.testing.assert_close(single, ridge_hat(phi[image], 0.3).diagonal(), rtol=1e-10, atol=0)
    assert (single < 1 / copies[image]).all()

    lam = default_ridge(phi, copies)
    scaled = leverage(1e-4 * phi, copies, default_ridge(1e-4 * phi, copies))
    torch.testing.assert_close(scaled, leverage(phi, copies, lam), rtol=1e-10, atol=0)
    eigenvalues = torch.linalg.eigvalsh(phi.T @ (copies[:, None] * phi))
    assert lam == pytest.approx(float(eigenvalues.mean()) / 10, rel=1e-12)
    wide = normal(6, 50)
    assert default_ridge(wide, torch.ones(6)) == pytest.approx(float((wide @ wide.T).trace()) / 60, rel=1e-12)


def test_a_weighted_subset_stands_for_its_stratum():
    """Every image three times over, measured on one in three: each has the leverage it has among all."""
    phi, copies = normal(10, 4), 1 + torch.arange(10) % 2
    whole = leverage(phi.repeat(3, 1), copies.repeat(3), 0.2)
    torch.testing.assert_close(leverage(phi, copies * 3.0, 0.2) / 3, whole[:10], rtol=1e-10, atol=0)


def test_sketched_leverage_ranks_as_the_exact_one(gradients):
    """A trained mlp of 2,704 weights: leverage of gradients sketched to 512 features against those of all weights.
    Without copies in the formula, which would order them alike by themselves; measured .98."""
    exact, sketched = gradients(10**6), gradients(512)
    assert exact.shape == (128, 2704) and sketched.shape == (128, 512)
    ones = torch.ones(128)
    h = [leverage(phi, ones, default_ridge(phi, ones)) for phi in (exact, sketched)]
    assert spearmanr(*h).statistic > 0.95
    assert effective_dof(h[1]) == pytest.approx(effective_dof(h[0]), rel=0.05)


def test_a_decade_of_lam_moves_the_degrees_of_freedom_but_hardly_the_ranks(gradients):
    """The trap of measures.md 2.9, on a trained mlp: 1, .1 and .01 of the mean eigenvalue."""
    phi, ones = gradients(512), torch.ones(128)
    lam = default_ridge(phi, ones)
    large, default, small = (leverage(phi, ones, lam * factor) for factor in (10, 1, 0.1))
    assert effective_dof(large) < 0.6 * effective_dof(default) < 0.6 * effective_dof(small)
    assert spearmanr(large, default).statistic > 0.95 and spearmanr(default, small).statistic > 0.95


def test_leverage_knows_nothing_of_permuted_scores(gradients):
    """Null of measures.md 2.9: rank correlation with 400 permutations of the scores has mean 0 and sd 1/sqrt(N - 1)."""
    phi, copies = gradients(512), 2 ** (torch.arange(128) % 4)
    h = leverage(phi, copies, default_ridge(phi, copies))
    assert spearmanr(h, copies).statistic > 0.8  # a score made of the copies is known
    rng = torch.Generator().manual_seed(0)
    found = torch.tensor([spearmanr(h, copies[torch.randperm(128, generator=rng)]).statistic for _ in range(400)])
    assert abs(found.mean()) < 3 / (127 * 400) ** 0.5
    assert float(found.std()) == pytest.approx(127**-0.5, rel=0.12)


def test_what_has_no_leverage_is_refused():
    phi, ones = normal(5, 3), torch.ones(5)
    broken = phi.clone()
    broken[2, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 images are not finite"):
        leverage(broken, ones, 0.1)
    with pytest.raises(ValueError, match="1 of 5 images are not finite"):
        default_ridge(broken, ones)
    with pytest.raises(ValueError, match="gradients of all 5 images are 0"):
        default_ridge(torch.zeros(5, 3), ones)
    with pytest.raises(ValueError, match="copies=0"):
        leverage(phi, torch.tensor([1, 1, 0, 1, 1]), 0.1)
    with pytest.raises(ValueError, match="2 rows determine 2 of 3 features"):
        leverage(phi[:2], ones[:2], 0)
    with pytest.raises(ValueError, match="lam=-1"):
        ridge_hat(phi, -1)
    with pytest.raises(ValueError, match="h=1"):
        left_out_residual(phi, torch.tensor([0.5, 1, 0.5, 0.5, 0.5]))
