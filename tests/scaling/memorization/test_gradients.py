import copy

import pytest
import torch

from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.loss import weighted_loss
from scaling.fields import ModelConfig, SigmaConfig
from scaling.memorization.gradients import project, projected_gradients, sketch
from scaling.memorization.losses import evaluation_noise, evaluation_sigmas, image_losses
from scaling.models.ladder import build

SIGMAS = evaluation_sigmas(SigmaConfig(), 3)
POSITIONS = torch.tensor([7, 0, 3, 2000])
LABELS = torch.tensor([1, 0, 2, 1])
CPU = torch.device("cpu")


def denoiser(family: str, width: int = 4, n_labels: int = 0, **shape) -> Denoiser:
    config = ModelConfig(family=family, width=width, **shape)
    network = build(config, image_size=8, channels=1, n_labels=n_labels, seed=0)
    return Denoiser(network, mean=-0.389, sigma_data=0.752, n_labels=n_labels)


def raw_gradients(model: Denoiser, images: torch.Tensor, labels: torch.Tensor | None, **how) -> torch.Tensor:
    return projected_gradients(model, images, labels, POSITIONS, SIGMAS, features=10**9, **how)


@pytest.mark.parametrize("shape", [{"family": "mlp"}, {"family": "unet", "attention": True}])
def test_gradients_are_the_slopes_of_the_measured_losses(digits, shape):
    """Central differences of losses.image_losses, in float64, along two random directions."""
    model, images = denoiser(n_labels=3, **shape).double(), digits[:4].double()
    found = raw_gradients(model, images, LABELS)

    def losses(direction: torch.Tensor, step: float) -> torch.Tensor:
        moved = copy.deepcopy(model)
        weights = torch.nn.utils.parameters_to_vector(moved.parameters())
        torch.nn.utils.vector_to_parameters(weights + step * direction, moved.parameters())
        return image_losses(moved, images, LABELS, POSITIONS, SIGMAS, sigma_data=0.752).mean(dim=1)

    for seed in range(2):
        direction = torch.randn(found.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        slope = (losses(direction, 1e-5) - losses(direction, -1e-5)) / 2e-5
        torch.testing.assert_close(found @ direction, slope, rtol=1e-5, atol=1e-7)


def test_a_transformer_s_gradients_are_those_of_a_backward_pass(digits):
    """The sinusoidal embedding keeps it in float32: no central differences."""
    model, images = denoiser("dit"), digits[:4]
    found = raw_gradients(model, images, None)
    for image, position, gradient in zip(images, POSITIONS, found, strict=True):
        loss = 0
        for level, sigma in enumerate(SIGMAS.float()):
            noisy = image + sigma * evaluation_noise(position[None], level, image.shape)
            loss = loss + weighted_loss(model(noisy, sigma[None]), image[None], sigma[None], 0.752) / len(SIGMAS)
        model.zero_grad()
        loss.backward()
        by_hand = torch.cat([weight.grad.flatten() for weight in model.parameters()])
        torch.testing.assert_close(gradient.float(), by_hand, rtol=1e-4, atol=1e-6)


def test_the_mlp_s_last_layer_is_residual_times_hidden_vector(digits):
    """By hand: D = ... + c_out (W a + b) and lambda c_out^2 = 1, so that dL/dW is the mean of 2 (D - x)/(c_out d) a^T.

    Labelled: the embedding of the labels is registered after the last layer, but runs before it.
    """
    model, images = denoiser("mlp", n_labels=3).double(), digits[:4].double()
    found = raw_gradients(model, images, LABELS, layer="last")
    hidden = []
    hook = model.network.last.register_forward_hook(lambda layer, inputs, output: hidden.append(inputs[0].detach()))
    expected = torch.zeros(4, 64 * 4 + 64, dtype=torch.float64)
    for level, sigma in enumerate(SIGMAS):
        noisy = images + sigma * evaluation_noise(POSITIONS, level, images.shape[1:])
        residual = (model(noisy, sigma.expand(4), LABELS).detach() - images).flatten(1)
        c_out = sigma * 0.752 / (sigma**2 + 0.752**2).sqrt()
        error = 2 * residual / (c_out * 64 * len(SIGMAS))
        weight = torch.einsum("nd,na->nda", error, hidden[-1])
        expected += torch.cat([weight.flatten(1), error], dim=1)
    hook.remove()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("family", "name"), [("unet", "model.conv_out"), ("dit", "last")])
def test_the_last_layer_is_a_part_of_all(digits, family, name):
    model = denoiser(family)
    whole, last = (raw_gradients(model, digits[:4], None, layer=layer) for layer in ("all", "last"))
    parts = dict(
        zip(dict(model.named_parameters()), whole.split([w.numel() for w in model.parameters()], 1), strict=True)
    )
    expected = torch.cat([parts[f"network.{name}.weight"], parts[f"network.{name}.bias"]], dim=1)
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-7)


def test_more_weights_than_features_are_sketched_alike_in_every_batch(digits):
    """The projection is one constant sketch of the whole gradient; an image's row knows nothing of its neighbours."""
    model, images = denoiser("mlp"), digits[:4]
    whole = raw_gradients(model, images, None)
    found = projected_gradients(model, images, None, POSITIONS, SIGMAS, features=32)
    by = sketch(whole.shape[1], 32, device=CPU)
    assert torch.equal(found, torch.stack([project(row.float(), by) for row in whole]))
    split = projected_gradients(model, images, None, POSITIONS, SIGMAS, features=32, images_a_batch=3)
    alone = projected_gradients(model, images[2:3], None, POSITIONS[2:3], SIGMAS, features=32)
    assert torch.equal(found, split) and torch.equal(found[2:3], alone)
    assert raw_gradients(model, images[:0], None).shape == (0, whole.shape[1])


def test_every_weight_is_one_signed_part_of_one_feature():
    """Balanced: 100 weights over 8 features are 12 or 13 to each, and each column of S is one +1 or -1."""
    by = sketch(100, 8, device=CPU)
    S = torch.stack([project(one, by) for one in torch.eye(100)], dim=1)
    assert torch.equal(S.abs().sum(dim=0), torch.ones(100, dtype=torch.float64))
    assert set(S.unique().tolist()) == {-1, 0, 1}
    assert S.abs().sum(dim=1).min() >= 8 and S.abs().sum(dim=1).max() <= 13 and S.abs().sum() == 100
    assert 30 < (S.sum(dim=0) > 0).sum() < 70


def test_sketched_inner_products_are_unbiased_with_the_variance_of_a_balanced_hash():
    """E (Su).(Sv) = u.v; variance: two of P places share a feature with probability (P/q - 1)/(P - 1), signs cancel the
    rest. 3,000 sketches; without signs the mean would be far off, since u and v have means of 1, and without the random
    order the variance, since every 16th weight is large, as the weights of one place in a row of filters are."""
    rng = torch.Generator().manual_seed(0)
    u, v = 1 + torch.randn(2, 64, generator=rng, dtype=torch.float64)
    u[::16], v[::16] = 5, 4
    sketches = [sketch(64, 16, device=CPU, seed=seed) for seed in range(3000)]
    found = torch.stack([project(u, by) @ project(v, by) for by in sketches])
    meet = (64 / 16 - 1) / 63
    uv = u * v
    variance = meet * (u.square().sum() * v.square().sum() + uv.sum() ** 2 - 2 * uv.square().sum())
    assert abs(found.mean() - u @ v) < 3 * (variance / 3000).sqrt()
    assert float(found.var() / variance) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("layer", ["all", "last"])
@pytest.mark.parametrize("made_in_inference", [False, True])
def test_the_denoiser_is_left_as_it_was_and_the_caller_may_be_in_inference_mode(digits, layer, made_in_inference):
    plain = denoiser("unet", n_labels=3)
    expected = raw_gradients(plain, digits[:4], LABELS, layer=layer)
    with torch.inference_mode(made_in_inference):
        model = denoiser("unet", n_labels=3)
    model.train()
    first = next(model.parameters())
    if not made_in_inference:
        first.requires_grad_(False)
        model.network.model.conv_out.bias.grad = torch.ones(1)
    before = copy.deepcopy(model.state_dict())
    wanted = [weight.requires_grad for weight in model.parameters()]
    with torch.inference_mode():
        given = digits[:4].clone(), LABELS.clone(), POSITIONS.clone(), SIGMAS.float()
        found = projected_gradients(model, *given, features=10**9, layer=layer)
    assert torch.equal(found, expected)
    assert not found.requires_grad and not found.is_inference()
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [weight.requires_grad for weight in model.parameters()] == wanted
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert len(grads) == (0 if made_in_inference else 1) and all(torch.equal(g, torch.ones(1)) for g in grads)
    assert not any(module._forward_hooks for module in model.modules())
